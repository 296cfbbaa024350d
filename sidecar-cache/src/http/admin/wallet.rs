//! What the admin socket is asked about wallets.

use bytes::Bytes;
use http::{HeaderValue, StatusCode, request};
use hyper::body::Incoming;
use kt_contract::wire::admin::wallet::{
    BalanceReply, FrozenReply, HistoryReply, HoldsReply, IDEMPOTENCY_KEY, TRANSFERS_MAX,
    TransferReply,
};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::http::read::{self, Unread};
use crate::http::{Answer, json, problem, with_type};
use crate::service::purse::MovementKey;
use crate::service::{Failure, Sidecar};

/// How many transfers are told where nobody says.
const TRANSFERS: usize = 100;

/// A question about one organization's wallet, without its body.
pub(super) struct Asked<'a> {
    pub(super) sidecar: &'a Sidecar,
    pub(super) head: &'a request::Parts,
    pub(super) org: String,
}

/// Why there is no answer.
pub(super) enum Wrong {
    Failed(Failure),
    Unread(Unread),
}

/// The organization that a path names.
pub(super) fn org(segment: Option<&str>) -> String {
    // What is no UTF-8 is no organization's name either, and is refused as one.
    percent_decode_str(segment.unwrap_or_default()).decode_utf8_lossy().into_owned()
}

pub(super) fn reply(result: Result<impl Serialize, Wrong>) -> Answer {
    match result {
        Ok(message) => json(StatusCode::OK, &message),
        Err(Wrong::Failed(failure)) => problem::failed(&failure),
        Err(Wrong::Unread(unread)) => problem::bad_money(&unread),
    }
}

// === impl Asked ===

impl Asked<'_> {
    pub(super) async fn balance(&self) -> Result<BalanceReply, Wrong> {
        Ok(self.sidecar.balance(&self.org).await?)
    }

    pub(super) async fn fund(&self, body: Incoming) -> Result<TransferReply, Wrong> {
        let key = self.key()?;
        Ok(self.sidecar.fund(&self.org, key, self.message(body).await?).await?)
    }

    pub(super) async fn adjust(&self, body: Incoming) -> Result<TransferReply, Wrong> {
        let key = self.key()?;
        Ok(self.sidecar.adjust(&self.org, key, self.message(body).await?).await?)
    }

    pub(super) async fn allocate(&self, body: Incoming) -> Result<TransferReply, Wrong> {
        let key = self.key()?;
        Ok(self.sidecar.allocate(&self.org, key, self.message(body).await?).await?)
    }

    pub(super) async fn refund(&self, body: Incoming) -> Result<TransferReply, Wrong> {
        let key = self.key()?;
        Ok(self.sidecar.refund(&self.org, key, self.message(body).await?).await?)
    }

    pub(super) async fn freeze(&self, body: Incoming) -> Result<FrozenReply, Wrong> {
        Ok(self.sidecar.freeze(&self.org, self.message(body).await?).await?)
    }

    pub(super) async fn unfreeze(&self) -> Result<FrozenReply, Wrong> {
        Ok(self.sidecar.unfreeze(&self.org).await?)
    }

    pub(super) async fn history(&self) -> Result<HistoryReply, Wrong> {
        let (before, count) = (self.number("before")?, self.count(TRANSFERS)?);
        Ok(self.sidecar.history(&self.org, before, count).await?)
    }

    pub(super) async fn holds(&self) -> Result<HoldsReply, Wrong> {
        Ok(self.sidecar.holds(&self.org).await?)
    }

    /// One transfer a line. Whoever wants all asks again with the last one's number, until nothing comes.
    pub(super) async fn export(&self) -> Answer {
        match self.exported().await {
            Ok(lines) => {
                let kind = HeaderValue::from_static("application/x-ndjson");
                with_type(StatusCode::OK, kind, lines)
            }
            Err(wrong) => reply(Err::<(), _>(wrong)),
        }
    }

    async fn exported(&self) -> Result<Bytes, Wrong> {
        let (after, count) = (self.number("after")?.unwrap_or(0), self.count(TRANSFERS_MAX)?);
        let mut lines = Vec::new();
        for transfer in self.sidecar.export(&self.org, after, count).await? {
            serde_json::to_writer(&mut lines, &transfer).map_err(Unread::from)?;
            lines.push(b'\n');
        }
        Ok(lines.into())
    }

    fn key(&self) -> Result<MovementKey<'_>, Failure> {
        MovementKey::read(self.only_key()?)
    }

    /// The name of the question, where it has one.
    pub(super) fn key_if_any(&self) -> Result<Option<MovementKey<'_>>, Failure> {
        self.only_key()?.map(|key| MovementKey::read(Some(key))).transpose()
    }

    /// What the header says. Of two nobody could tell which one names the movement.
    fn only_key(&self) -> Result<Option<&str>, Failure> {
        let mut values = self.head.headers.get_all(IDEMPOTENCY_KEY).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => value.to_str().map(Some).map_err(|_| Failure::NoIdempotencyKey),
            (Some(_), Some(_)) => Err(Failure::NoIdempotencyKey),
        }
    }

    async fn message<T: DeserializeOwned>(&self, body: Incoming) -> Result<T, Unread> {
        read::message(body, self.sidecar.timeouts.upload_idle).await
    }

    fn count(&self, usual: usize) -> Result<usize, Failure> {
        let count = self.number("count")?;
        Ok(count.map_or(usual, |count| usize::try_from(count).unwrap_or(usize::MAX)))
    }

    /// A number of the query.
    fn number(&self, field: &'static str) -> Result<Option<u64>, Failure> {
        let query = self.head.uri.query().unwrap_or_default();
        let value = query.split('&').find_map(|pair| pair.strip_prefix(field)?.strip_prefix('='));
        let what = "is a whole number in the query";
        value.map(|value| value.parse().map_err(|_| Failure::Invalid { field, what })).transpose()
    }
}

impl From<Failure> for Wrong {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Unread> for Wrong {
    fn from(unread: Unread) -> Self {
        Self::Unread(unread)
    }
}

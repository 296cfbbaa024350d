//! Whole request bodies, within bounds of size and time.

use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

/// The largest message of the wire and of the admin API; explain carries a whole request.
pub(super) const MESSAGE_BYTES_MAX: u64 = 8 << 20;

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    #[error("the body is larger than {bytes_max} bytes")]
    TooLarge { bytes_max: u64 },
    #[error("there is no room for the body")]
    NoRoom,
    #[error("the body broke off")]
    Broken,
    #[error("the body is not the message that belongs here: {0}")]
    Message(#[from] serde_json::Error),
}

/// Reads a whole body.
pub(super) async fn whole(body: Incoming, bytes_max: u64, idle: Duration) -> Result<Bytes, Unread> {
    whole_in(body, bytes_max, idle, |_| true).await
}

/// The same of one for which there must be room: all of it, where its length is told.
pub(super) async fn whole_in(
    mut body: Incoming,
    bytes_max: u64,
    idle: Duration,
    mut has_room: impl FnMut(u64) -> bool,
) -> Result<Bytes, Unread> {
    let told = body.size_hint().lower();
    if told > bytes_max {
        return Err(Unread::TooLarge { bytes_max });
    }
    if !has_room(told) {
        return Err(Unread::NoRoom);
    }
    let mut only = Bytes::new();
    let mut gathered = Vec::new();
    while let Some(frame) = timeout(idle, body.frame()).await.map_err(|_| Unread::Broken)? {
        // Trailers are nobody's business here.
        let Ok(piece) = frame.map_err(|_| Unread::Broken)?.into_data() else { continue };
        let so_far = (only.len() + gathered.len() + piece.len()) as u64;
        if so_far > bytes_max {
            return Err(Unread::TooLarge { bytes_max });
        }
        let is_only = only.is_empty() && gathered.is_empty();
        let takes = if is_only {
            so_far
        } else {
            capacity(gathered.capacity() as u64, so_far, told, bytes_max)
        };
        if !has_room(takes) {
            return Err(Unread::NoRoom);
        }
        if is_only {
            only = piece;
        } else {
            let more = usize::try_from(takes).unwrap_or(usize::MAX).saturating_sub(gathered.len());
            gathered.reserve_exact(more);
            gathered.extend_from_slice(&std::mem::take(&mut only));
            gathered.extend_from_slice(&piece);
        }
    }
    Ok(if gathered.is_empty() { only } else { gathered.into() })
}

/// How much a body takes of which so much has come: as much as was told, or twice what it took before, so that it is not
/// copied for each piece. What is more than has come counts as well: it is kept for as long as the body.
fn capacity(before: u64, so_far: u64, told: u64, bytes_max: u64) -> u64 {
    if so_far <= before {
        before
    } else {
        told.max(before.saturating_mul(2)).min(bytes_max).max(so_far)
    }
}

/// Reads a message.
pub(super) async fn message<T: DeserializeOwned>(
    body: Incoming,
    idle: Duration,
) -> Result<T, Unread> {
    let bytes = whole(body, MESSAGE_BYTES_MAX, idle).await?;
    // Serde takes a list for a struct as well, field by field: what is meant by it nobody can say.
    match bytes.trim_ascii_start().first() {
        Some(b'{') | None => Ok(serde_json::from_slice(&bytes)?),
        Some(_) => Err(Unread::Message(serde::de::Error::custom("it is no JSON object"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_takes_what_was_told_or_doubles_up_to_the_bound() {
        for (before, so_far, told, expected) in [
            (0, 3, 100, 100),
            (100, 99, 100, 100),
            (0, 3, 0, 3),
            (3, 4, 0, 6),
            (6, 6, 0, 6),
            (60, 61, 0, 100),
            (0, 90, 50, 90),
            (90, 91, 50, 100),
        ] {
            assert_eq!(capacity(before, so_far, told, 100), expected, "{before} {so_far} {told}");
        }
    }
}

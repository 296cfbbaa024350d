//! Wire messages: any text is refused or read, and what was read is read again from what it is written as. The
//! first line says which message the rest is to be.

use std::fmt::Debug;

use kt_contract::snapshot::Snapshot;
use kt_contract::wire::admin::{ErrorReply, KeyCreated, KeyList, KeyRequest, StatusReply};
use kt_contract::wire::admit::{AdmitRequest, Admitted};
use kt_contract::wire::explain::{ExplainReply, ExplainRequest};
use kt_contract::wire::feed::{FeedReply, FeedRequest, GatewayIdentity};
use kt_contract::wire::principal::{PrincipalReply, PrincipalRequest};
use kt_filter_core::pairs;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::text::halves;

/// Takes any bytes.
pub fn check(input: &[u8]) {
    let (name, text) = halves(input, b'\n');
    match name {
        b"admit-request" => message::<AdmitRequest>(text),
        b"admit-decision" => message::<Admitted>(text),
        b"feed-request" => message::<FeedRequest>(text),
        b"feed-reply" => message::<FeedReply>(text),
        b"principal-request" => message::<PrincipalRequest>(text),
        b"principal-reply" => message::<PrincipalReply>(text),
        b"status-reply" => message::<StatusReply>(text),
        b"key-request" => message::<KeyRequest>(text),
        b"key-created" => message::<KeyCreated>(text),
        b"key-list" => message::<KeyList>(text),
        b"error-reply" => message::<ErrorReply>(text),
        b"explain-request" => message::<ExplainRequest>(text),
        b"explain-reply" => message::<ExplainReply>(text),
        b"filter-constants" => message::<GatewayIdentity>(text),
        b"snapshot" => message::<Snapshot>(text),
        b"header-map" => header_map(text),
        _ => {}
    }
}

fn message<M: Serialize + DeserializeOwned + PartialEq + Debug>(text: &[u8]) {
    let Ok(read) = serde_json::from_slice::<M>(text) else { return };
    let written = serde_json::to_string(&read).unwrap();
    // Decisions travel in a header, where a line end would begin another.
    assert!(!written.contains(|char| char < ' '), "{written:?}");
    assert_eq!(serde_json::from_str::<M>(&written).unwrap(), read);
}

/// Header maps come from the host, length by length.
fn header_map(bytes: &[u8]) {
    let Some(read) = pairs::parse(bytes) else { return };
    let written = pairs::write(read.iter().copied()).unwrap();
    assert_eq!(pairs::parse(&written).unwrap(), read);
}

//! What the admin socket is asked about records of the audit log.

use http::{HeaderValue, StatusCode, request};

use super::savings::field;
use crate::http::{Answer, problem, with_type};
use crate::service::audit_log::Export;
use crate::service::{Failure, Sidecar};

/// Records, one a line. Whoever wants all asks again with the last one's number, until nothing comes.
pub(super) async fn records(sidecar: &Sidecar, head: &request::Parts) -> Answer {
    match lines(sidecar, head).await {
        Ok(lines) => {
            let kind = HeaderValue::from_static("application/x-ndjson");
            with_type(StatusCode::OK, kind, lines.into())
        }
        Err(failure) => problem::failed(&failure),
    }
}

async fn lines(sidecar: &Sidecar, head: &request::Parts) -> Result<Vec<u8>, Failure> {
    let number = |name: &'static str| {
        let what = "is a whole number in the query";
        let text = field(head, name);
        text.map(|text| text.parse::<u64>().map_err(|_| Failure::Invalid { field: name, what }))
            .transpose()
    };
    let org = field(head, "org").ok_or(Failure::Invalid { field: "org", what: "is needed" })?;
    let count = number("count")?.map(|count| usize::try_from(count).unwrap_or(usize::MAX));
    let after = number("after")?.unwrap_or(0);
    let (since, until) = (field(head, "since"), field(head, "until"));
    let mut lines = Vec::new();
    for record in sidecar.export_audit_log(Export { org, after, count, since, until }).await? {
        // Writing to memory does not fail, and a record has no map.
        let _ = serde_json::to_writer(&mut lines, &record);
        lines.push(b'\n');
    }
    Ok(lines)
}

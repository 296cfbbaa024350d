//! `kt audit verify`: whether the audit log is what it was.

use std::path::{Path, PathBuf};

use kt_contract::wire::admin::audit_log::{
    AuditHead, AuditNotes, AuditVerified, BrokenChain, VerifiedChain,
};
use kt_contract::wire::admin::endpoint::Endpoint;

use super::{Asking, head, named};
use crate::commands::config::print;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::report;

/// `kt audit verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    /// Of one organization [default: all]
    #[arg(long)]
    org: Option<String>,
    /// A file with lines that `kt audit head` has printed: the log must still have those records.
    #[arg(long, value_name = "FILE")]
    heads: Option<PathBuf>,
    /// For scripts: the sidecar's own answer.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    asking: Asking,
}

// === impl Verify ===

impl Verify {
    pub(super) async fn run(self, environment: &Environment) -> Result<(), Failure> {
        let Self { org, heads, json, asking } = self;
        let mut heads = heads.as_deref().map_or_else(|| Ok(Vec::new()), noted)?;
        if let Some(org) = &org {
            heads.retain(|head| head.org == *org);
        }
        let notes = AuditNotes { org, heads };
        let admin = asking.admin(environment);
        let path = Endpoint::AuditVerify.path("");
        let found: AuditVerified = admin.post_patiently_with(&path, &notes).await?;
        if json {
            let value = serde_json::to_value(&found)
                .map_err(|error| Failure::new(format!("cannot write JSON: {error}")))?;
            print(&value)?;
        } else {
            for chain in &found.verified {
                report::say(told(chain));
            }
            if found.verified.is_empty() && found.broken.is_empty() {
                report::note("nothing is on record yet");
            }
        }
        if found.broken.is_empty() {
            return Ok(());
        }
        let places = found.broken.iter().map(finding).collect();
        Err(Failure::new("the audit log is not what it was")
            .hint("keep a copy of it as it is; docs/reference/audit.md says what each means")
            .found(places))
    }
}

/// Reads what `kt audit head` has printed once, any number of times.
fn noted(file: &Path) -> Result<Vec<AuditHead>, Failure> {
    let shown = file.display();
    let text =
        std::fs::read_to_string(file).map_err(|error| Failure::new(format!("{shown}: {error}")))?;
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line): (usize, _)| {
            let wrong = || {
                Failure::new(format!("{shown}:{number}: is no line that `kt audit head` prints"))
                    .hint("a number, a hash of 64 digits and the organization")
            };
            head::read(line).ok_or_else(wrong)
        })
        .collect()
}

fn told(chain: &VerifiedChain) -> String {
    let VerifiedChain { org, records, removed_through, seq, confirmed, .. } = chain;
    let org = named(org);
    let mut text = match removed_through {
        0 => format!("{org}: {records} records hold, 1 to {seq}"),
        through => format!(
            "{org}: {records} records hold, {} to {seq}; retention has removed those up to {through}",
            through.saturating_add(1)
        ),
    };
    if *confirmed > 0 {
        text.push_str(&format!("; {confirmed} are as they were written down"));
    }
    text
}

fn finding(broken: &BrokenChain) -> String {
    let BrokenChain { org, seq, code, message } = broken;
    format!("{}: record {seq}: {code}: {message}", named(org))
}

#[cfg(test)]
mod tests {
    use kt_contract::hex::Digest;

    use super::*;

    #[test]
    fn what_holds_and_what_is_gone_is_said() {
        let mut chain = VerifiedChain {
            org: "acme".to_owned(),
            records: 3,
            removed_through: 0,
            seq: 3,
            hash: Digest([0; 32]),
            confirmed: 0,
        };
        assert_eq!(told(&chain), "acme: 3 records hold, 1 to 3");
        chain = VerifiedChain { removed_through: 7, seq: 10, confirmed: 2, ..chain };
        assert_eq!(
            told(&chain),
            "acme: 3 records hold, 8 to 10; retention has removed those up to 7; 2 are as they were written down"
        );
    }
}

//! `kt audit head`: what to write down of the audit log elsewhere.

use kt_contract::wire::admin::audit_log::{AuditHead, AuditHeads};
use kt_contract::wire::admin::endpoint::Endpoint;

use super::Asking;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::report;

/// `kt audit head`.
#[derive(Debug, clap::Args)]
pub(crate) struct Head {
    #[command(flatten)]
    asking: Asking,
}

// === impl Head ===

impl Head {
    /// Prints a line for each chain, as `kt audit verify --heads` reads them.
    pub(super) async fn run(self, environment: &Environment) -> Result<(), Failure> {
        let admin = self.asking.admin(environment);
        let heads: AuditHeads = admin.get(&Endpoint::AuditHeads.path("")).await?;
        for head in &heads.chains {
            report::say(line(head));
        }
        if heads.chains.is_empty() {
            report::note("nothing is on record yet");
        }
        Ok(())
    }
}

/// A head as it is written down: number, hash and organization, which comes last since it may have spaces.
pub(super) fn line(head: &AuditHead) -> String {
    let AuditHead { org, seq, hash, removed_through: _ } = head;
    format!("{seq} {} {org}", hash.to_hex())
}

/// Reads such a line.
pub(super) fn read(line: &str) -> Option<AuditHead> {
    let (seq, rest) = line.split_once(' ')?;
    let (hash, org) = rest.split_once(' ').unwrap_or((rest, ""));
    Some(AuditHead {
        org: org.to_owned(),
        seq: seq.parse().ok()?,
        hash: kt_contract::hex::Digest::from_hex(hash).ok()?,
        removed_through: 0,
    })
}

#[cfg(test)]
mod tests {
    use kt_contract::hex::Digest;

    use super::*;

    #[test]
    fn what_was_written_down_is_read_again() {
        for org in ["acme", "two words", ""] {
            let (org, hash) = (org.to_owned(), Digest([7; 32]));
            let head = AuditHead { org, seq: 41, hash, removed_through: 0 };
            assert_eq!(read(&line(&head)), Some(head.clone()));
            // As it is where an editor has removed the space at its end.
            assert_eq!(read(line(&head).trim_end()), Some(head));
        }
        for wrong in ["", "acme", "1 2 acme", "x 07 acme"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}

//! What the database's errors mean to whoever asked, by their SQLSTATE. Texts are the server's own messages, without
//! their details, which may repeat what is in rows; the address and its password are in none of them.

use tokio_postgres::error::SqlState;

use crate::store::StoreError;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// What was asked may be asked again at once, with the same ids: the connection was lost, or somebody else came
    /// first.
    Again(String),
    /// Not now: a lock is held, the server is full or goes down.
    Later(String),
    /// Whoever is at the other end takes no writes: a replica, or one that was told so. Another connection may lead to one
    /// that does.
    ReadOnly(String),
    /// The server has failed at it, as where a part of its disk cannot be read: whoever asks for something else may be
    /// served, and this may be asked again when somebody has mended it.
    Failed(String),
    /// It will not be done.
    Never(String),
    /// What is there cannot be read.
    Corrupt(&'static str),
}

// === impl Fault ===

impl Fault {
    fn of_state(state: &SqlState, text: String) -> Self {
        let (class, _) = state.code().split_at_checked(2).unwrap_or((state.code(), ""));
        match class {
            // A deadlock, a conflict, or a second row of an id: whoever came first is seen the next time.
            "08" | "40" | "23" if *state != SqlState::CHECK_VIOLATION => Self::Again(text),
            "57" if *state != SqlState::QUERY_CANCELED => Self::Again(text),
            // What came before it in the same transaction has failed, and says why.
            _ if *state == SqlState::IN_FAILED_SQL_TRANSACTION => Self::Again(text),
            _ if *state == SqlState::READ_ONLY_SQL_TRANSACTION => Self::ReadOnly(text),
            "57" | "55" | "53" | "25" | "28" => Self::Later(text),
            "58" | "XX" => Self::Failed(text),
            _ if *state == SqlState::UNDEFINED_TABLE || *state == SqlState::UNDEFINED_COLUMN => {
                Self::Never(format!("{text}; `kt db migrate` makes the tables"))
            }
            _ => Self::Never(text),
        }
    }
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(error) => {
                let text = format!("{} ({})", error.message(), error.code().code());
                Self::of_state(error.code(), text)
            }
            None => Self::Again("the connection to the database was lost".to_owned()),
        }
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Again(text)
            | Fault::Later(text)
            | Fault::ReadOnly(text)
            | Fault::Failed(text) => Self::Transient(text),
            Fault::Never(text) => Self::Permanent(text),
            Fault::Corrupt(what) => Self::Corrupt(what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_says_decides_who_asks_again() {
        for (code, expected) in [
            ("40001", "again"),
            ("40P01", "again"),
            ("57P01", "again"),
            ("57P03", "again"),
            ("08006", "again"),
            ("23505", "again"),
            ("25P02", "again"),
            ("55P03", "later"),
            ("57014", "later"),
            ("53100", "later"),
            ("53300", "later"),
            ("25006", "read-only"),
            ("28P01", "later"),
            ("58030", "failed"),
            ("58P01", "failed"),
            ("XX000", "failed"),
            ("XX001", "failed"),
            ("23514", "never"),
            ("42P01", "never"),
            ("54000", "never"),
        ] {
            let found = match Fault::of_state(&SqlState::from_code(code), "why".to_owned()) {
                Fault::Again(_) => "again",
                Fault::Later(_) => "later",
                Fault::ReadOnly(_) => "read-only",
                Fault::Failed(_) => "failed",
                Fault::Never(_) => "never",
                Fault::Corrupt(_) => "corrupt",
            };
            assert_eq!(found, expected, "{code}");
        }
    }

    #[test]
    fn a_charge_is_not_given_up_because_a_disk_has_failed() {
        let fault = Fault::of_state(&SqlState::from_code("58030"), "could not read".to_owned());
        assert!(matches!(StoreError::from(fault), StoreError::Transient(_)));
    }

    #[test]
    fn a_missing_table_names_the_command_that_makes_it() {
        let fault = Fault::of_state(&SqlState::UNDEFINED_TABLE, "no orgs (42P01)".to_owned());
        let text = "no orgs (42P01); `kt db migrate` makes the tables".to_owned();
        assert_eq!(fault, Fault::Never(text));
    }
}

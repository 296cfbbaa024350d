//! The configuration file: any text loads, or is refused with errors that point into it; what loads makes a
//! snapshot that the wire carries; and who reads twice reads the same.

use kt_contract::config::{self, ConfigError};
use kt_contract::snapshot::Snapshot;

const NAME: &str = "policy-config.yaml";

/// Takes any text.
pub fn check(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let read = config::load(NAME, text);
    assert_eq!(read, config::load(NAME, text));
    match read {
        Ok(loaded) => {
            for local in [false, true] {
                let snapshot = loaded.config.snapshot(local);
                let bytes = serde_json::to_vec(&snapshot).unwrap();
                assert_eq!(serde_json::from_slice::<Snapshot>(&bytes).unwrap(), snapshot);
            }
        }
        Err(errors) => {
            assert!(!errors.is_empty(), "refused for no reason");
            // YAML ends lines at CR as well.
            let lines = 1 + text.matches(['\n', '\r']).count();
            for ConfigError { file, line, field: _, problem } in errors {
                assert_eq!(file, NAME);
                assert!((1..=lines).contains(&line), "line {line} of {lines}: {problem}");
                assert!(!problem.is_empty());
            }
        }
    }
}

//! Where the address of the database stands: in the environment or in a file, never in the configuration.

use kt_contract::config::SecretRef;
use sidecar_cache::store::postgres::Address;

/// Reads the address that `field` of the configuration refers to. What is said of a wrong one does not repeat it.
pub(crate) fn read(field: &str, secret: &SecretRef) -> Result<Address, String> {
    let (text, from) = match secret {
        SecretRef::Env(name) => {
            #[expect(clippy::disallowed_methods, reason = "the one place that reads it")]
            let text = std::env::var(name).map_err(|_| {
                format!("{field} needs the environment variable {name}, which is not set")
            })?;
            (text, format!("the environment variable {name}"))
        }
        SecretRef::File(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("cannot read {field} from {path}: {error}"))?;
            (text, path.clone())
        }
    };
    Address::parse(text.trim()).map_err(|error| format!("{field}, in {from}: {error}"))
}

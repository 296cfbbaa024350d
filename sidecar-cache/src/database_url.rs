//! Where the address of the database stands: in the environment or in a file, never in the configuration.

use kt_contract::config::SecretRef;
use sidecar_cache::store::postgres::Address;

/// Reads the address. What is said of a wrong one does not repeat it.
pub(crate) fn read(secret: &SecretRef) -> Result<Address, String> {
    let (text, from) = match secret {
        SecretRef::Env(name) => {
            #[expect(clippy::disallowed_methods, reason = "the one place that reads it")]
            let text = std::env::var(name).map_err(|_| {
                format!("wallet.url needs the environment variable {name}, which is not set")
            })?;
            (text, format!("the environment variable {name}"))
        }
        SecretRef::File(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("cannot read wallet.url from {path}: {error}"))?;
            (text, path.clone())
        }
    };
    Address::parse(text.trim()).map_err(|error| format!("wallet.url, in {from}: {error}"))
}

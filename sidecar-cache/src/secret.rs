//! Where addresses with a login in them stand: in the environment or in a file, never in the configuration.

use kt_contract::config::SecretRef;
use sidecar_cache::config_file;
use sidecar_cache::store::postgres::Address;

/// The text that `field` names, and where it was.
pub(crate) fn read(field: &str, secret: &SecretRef) -> Result<(String, String), String> {
    match secret {
        SecretRef::Env(name) => {
            #[expect(clippy::disallowed_methods, reason = "the one place that reads it")]
            let text = std::env::var(name).map_err(|_| {
                format!("{field} needs the environment variable {name}, which is not set")
            })?;
            Ok((text, format!("the environment variable {name}")))
        }
        SecretRef::File(path) => {
            let text = config_file::read_within(path.as_ref(), config_file::SECRET_BYTES_MAX)
                .map_err(|error| format!("cannot read {field} from {path}: {error}"))?;
            Ok((text, path.clone()))
        }
    }
}

/// The address of a database. What is said of a wrong one does not repeat it.
pub(crate) fn database(field: &str, secret: &SecretRef) -> Result<Address, String> {
    let (text, from) = read(field, secret)?;
    Address::parse(text.trim()).map_err(|error| format!("{field}, in {from}: {error}"))
}

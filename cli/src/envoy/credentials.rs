//! Providers' credentials: from where the configuration says they are to files of Envoy's SDS, one per target,
//! readable by this user only. They are read when a gateway starts, and their values are never shown.

use std::io;
use std::path::{Path, PathBuf};

use kt_contract::config::{SecretRef, Target};
use serde_json::json;

use crate::failure::Failure;
use crate::private_file;

/// Where values that the configuration refers to are looked up: the environment, or a map in a test.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The name of a target's secret in SDS.
pub(super) fn name(target: &Target) -> String {
    format!("credential_{}", target.id)
}

/// The file of a target's secret.
pub(super) fn file(folder: &Path, target: &Target) -> PathBuf {
    folder.join(format!("{}.json", target.id))
}

/// Writes the SDS files of all targets that have a credential.
///
/// # Errors
/// A variable that is not set, a file that cannot be read, or a value that can be no HTTP header.
pub(crate) fn write(
    folder: &Path,
    targets: &[Target],
    variable: Lookup<'_>,
) -> Result<(), Failure> {
    for target in targets {
        let Some(secret) = &target.secret else { continue };
        let value = read(target, secret, variable)?;
        let prefix = target.provider.credential_header().prefix;
        let resource = json!({ "resources": [{
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
            "name": name(target),
            "generic_secret": { "secret": { "inline_string": format!("{prefix}{value}") } },
        }]});
        let path = file(folder, target);
        private_file::write(&path, resource.to_string().as_bytes())
            .map_err(|error| Failure::io("write the credential file", &path, &error))?;
    }
    Ok(())
}

fn read(target: &Target, secret: &SecretRef, variable: Lookup<'_>) -> Result<String, Failure> {
    let id = &target.id;
    let (text, from) = match secret {
        SecretRef::Env(name) => {
            let value = variable(name).filter(|value| !value.trim().is_empty());
            let value = value.ok_or_else(|| {
                Failure::new(format!(
                    "target '{id}' needs the environment variable {name}, which is not set"
                ))
                .hint(format!("export {name}=… before you start the gateway"))
            })?;
            (value, format!("the environment variable {name}"))
        }
        SecretRef::File(path) => {
            let text =
                std::fs::read_to_string(path).map_err(|error| unreadable(id, path, &error))?;
            (text, path.clone())
        }
    };
    let value = text.trim();
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Failure::new(format!(
            "the credential of target '{id}' in {from} can be no HTTP header"
        ))
        .hint("it must be one line of printable characters without spaces"));
    }
    Ok(value.to_owned())
}

fn unreadable(id: &str, path: &str, error: &io::Error) -> Failure {
    Failure::new(format!("cannot read the credential of target '{id}' from {path}: {error}"))
        .hint("secret_key_ref.file is relative to the folder in which the gateway is started")
}

#[cfg(test)]
mod tests;

//! Reading `policy-config.yaml` from disk, and telling its owner what is wrong with it.

use std::path::{Path, PathBuf};

use kt_contract::config::{self, Config, ConfigError};

use crate::failure::Failure;
use crate::report;

/// Reads and checks the file. What its owner should know goes to standard error, with what concerns
/// gateways that spawn their own sidecar where `may_be_local`.
///
/// # Errors
/// Every mistake in the file, one line each: file, line, field, problem.
pub(crate) fn load(path: &Path, may_be_local: bool) -> Result<Config, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::io("read the configuration", path, &error))?;
    match config::load(&path.display().to_string(), &text) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                report::note(format_args!("warning: {warning}"));
            }
            for note in loaded.local_notes.iter().filter(|_note| may_be_local) {
                report::note(format_args!("note: {note}"));
            }
            Ok(loaded.config)
        }
        Err(errors) => Err(refused(&errors)),
    }
}

/// Checks the pack of every tenant of a hosted gateway, and says how many there are; `None` where it has none. Whether what
/// their credentials refer to is there, only the sidecar knows, whose environment it is.
///
/// # Errors
/// Every mistake in any of them.
pub(crate) fn check_tenants(path: &Path, host: &Config) -> Result<Option<usize>, Failure> {
    let Some(tenants) = &host.tenants else { return Ok(None) };
    let folder = path.parent().unwrap_or_else(|| Path::new(".")).join(&tenants.folder);
    let failed = |error: std::io::Error| Failure::io("read the folder of tenants", &folder, &error);
    let mut packs = Vec::new();
    for entry in folder.read_dir().map_err(failed)? {
        packs.push(entry.map_err(failed)?.path());
    }
    let is_hidden =
        |path: &Path| path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
    packs.retain(|path| path.extension().is_some_and(|it| it == "yaml") && !is_hidden(path));
    packs.sort();
    check_orgs(path, host, &packs)?;
    let mut errors = Vec::new();
    for path in &packs {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::io("read a tenant's configuration", path, &error))?;
        match config::load_tenant(&path.display().to_string(), &text, host) {
            Ok(loaded) => {
                for warning in &loaded.warnings {
                    report::note(format_args!("warning: {warning}"));
                }
            }
            Err(found) => errors.extend(found),
        }
    }
    if errors.is_empty() { Ok(Some(packs.len())) } else { Err(refused(&errors)) }
}

/// A rule for an organization that is not there would let nobody in, and nobody would know why.
fn check_orgs(path: &Path, host: &Config, packs: &[PathBuf]) -> Result<(), Failure> {
    let is_there =
        |org: &str| packs.iter().any(|pack| pack.file_stem().is_some_and(|it| it == org));
    let rules = host.identities.orgs().enumerate().filter(|(_, org)| !is_there(org));
    let found: Vec<String> = rules
        .map(|(nth, org)| {
            let path = path.display();
            format!("{path}: identities[{nth}].org: '{org}' has no pack in the folder of tenants")
        })
        .collect();
    match found.is_empty() {
        true => Ok(()),
        false => {
            Err(Failure::new("rules of 'identities' are for organizations that are not there")
                .found(found))
        }
    }
}

/// Every mistake is a line that begins with its place, for editors and for `grep`.
fn refused(errors: &[ConfigError]) -> Failure {
    Failure::new(match errors.len() {
        1 => "1 error; nothing runs from this file until it is mended".to_owned(),
        n => format!("{n} errors; nothing runs from this file until they are mended"),
    })
    .found(errors.iter().map(ToString::to_string).collect())
}

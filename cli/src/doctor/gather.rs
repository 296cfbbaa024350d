//! Finding the facts: files, sockets, ports, and what Envoys and a sidecar answer. Nothing is changed by it.

use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use kt_contract::config;
use kt_contract::time::UnixMillis;
use kt_contract::wire::headers;
use rustix::fs::{Access, access, statvfs};
use rustix::process::geteuid;
use serde_json::Value;
use tokio::net::UnixStream;

use super::gateway::{self, Running};
use super::machine::{ConfigFile, Folder, FolderFact, PortFact};
use super::sidecar::SocketFact;
use crate::client::{Answer, Question, Unanswered};
use crate::envoy::binary::Version;
use crate::envoy::template::read_yaml;

/// Whoever lives has answered by then.
const PATIENCE: Duration = Duration::from_secs(3);
/// By then a filter that cannot use a reply has asked for it again, many times.
const SECOND_LOOK: Duration = Duration::from_secs(2);
/// What the filter has counted.
const STATS: &str = "/stats?filter=kt_filter_";

/// Where an Envoy's admin API listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AdminAddress {
    /// On a Unix socket, as kt has it.
    Socket(PathBuf),
    /// On a port.
    Port(SocketAddr),
}

/// The configuration file: its text, and what it says. `is_given` is whether somebody has named it.
pub(crate) fn config_file(path: &Path, is_given: bool) -> (Option<String>, ConfigFile) {
    match fs::read_to_string(path) {
        Ok(text) => {
            let read = config::load(&path.display().to_string(), &text).map(Box::new);
            (Some(text), ConfigFile::Read(read))
        }
        Err(error) if error.kind() == ErrorKind::NotFound && !is_given => {
            (None, ConfigFile::NotGiven)
        }
        Err(error) => {
            let why = format!("cannot read {}: {error}", path.display());
            (None, ConfigFile::Unreadable(why))
        }
    }
}

/// A configuration of Envoy, in JSON or YAML.
pub(crate) fn envoy_config(path: &Path) -> Result<Value, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?;
    let config = serde_json::from_str(&text).or_else(|_no_json| read_yaml(&text))?;
    match config.get("kind").and_then(Value::as_str) {
        Some(kind) => Err(format!(
            "is a {kind} for Kubernetes and not what an Envoy runs; ask the Envoy, with --envoy-admin"
        )),
        None => Ok(config),
    }
}

pub(crate) fn folder(path: &Path, is_given: bool) -> FolderFact {
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == ErrorKind::NotFound && !is_given => {
            return FolderFact::Absent;
        }
        Err(error) => return FolderFact::Unreadable(error.to_string()),
    };
    if !meta.is_dir() {
        return FolderFact::NoFolder;
    }
    let me = geteuid();
    let disk = statvfs(path).ok();
    FolderFact::Is(Folder {
        mode: meta.mode() & 0o777,
        // Root may write everywhere.
        other_owner: (meta.uid() != me.as_raw() && !me.is_root()).then_some(meta.uid()),
        is_writable: access(path, Access::WRITE_OK | Access::EXEC_OK).is_ok(),
        free_and_all_bytes: disk.map(|disk| {
            let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
            (bytes(disk.f_bavail), bytes(disk.f_blocks))
        }),
    })
}

pub(crate) async fn socket(path: &Path) -> SocketFact {
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == ErrorKind::NotFound => return SocketFact::Missing,
        Err(error) => return SocketFact::Denied(error.to_string()),
    };
    if !meta.file_type().is_socket() {
        return SocketFact::NoSocket;
    }
    match UnixStream::connect(path).await {
        Ok(_listens) => SocketFact::Open(meta.mode() & 0o777),
        // So many wait there that there is no room for one more: a frozen one listens, and takes nobody.
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            SocketFact::Open(meta.mode() & 0o777)
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            SocketFact::Denied(error.to_string())
        }
        Err(error) => SocketFact::Dead(error.to_string()),
    }
}

/// Which version of the wire a sidecar speaks, by its data socket.
///
/// # Errors
/// It does not answer: it is frozen, or no server.
pub(crate) async fn wire_version(socket: &Path) -> Result<Option<String>, String> {
    // It is no question that it knows, and every answer has the marker.
    let question = Question { patience: PATIENCE, ..Question::get("/") };
    let answer = question.ask(socket).await.map_err(|error| error.to_string())?;
    Ok(answer.header(headers::MARKER).map(str::to_owned))
}

pub(crate) async fn port(address: SocketAddr) -> PortFact {
    let answer = match Question::get("/health").ask_tcp(address).await {
        Ok(answer) => answer,
        Err(Unanswered::Connect(error)) if error.kind() == ErrorKind::ConnectionRefused => {
            return PortFact::Free;
        }
        Err(Unanswered::Connect(error)) => return PortFact::Unknown(error.to_string()),
        Err(error @ (Unanswered::Broken(_) | Unanswered::TooLate(_))) => {
            return PortFact::Other(error.to_string());
        }
    };
    let health: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let word = |name: &str| Some(health.as_ref()?.get(name)?.as_str()?.to_owned());
    match (word("gateway"), word("status")) {
        (Some(id), Some(status)) => PortFact::Gateway { id, status },
        (_, _) => PortFact::Other(format!("it answers {} to GET /health", answer.status)),
    }
}

/// What a running Envoy says, and what time it has.
///
/// # Errors
/// It does not answer.
pub(crate) async fn running(at: &AdminAddress) -> Result<(Running, Option<UnixMillis>), String> {
    let info = ask(at, "/server_info").await?;
    let version = serde_json::from_slice::<Value>(&info.body).ok();
    let version = version.and_then(|it| Version::of_build(it.get("version")?.as_str()?));
    let dump = ask(at, "/config_dump").await;
    let config =
        dump.and_then(|it| serde_json::from_slice(&it.body).map_err(|error| error.to_string()));
    let stats = counts(at).await.unwrap_or_default();
    let stats_later = match gateway::wants_another_look(&stats) {
        true => {
            tokio::time::sleep(SECOND_LOOK).await;
            counts(at).await.ok()
        }
        false => None,
    };
    Ok((Running { version, config, stats, stats_later }, info.date()))
}

/// What the filter has counted.
async fn counts(at: &AdminAddress) -> Result<String, String> {
    let answer = ask(at, STATS).await?;
    Ok(String::from_utf8_lossy(&answer.body).into_owned())
}

async fn ask(at: &AdminAddress, path: &str) -> Result<Answer, String> {
    let question = Question::get(path);
    let answer = match at {
        AdminAddress::Socket(socket) => question.ask(socket).await,
        AdminAddress::Port(address) => question.ask_tcp(*address).await,
    };
    match answer {
        Ok(answer) if answer.status.is_success() => Ok(answer),
        Ok(answer) => Err(format!("it answers {} to GET {path}", answer.status)),
        Err(error) => Err(error.to_string()),
    }
}

// === impl AdminAddress ===

impl std::str::FromStr for AdminAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(address) => Ok(Self::Port(address)),
            Err(_) if text.contains('/') || !text.contains(':') => {
                Ok(Self::Socket(PathBuf::from(text)))
            }
            Err(_) => {
                Err("it is an address and a port, such as 127.0.0.1:15000, or a path".to_owned())
            }
        }
    }
}

impl std::fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "{}", path.display()),
            Self::Port(address) => write!(f, "{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_api_is_an_address_or_a_path_and_no_name_of_a_host() {
        assert_eq!("127.0.0.1:9901".parse(), Ok(AdminAddress::Port(([127, 0, 0, 1], 9901).into())));
        for path in ["/run/a:b.sock", "./a.sock", "a.sock"] {
            assert_eq!(path.parse(), Ok(AdminAddress::Socket(PathBuf::from(path))));
        }
        assert!("localhost:9901".parse::<AdminAddress>().is_err());
    }
}

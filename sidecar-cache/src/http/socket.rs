//! The sidecar's Unix sockets: made for their owner only, never taken from a living process, and taken over
//! from a dead one.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

use crate::ticket::Peer;

/// What fits into a socket's address, the closing NUL apart.
const PATH_BYTES_MAX: usize = 107;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum NoSocket {
    /// Somebody is there.
    #[error("another sidecar listens on {}; stop it, or choose another --socket", path.display())]
    Taken {
        /// The socket.
        path: PathBuf,
    },
    /// The address has no room for the path.
    #[error(
        "the path of the socket {} has {} bytes; a Unix socket's path may have {PATH_BYTES_MAX}",
        path.display(), path.as_os_str().len()
    )]
    PathTooLong {
        /// The path.
        path: PathBuf,
    },
    /// Something else has the name.
    #[error("{} is there and is no socket; it is left alone", path.display())]
    NoSocketThere {
        /// The path.
        path: PathBuf,
    },
    /// The system says no.
    #[error("{}: {source}", path.display())]
    Io {
        /// What could not be made.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A folder or a socket path that is ours for as long as this lives, also if we are killed: the system lets
/// go of a dead process's locks.
#[derive(Debug)]
pub struct Claim {
    _file: File,
}

/// A listening socket. Its file is removed with it.
#[derive(Debug)]
pub struct Listening {
    listener: UnixListener,
    path: PathBuf,
}

// === impl Claim ===

impl Claim {
    /// Claims `path` through a lock file beside it.
    ///
    /// # Errors
    /// [`NoSocket::Taken`] while another process has it.
    pub fn take(path: &Path) -> Result<Self, NoSocket> {
        let lock = with_ending(path, ".lock");
        let failed = |source| NoSocket::Io { path: lock.clone(), source };
        make_parent(path)?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(NoSocket::Taken { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}

// === impl Listening ===

impl Listening {
    /// Listens on `path`. The file of a process that is gone is replaced.
    ///
    /// # Errors
    /// Where somebody listens there, something else is there, or the path is too long.
    pub async fn on(path: &Path) -> Result<Self, NoSocket> {
        let failed = |source| NoSocket::Io { path: path.to_owned(), source };
        if path.as_os_str().len() > PATH_BYTES_MAX {
            return Err(NoSocket::PathTooLong { path: path.to_owned() });
        }
        make_parent(path)?;
        clear(path).await?;
        let listener = UnixListener::bind(path).map_err(failed)?;
        std::fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// The next connection, and the process at its other end.
    ///
    /// # Errors
    /// As `accept(2)`: most often, too many open files.
    pub async fn accept(&self) -> io::Result<(UnixStream, Peer)> {
        let (stream, _) = self.listener.accept().await?;
        let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
        Ok((stream, Peer::from_pid(pid)))
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // The next start would replace it; removed, it tells everybody at once that nobody is there.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// `path` with something behind its last name.
#[must_use]
pub fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut text = path.as_os_str().to_owned();
    text.push(ending);
    text.into()
}

fn make_parent(path: &Path) -> Result<(), NoSocket> {
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        None => Ok(()),
        Some(parent) => DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)
            .map_err(|source| NoSocket::Io { path: parent.to_owned(), source }),
    }
}

/// Removes a socket on which nobody listens.
async fn clear(path: &Path) -> Result<(), NoSocket> {
    let failed = |source| NoSocket::Io { path: path.to_owned(), source };
    let there = match path.symlink_metadata() {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if !there.file_type().is_socket() {
        return Err(NoSocket::NoSocketThere { path: path.to_owned() });
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(failed)
        }
        // Listening, or too busy to say so: alive either way.
        Ok(_) | Err(_) => Err(NoSocket::Taken { path: path.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run").join("s.sock");
        let _listening = Listening::on(&path).await.unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
    }

    #[tokio::test]
    async fn a_dead_process_leaves_a_socket_that_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sock");
        // Dropped without removing its file, as a killed process does.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let listening = Listening::on(&path).await.unwrap();
        UnixStream::connect(&path).await.unwrap();
        drop(listening);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_living_listener_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sock");
        let _living = Listening::on(&path).await.unwrap();
        let error = Listening::on(&path).await.unwrap_err();
        assert!(error.to_string().starts_with("another sidecar listens on /"), "{error}");
        assert!(path.exists());
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        std::fs::write(&path, "mine").unwrap();
        assert!(matches!(Listening::on(&path).await, Err(NoSocket::NoSocketThere { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    }

    #[tokio::test]
    async fn a_path_that_does_not_fit_says_how_long_it_may_be() {
        let path = PathBuf::from(format!("/tmp/{}.sock", "x".repeat(120)));
        let error = Listening::on(&path).await.unwrap_err().to_string();
        assert!(error.contains("has 130 bytes") && error.contains("may have 107"), "{error}");
    }

    #[test]
    fn a_claim_lasts_as_long_as_its_holder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sock");
        let claim = Claim::take(&path).unwrap();
        assert!(matches!(Claim::take(&path), Err(NoSocket::Taken { .. })));
        drop(claim);
        Claim::take(&path).unwrap();
    }
}

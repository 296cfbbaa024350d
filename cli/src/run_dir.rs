//! The run directory of one gateway: what lies where in it, and that nobody else uses it.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::failure::Failure;
use crate::paths::{RUN_DIRS, absolute, check_socket_path};
use crate::private_file;

/// The data socket of a sidecar that a gateway spawned, in its run directory.
pub(crate) const SIDECAR_SOCKET: &str = "sidecar.sock";
/// Where Envoy's own admin API listens, in a gateway's run directory.
pub(crate) const ENVOY_ADMIN_SOCKET: &str = "envoy-admin.sock";

/// Where the files of one gateway lie. Nothing of it needs to exist.
#[derive(Clone, Debug)]
pub(crate) struct RunDir {
    path: PathBuf,
    gateway: String,
}

/// A run directory that is ours for as long as this lives.
#[derive(Debug)]
pub(crate) struct Held {
    _lock: File,
}

// === impl RunDir ===

impl RunDir {
    /// The folder that was given, else `.kt/run/<gateway>`.
    ///
    /// # Errors
    /// Sockets in it would have paths that are too long.
    pub(crate) fn of(given: Option<&Path>, gateway: &str) -> Result<Self, Failure> {
        let path = given.map_or_else(|| Path::new(RUN_DIRS).join(gateway), Path::to_path_buf);
        let this = Self { path: absolute(&path)?, gateway: gateway.to_owned() };
        for socket in this.sockets() {
            check_socket_path(&socket)?;
        }
        Ok(this)
    }

    /// Where Envoy listens for the sidecar's upstream calls.
    pub(crate) fn egress_socket(&self) -> PathBuf {
        self.path.join(format!("egress-{}.sock", self.gateway))
    }

    /// Where Envoy's own admin API listens.
    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.path.join(ENVOY_ADMIN_SOCKET)
    }

    /// Where a sidecar of this gateway's own listens.
    pub(crate) fn sidecar_socket(&self) -> PathBuf {
        self.path.join(SIDECAR_SOCKET)
    }

    /// What a sidecar of this gateway's own remembers.
    pub(crate) fn sidecar_data(&self) -> PathBuf {
        self.path.join("data")
    }

    /// The providers' credentials, one file each.
    pub(crate) fn credentials(&self) -> PathBuf {
        self.path.join("credentials")
    }

    /// Envoy's configuration.
    pub(crate) fn envoy_config(&self) -> PathBuf {
        self.path.join("envoy.json")
    }

    /// Makes the folder, takes it, and clears away the sockets of an earlier process.
    ///
    /// # Errors
    /// Another gateway has it, or it cannot be made.
    pub(crate) fn take(&self) -> Result<Held, Failure> {
        let make = |folder: &Path| {
            private_file::folder(folder)
                .map_err(|error| Failure::io("make the folder", folder, &error))
        };
        make(&self.path)?;
        let lock_file = self.path.join("lock");
        let lock = File::create(&lock_file)
            .map_err(|error| Failure::io("make the lock file", &lock_file, &error))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_busy| {
            Failure::new(format!("another gateway runs in {}", self.path.display()))
                .hint("stop it, or give this one its own --id or --run-dir")
        })?;
        self.clear();
        make(&self.credentials())?;
        Ok(Held { _lock: lock })
    }

    /// Removes Envoy's sockets and the credentials, which nobody needs while no gateway runs. The sidecar looks after
    /// its own socket, which may belong to a living one.
    pub(crate) fn clear(&self) {
        // A credential that cannot be removed is still readable by this user only.
        let _left = std::fs::remove_dir_all(self.credentials());
        for socket in [self.egress_socket(), self.admin_socket()] {
            // Envoy replaces what is left and says so if it cannot.
            let _left = private_file::remove(&socket);
        }
    }

    fn sockets(&self) -> [PathBuf; 3] {
        let mut sidecar_admin = self.sidecar_socket().into_os_string();
        sidecar_admin.push(".admin");
        [self.egress_socket(), self.admin_socket(), PathBuf::from(sidecar_admin)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_directory_has_one_owner() {
        let home = tempfile::tempdir().unwrap();
        let run = RunDir::of(Some(home.path()), "gw-a").unwrap();
        let held = run.take().unwrap();
        let refused = run.take().unwrap_err().to_string();
        assert!(refused.contains("another gateway runs in"), "{refused}");
        drop(held);
        assert!(run.take().is_ok());
    }

    #[test]
    fn what_an_earlier_process_left_is_cleared_away() {
        let home = tempfile::tempdir().unwrap();
        let run = RunDir::of(Some(home.path()), "gw-a").unwrap();
        let old = run.credentials().join("a-target-of-long-ago.json");
        private_file::folder(&run.credentials()).unwrap();
        for path in [&run.egress_socket(), &run.sidecar_socket(), &old] {
            std::fs::write(path, b"").unwrap();
        }
        let _held = run.take().unwrap();
        assert!(!run.egress_socket().exists() && !old.exists());
        assert!(run.credentials().is_dir());
        assert!(run.sidecar_socket().exists(), "the sidecar's is not ours to remove");
    }

    #[test]
    fn a_folder_too_deep_for_sockets_is_refused_before_anything_is_made() {
        let home = tempfile::tempdir().unwrap();
        let deep = home.path().join("d".repeat(100));
        let refused = RunDir::of(Some(&deep), "gw-a").unwrap_err().to_string();
        assert!(refused.contains("shorter folder"), "{refused}");
        assert!(!deep.exists());
    }
}

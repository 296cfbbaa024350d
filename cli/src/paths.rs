//! Where the things lie that `kt` needs and did not make: sockets, programs, the module, certificates.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::environment::{self, Environment};
use crate::failure::Failure;

/// The longest path of a Unix socket on Linux: `sun_path` without its closing NUL.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The socket of client commands where nobody says otherwise.
pub(crate) const SIDECAR_SOCKET: &str = ".kt/run/sidecar.sock";
/// Where the run directories of gateways lie where nobody says otherwise.
pub(crate) const RUN_DIRS: &str = ".kt/run";

/// Where distributions keep the certificate authorities that they trust.
const TRUSTED_CA: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The same path from the root on. Everybody who is told of it may stand elsewhere.
///
/// # Errors
/// It is no UTF-8, which neither Envoy's configuration nor the wire can carry.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    let path = std::path::absolute(path)
        .map_err(|error| Failure::io("find the place of", path, &error))?;
    match path.to_str() {
        Some(_) => Ok(path),
        None => Err(Failure::new(format!("the path {} is no UTF-8", path.display()))),
    }
}

/// The same, of a file that Envoy is to read.
///
/// # Errors
/// It cannot be read.
pub(crate) fn readable(path: &Path) -> Result<PathBuf, Failure> {
    let _opened = std::fs::File::open(path).map_err(|error| Failure::io("read", path, &error))?;
    absolute(path)
}

/// The sidecar's data socket for client commands.
pub(crate) fn sidecar_socket(given: Option<&Path>, environment: &Environment) -> PathBuf {
    given
        .map(Path::to_path_buf)
        .or_else(|| environment.sidecar.clone())
        .unwrap_or_else(|| PathBuf::from(SIDECAR_SOCKET))
}

/// A path that a Unix socket can have.
///
/// # Errors
/// It is too long.
pub(crate) fn check_socket_path(path: &Path) -> Result<(), Failure> {
    let bytes = path.as_os_str().as_bytes().len();
    if bytes <= SOCKET_PATH_BYTES_MAX {
        return Ok(());
    }
    Err(Failure::new(format!(
        "the socket path {} has {bytes} bytes; the system takes {SOCKET_PATH_BYTES_MAX}",
        path.display()
    ))
    .hint("choose a shorter folder with --run-dir, e.g. under /run or /tmp"))
}

/// The filter's Wasm module: the path that was given, `KT_FILTER`, beside `kt`, then the build folder, be it of
/// the repository that `kt` was built in or of this folder.
pub(crate) fn filter_module(
    given: Option<&Path>,
    environment: &Environment,
) -> Result<PathBuf, Failure> {
    let built = "target/wasm32-unknown-unknown/wasm/kt_filter.wasm";
    let path = given
        .map(Path::to_path_buf)
        .or_else(|| environment.filter.clone())
        .or_else(|| environment::beside_this_program("kt_filter.wasm"))
        .or_else(|| environment::in_repository_of_this_program(built))
        .unwrap_or_else(|| PathBuf::from(built));
    absolute(&path)
}

/// The sidecar's program: beside `kt`, else in `PATH`.
pub(crate) fn sidecar_program(environment: &Environment) -> Result<PathBuf, Failure> {
    environment::beside_this_program("sidecar-cache")
        .or_else(|| environment.in_path("sidecar-cache"))
        .ok_or_else(|| {
            Failure::new("there is no sidecar-cache beside kt, nor in PATH")
                .hint("`make build` builds it; or join a running sidecar with --sidecar SOCKET")
        })
}

/// The certificate authorities for `https` targets.
pub(crate) fn trusted_ca(environment: &Environment) -> Result<PathBuf, Failure> {
    if let Some(path) = &environment.trusted_ca {
        return match path.is_file() {
            true => absolute(path),
            false => Err(Failure::new(format!(
                "SSL_CERT_FILE names {}, which is no file",
                path.display()
            ))),
        };
    }
    TRUSTED_CA.into_iter().map(PathBuf::from).find(|path| path.is_file()).ok_or_else(|| {
        Failure::new(
            "an https target needs the certificate authorities of this machine, and there are none",
        )
        .hint("install the package ca-certificates, or name a file with SSL_CERT_FILE")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_socket_path_is_107_bytes() {
        let of = |bytes| PathBuf::from("/".repeat(bytes));
        assert!(check_socket_path(&of(107)).is_ok());
        assert!(check_socket_path(&of(108)).is_err());
    }
}

//! Certificates of our own, and the settings by which a server has one: what tests of TLS run on.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// The variable with the folder of the authority by whose certificates every server of this process speaks TLS.
pub const FOLDER: &str = "KT_TEST_REDIS_TLS";

const MISSING: &str = "openssl is missing: apt-get install openssl, or scripts/setup test";

/// Someone who signs certificates, with one for servers at `localhost` and `127.0.0.1`.
#[derive(Debug)]
pub struct Authority {
    folder: TempDir,
}

// === impl Authority ===

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// Where there is no `openssl`, or it does not like something.
    pub fn new() -> io::Result<Self> {
        Self::of("DNS:localhost,IP:127.0.0.1")
    }

    /// A new one, whose certificate is for other names.
    ///
    /// # Errors
    /// Where there is no `openssl`, or it does not like something.
    pub fn of(names: &str) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let openssl = |words: &str| openssl(folder.path(), words);
        openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
                 -subj /CN=authority -keyout ca.key -out ca.crt",
        )?;
        std::fs::write(folder.path().join("names"), format!("subjectAltName={names}\n"))?;
        openssl(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
                 -subj /CN=redis -keyout server.key -out server.csr",
        )?;
        openssl(
            "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 \
                 -extfile names -out server.crt",
        )?;
        Ok(Self { folder })
    }

    /// Where its files are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The file of its own certificate: what `SSL_CERT_FILE` names.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.folder().join("ca.crt")
    }
}

/// The folder of the authority of this process, if its servers speak TLS.
#[must_use]
pub fn folder() -> Option<PathBuf> {
    env::var_os(FOLDER).map(PathBuf::from)
}

/// The URL of what listens on a port of this machine, for whoever logs in (`user:password@`): by TLS where the
/// servers of this process speak it.
#[must_use]
pub fn url(login: &str, port: u16) -> String {
    format!("{}://{login}127.0.0.1:{port}", scheme())
}

pub(crate) fn scheme() -> &'static str {
    if folder().is_some() { "rediss" } else { "redis" }
}

/// The settings of a server that speaks TLS with clients, replicas, Sentinels and the nodes of its cluster.
pub(crate) fn settings(folder: &Path) -> [(&'static str, String); 6] {
    let file = |name: &str| folder.join(name).to_string_lossy().into_owned();
    [
        ("tls-cert-file", file("server.crt")),
        ("tls-key-file", file("server.key")),
        ("tls-ca-cert-file", file("ca.crt")),
        ("tls-auth-clients", "no".to_owned()),
        ("tls-replication", "yes".to_owned()),
        ("tls-cluster", "yes".to_owned()),
    ]
}

fn openssl(folder: &Path, words: &str) -> io::Result<()> {
    let mut command = Command::new("openssl");
    let output = command.args(words.split_whitespace()).current_dir(folder).output();
    let output = output.map_err(|_| io::Error::other(MISSING))?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()))
}

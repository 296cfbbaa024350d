//! A master, its replica, and a Sentinel that watches them.

use std::io;

use kt_fault_proxy::free_port;
use tempfile::TempDir;

use crate::process::Process;
use crate::server::Server;
use crate::tls;

/// The name by which the Sentinel knows the master.
const NAME: &str = "main";

/// A master and its replica, which takes its place.
#[derive(Debug)]
pub struct Watched {
    /// The master at the start.
    pub master: Server,
    /// The replica at the start.
    pub replica: Server,
    sentinel_port: u16,
    _sentinel: Process,
    _folder: TempDir,
}

// === impl Watched ===

impl Watched {
    /// Starts all three.
    ///
    /// # Errors
    /// Where there is none to start.
    pub fn start() -> io::Result<Self> {
        let master = Server::start()?;
        let of = format!("127.0.0.1 {}", master.port);
        let replica = Server::start_with(&[("replicaof", &of)])?;
        // Before the Sentinel looks: it must know of the replica.
        master.is_followed()?;
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("sentinel.conf");
        let sentinel_port = free_port()?;
        let port = match tls::folder() {
            None => format!("port {sentinel_port}"),
            Some(certificates) => tls::settings(&certificates)
                .iter()
                .map(|(name, value)| format!("\n{name} {value}"))
                .fold(format!("port 0\ntls-port {sentinel_port}"), |all, line| all + &line),
        };
        let settings = format!(
            "{port}\nbind 127.0.0.1\ndir {}\nsentinel monitor {NAME} {of} 1\n\
             sentinel down-after-milliseconds {NAME} 500\nsentinel failover-timeout {NAME} 3000\n",
            folder.path().display(),
        );
        std::fs::write(&file, settings)?;
        let arguments = [file.to_string_lossy().into_owned(), "--sentinel".to_owned()];
        let sentinel = Process::start(&arguments, "+slave slave")?;
        Ok(Self { master, replica, sentinel_port, _sentinel: sentinel, _folder: folder })
    }

    /// The URL of whichever is the master.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}-sentinel://127.0.0.1:{}/0#{NAME}", tls::scheme(), self.sentinel_port)
    }
}

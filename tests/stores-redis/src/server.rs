//! One Redis server.

use std::io;
use std::path::Path;
use std::process::Command;

use kt_fault_proxy::free_port;
use redis::{Client, Cmd, Commands as _, Connection, FromRedisValue, ToRedisArgs};
use tempfile::TempDir;

use crate::process::Process;
use crate::tls::{self, Authority};

/// A server, on a port of its own.
#[derive(Debug)]
pub struct Server {
    process: Process,
    arguments: Vec<String>,
    /// On 127.0.0.1; for TLS where it speaks it.
    pub port: u16,
    /// The port by which the tests themselves ask it, and see what it has.
    pub control: u16,
    _folder: TempDir,
}

/// A server that stands still. Dropped, it goes on.
#[derive(Debug)]
pub struct Frozen {
    process: String,
}

// === impl Server ===

impl Server {
    /// Starts one that keeps nothing on disk.
    ///
    /// # Errors
    /// Where there is none to start.
    pub fn start() -> io::Result<Self> {
        Self::start_with(&[])
    }

    /// Starts one with more settings: pairs of a name and a value.
    ///
    /// # Errors
    /// Where there is none to start, or it does not like them.
    pub fn start_with(settings: &[(&str, &str)]) -> io::Result<Self> {
        Self::start_by(tls::folder().as_deref(), settings)
    }

    /// Starts one that speaks TLS, with a certificate of this authority, whatever the others speak.
    ///
    /// # Errors
    /// Where there is none to start, or it does not like the settings.
    pub fn start_encrypted(authority: &Authority, settings: &[(&str, &str)]) -> io::Result<Self> {
        Self::start_by(Some(authority.folder()), settings)
    }

    fn start_by(certificates: Option<&Path>, settings: &[(&str, &str)]) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let port = free_port()?;
        let control = if certificates.is_some() { free_port()? } else { port };
        let mut arguments = Vec::new();
        let mut set = |name: &str, value: &str| {
            arguments.extend([format!("--{name}"), value.to_owned()]);
        };
        set("port", &control.to_string());
        if let Some(certificates) = certificates {
            set("tls-port", &port.to_string());
            for (name, value) in tls::settings(certificates) {
                set(name, &value);
            }
        }
        set("bind", "127.0.0.1");
        set("dir", &folder.path().to_string_lossy());
        set("save", "");
        set("enable-debug-command", "local");
        for (name, value) in settings {
            set(name, value);
        }
        let process = Process::start(&arguments, "Ready to accept connections")?;
        Ok(Self { process, arguments, port, control, _folder: folder })
    }

    /// Its URL, as the servers of this process are addressed.
    #[must_use]
    pub fn url(&self) -> String {
        tls::url("", self.port)
    }

    /// Runs a command, given as its words, on a connection of its own.
    ///
    /// # Errors
    /// What the server says.
    pub fn run<T: FromRedisValue>(&self, words: &[impl ToRedisArgs]) -> redis::RedisResult<T> {
        let mut command = Cmd::new();
        words.iter().for_each(|word| _ = command.arg(word));
        command.query(&mut self.connection()?)
    }

    /// Waits until something holds, looking twenty times a second by the server's clock.
    ///
    /// # Errors
    /// What the server says; or that it does not hold after half a minute.
    pub fn waits_until(
        &self,
        mut holds: impl FnMut(&Self) -> redis::RedisResult<bool>,
    ) -> io::Result<()> {
        for _ in 0..600 {
            if holds(self).map_err(io::Error::other)? {
                return Ok(());
            }
            self.run::<()>(&["DEBUG", "SLEEP", "0.05"]).map_err(io::Error::other)?;
        }
        Err(io::Error::other("half a minute has passed"))
    }

    /// Waits until a replica follows it.
    ///
    /// # Errors
    /// Where none does.
    pub fn is_followed(&self) -> io::Result<()> {
        self.waits_until(|server| {
            let info: String = server.run(&["INFO", "replication"])?;
            Ok(info.contains("state=online"))
        })
    }

    /// Every key that there is.
    ///
    /// # Errors
    /// What the server says.
    pub fn keys(&self) -> redis::RedisResult<Vec<Vec<u8>>> {
        self.connection()?.keys("*")
    }

    /// Ends it without a word.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Stops its process where it stands: it is connected to, and says nothing.
    ///
    /// # Errors
    /// Where it cannot be stopped.
    pub fn freeze(&self) -> io::Result<Frozen> {
        let info: String = self.run(&["INFO", "server"]).map_err(io::Error::other)?;
        let process = info.lines().find_map(|line| line.strip_prefix("process_id:"));
        let process = process.ok_or_else(|| io::Error::other("it does not say its number"))?;
        let frozen = Frozen { process: process.trim().to_owned() };
        frozen.signal("-STOP")?;
        Ok(frozen)
    }

    /// Starts it again, on the same port and in the same folder.
    ///
    /// # Errors
    /// Where it does not start.
    pub fn start_again(&mut self) -> io::Result<()> {
        self.kill();
        self.process = Process::start(&self.arguments, "Ready to accept connections")?;
        Ok(())
    }

    fn connection(&self) -> redis::RedisResult<Connection> {
        Client::open(format!("redis://127.0.0.1:{}", self.control))?.get_connection()
    }
}

// === impl Frozen ===

impl Frozen {
    fn signal(&self, signal: &str) -> io::Result<()> {
        let status = Command::new("kill").args([signal, &self.process]).status()?;
        if status.success() { Ok(()) } else { Err(io::Error::other("no such process")) }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        _ = self.signal("-CONT");
    }
}

//! A Postgres for tests and benches: one per process, made from the binaries that are installed, with as many
//! databases as there are tests.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use kt_fault_proxy::free_port;
use sidecar_cache::clock::Clock;
use sidecar_cache::store::postgres::{Address, Database, schema};
use tokio_postgres::NoTls;

/// What keeps something from running.
pub type Failed = Box<dyn Error + Send + Sync>;

/// A server. It stops when its process does.
#[derive(Debug)]
pub struct Server {
    folder: String,
    port: u16,
    databases: AtomicU64,
    _until_it_ends: ChildStdin,
}

// === impl Server ===

impl Server {
    /// Starts one, with these arguments to `postgres`.
    ///
    /// # Errors
    /// Where no Postgres is installed, with the command that gets it, or it does not start.
    pub fn start(arguments: &[&str]) -> Result<Self, Failed> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/postgres");
        let port = free_port()?;
        let mut child = Command::new(script)
            .args(arguments)
            .env("PGPORT", port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut folder = String::new();
        let told = child.stdout.take().ok_or("no output")?;
        BufReader::new(told).read_line(&mut folder)?;
        let folder = folder.trim().to_owned();
        if folder.is_empty() {
            return Err("no Postgres for the tests, for the reason above".into());
        }
        let _until_it_ends = child.stdin.take().ok_or("no input")?;
        Ok(Self { folder, port, databases: AtomicU64::new(0), _until_it_ends })
    }

    /// Makes an empty database, and says its URL.
    ///
    /// # Errors
    /// Where the server does not.
    pub async fn database(&self) -> Result<String, Failed> {
        let name = format!("kt_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.execute("postgres", &format!("CREATE DATABASE {name}")).await?;
        Ok(self.url(&name))
    }

    /// Makes a database with all tables, and says its URL.
    ///
    /// # Errors
    /// Where the server does not.
    pub async fn migrated(&self) -> Result<String, Failed> {
        let url = self.database().await?;
        schema::migrate(&open(&url)?).await?;
        Ok(url)
    }

    /// The same database through a pooler that hands out connections per transaction: three of them.
    #[must_use]
    pub fn pooled(url: &str) -> String {
        let (server, database) = url.rsplit_once('/').unwrap_or_default();
        let (folder, _) = server.rsplit_once(':').unwrap_or_default();
        format!("{folder}:6432/{database}")
    }

    /// The same database over TLS, and the file of the authority that has signed the server's certificate.
    #[must_use]
    pub fn encrypted(&self, url: &str) -> (String, String) {
        let (_, database) = url.rsplit_once('/').unwrap_or_default();
        let url = format!("postgres://kt@localhost:{}/{database}?sslmode=require", self.port);
        (url, format!("{}/server.crt", self.folder))
    }

    /// Runs statements in a database, as somebody with a shell does.
    ///
    /// # Errors
    /// The server's.
    pub async fn execute(&self, database: &str, sql: &str) -> Result<(), Failed> {
        Ok(connect(&self.url(database)).await?.batch_execute(sql).await?)
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://kt@{}:{}/{database}", self.folder.replace('/', "%2F"), self.port)
    }
}

/// A connection of one's own.
///
/// # Errors
/// Where there is none.
pub async fn connect(url: &str) -> Result<tokio_postgres::Client, Failed> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// The way to a database as a sidecar has it.
///
/// # Errors
/// Where the URL is none.
pub fn open(url: &str) -> Result<Database, Failed> {
    Ok(Database::at(Address::parse(url)?, 8, Clock::start())?)
}

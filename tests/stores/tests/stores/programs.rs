//! `kt` and two sidecars on one database, as they are built.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use sidecar_cache::store::postgres::schema::version;

use crate::ledger_over::SERVER;

/// A folder with a configuration that names a database.
struct Place {
    folder: tempfile::TempDir,
    url: String,
}

/// A running sidecar, and the rest of its log; killed with the test.
struct Running {
    child: Child,
    _log: BufReader<ChildStderr>,
}

const CONFIG: &str = "
pack: {name: test, version: 0.1.0}
gateway: {id: gw-a}
providers:
  targets:
    - {id: openai-1, provider: openai, model: gpt-4o-mini, secret_key_ref: {env: KEY}}
wallet: {backend: postgres, url: {env: KT_TEST_DATABASE}}
";

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is built beside this test.
fn program(name: &str) -> PathBuf {
    let here = std::env::current_exe().unwrap();
    let path = here.ancestors().nth(2).unwrap().join(name);
    assert!(path.is_file(), "{} is missing: `make test-stores` builds it", path.display());
    path
}

impl Place {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("policy-config.yaml"), CONFIG).unwrap();
        Self { folder, url: SERVER.database().await.unwrap() }
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("policy-config.yaml")
    }

    fn kt(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(program("kt"));
        command.args(arguments).env("KT_TEST_DATABASE", &self.url).output().unwrap()
    }

    fn migrated(&self) -> String {
        let output =
            self.kt(&["db", "migrate", "--policy-config", self.config().to_str().unwrap()]);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.sock"))
    }

    /// A sidecar with a data folder of its own, and what it has said when it was ready or has ended.
    fn start(&self, name: &str) -> (Running, String) {
        let mut child = Command::new(program("sidecar-cache"))
            .arg("--policy-config")
            .arg(self.config())
            .arg("--socket")
            .arg(self.socket(name))
            .arg("--data-dir")
            .arg(self.folder.path().join(name))
            .args(["--listen", "none"])
            .env("KT_TEST_DATABASE", &self.url)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains("\"message\":\"ready\"") && log.read_line(&mut said).unwrap() > 0 {}
        (Running { child, _log: log }, said)
    }

    fn wallet(&self, sidecar: &Path, arguments: &[&str]) -> String {
        let socket = sidecar.to_str().unwrap();
        let output =
            self.kt(&[&["wallet"], arguments, &["--org", "acme", "--sidecar", socket]].concat());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

#[tokio::test]
async fn a_sidecar_starts_on_migrated_tables_only_and_shares_its_wallet_with_the_next() {
    let place = Place::new().await;
    let (mut refused, said) = place.start("a");
    assert!(!refused.child.wait().unwrap().success());
    assert!(said.contains("has no tables of kt yet: run `kt db migrate`"), "{said}");

    let version = version();
    assert!(place.migrated().ends_with(&format!("has schema version {version}; it had 0\n")));
    assert!(place.migrated().ends_with(&format!("has schema version {version} already\n")));

    let (one, other) = (place.start("a"), place.start("b"));
    place.wallet(&place.socket("a"), &["fund", "25"]);
    let balance = place.wallet(&place.socket("b"), &["balance"]);
    assert!(balance.contains("$25.00"), "{balance}");
    assert!(place.wallet(&place.socket("b"), &["history"]).contains("fund"));
    drop((one, other));
}

#[tokio::test]
async fn an_encrypted_connection_wants_to_know_who_is_at_the_other_end() {
    let (url, authority) = SERVER.encrypted(&SERVER.database().await.unwrap());
    let migrated = |url: &str, authority: &str| {
        let mut command = Command::new(program("kt"));
        command.args(["db", "migrate"]).env("KT_DATABASE_URL", url).env("SSL_CERT_FILE", authority);
        command.output().unwrap()
    };
    let output = migrated(&url, &authority);
    assert!(output.status.success(), "{output:?}");
    // Nobody knows this server here, and the same server under another name is not the one that is asked for.
    let unknown = "/etc/ssl/certs/ca-certificates.crt";
    let full = url.replace("=require", "=verify-full");
    let renamed = url.replace("localhost", "127.0.0.1");
    for (url, authority, why) in [
        (&url, unknown, "invalid peer certificate"),
        (&full, unknown, "invalid peer certificate"),
        (&renamed, authority.as_str(), "not valid for name"),
    ] {
        let output = migrated(url, authority);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(why), "{said}");
    }
}

#[tokio::test]
async fn a_database_that_is_not_named_is_asked_for() {
    let place = Place::new().await;
    let output = place.kt(&["db", "migrate"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("name the database"), "{said}");
    let output = place.kt(&["db", "migrate", "--url", "postgres://kt:hunter2@127.0.0.1:9/kt"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && !said.contains("hunter2"), "{said}");
    assert!(said.contains("postgres://kt@127.0.0.1:9/kt"), "{said}");
}

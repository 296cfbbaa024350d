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
";

/// Entries in a table of a name of its own.
const ENTRIES: &str = "database: {url: {env: KT_TEST_DATABASE}}
workflow_cache: {enabled: true, backend: postgres, postgres: {table: answers}}
";
/// A wallet in a database, and nothing else.
const WALLET: &str = "wallet: {backend: postgres, url: {env: KT_TEST_DATABASE}}\n";
/// All that can be shared, the wallet too.
const SHARED: &str = "database: {url: {env: KT_TEST_DATABASE}}\nwallet: {}\n";

/// A cache in a Redis where nobody listens.
const CACHE: &str = "
database: {url: {env: KT_TEST_DATABASE}}
workflow_cache:
  {enabled: true, default_tier: org_shared_cache, org_shared_enabled: true, backend: redis, redis: {url: {env: KT_TEST_REDIS}}}
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
    async fn new(database: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = format!("{CONFIG}{database}");
        std::fs::write(folder.path().join("policy-config.yaml"), config).unwrap();
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
        self.start_with(name, &[])
    }

    fn start_with(&self, name: &str, arguments: &[&str]) -> (Running, String) {
        let mut child = Command::new(program("sidecar-cache"))
            .arg("--policy-config")
            .arg(self.config())
            .arg("--socket")
            .arg(self.socket(name))
            .arg("--data-dir")
            .arg(self.folder.path().join(name))
            .args(["--listen", "none"])
            .args(arguments)
            .env("KT_TEST_DATABASE", &self.url)
            .env(
                "KT_TEST_REDIS",
                format!("unix://{}?pass=hunter2", self.socket("nobody").display()),
            )
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains("\"message\":\"ready\"") && log.read_line(&mut said).unwrap() > 0 {}
        (Running { child, _log: log }, said)
    }

    fn refuses_without_tables(&self) {
        let (mut refused, said) = self.start("a");
        assert!(!refused.child.wait().unwrap().success());
        assert!(said.contains("has no tables of kt yet: run `kt db migrate`"), "{said}");
    }

    /// What `kt` says when it asks a sidecar.
    fn ask(&self, sidecar: &Path, arguments: &[&str]) -> String {
        let socket = sidecar.to_str().unwrap();
        let output = self.kt(&[arguments, &["--sidecar", socket]].concat());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn wallet(&self, sidecar: &Path, arguments: &[&str]) -> String {
        self.ask(sidecar, &[&["wallet"], arguments, &["--org", "acme"]].concat())
    }
}

#[tokio::test]
async fn a_sidecar_starts_on_migrated_tables_only_and_shares_its_wallet_with_the_next() {
    let place = Place::new(WALLET).await;
    place.refuses_without_tables();
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
async fn sidecars_of_one_database_share_keys_purges_and_the_wallet_and_take_nothing_along() {
    let place = Place::new(SHARED).await;
    place.refuses_without_tables();
    // One database, which is named for two purposes and migrated once.
    assert_eq!(place.migrated().lines().count(), 1);
    let (one, other) = (place.start("a"), place.start("b"));
    let (a, b) = (place.socket("a"), place.socket("b"));
    place.ask(&a, &["key", "create", "--org", "acme"]);
    let listed = place.ask(&b, &["key", "list", "--json"]);
    assert_eq!(listed.matches("\"key_id\"").count(), 1, "{listed}");
    place.ask(&a, &["cache", "purge", "--org", "acme", "--all"]);
    place.wallet(&a, &["fund", "25"]);
    assert!(place.wallet(&b, &["balance"]).contains("$25.00"));
    let data = place.folder.path().join("a");
    for file in ["generations.db", "idempotency.db", "wallet.db"] {
        assert!(!data.join(file).exists(), "{file}");
    }
    // Whoever starts later has what was before.
    let late = place.start("c");
    let c = place.socket("c");
    assert_eq!(place.ask(&c, &["key", "list", "--json"]), listed);
    let stats = place.ask(&c, &["cache", "stats", "--json"]);
    assert!(stats.contains("\"invalidated_tags\": 1"), "{stats}");
    drop((one, other, late));
}

#[tokio::test]
async fn the_table_of_entries_is_made_with_the_others_and_a_sidecar_starts_on_it_only() {
    let place = Place::new(ENTRIES).await;
    place.refuses_without_tables();
    // Whoever names the database alone has named no table.
    let mut migrate = Command::new(program("kt"));
    migrate.args(["db", "migrate"]).env("KT_DATABASE_URL", &place.url);
    assert!(migrate.output().unwrap().status.success());
    let (mut refused, said) = place.start("a");
    assert!(!refused.child.wait().unwrap().success());
    let why = "workflow_cache.postgres: the store failed: ";
    let table = "has no table 'answers' for entries yet: run `kt db migrate --policy-config FILE`";
    assert!(said.contains(why) && said.contains(table), "{said}");

    assert!(place.migrated().ends_with("has the table 'answers' for entries\n"));
    assert!(place.migrated().ends_with("has the table 'answers' for entries already\n"));
    let (one, said) = place.start("a");
    assert!(said.contains("\"message\":\"ready\""), "{said}");
    let status = place.ask(&place.socket("a"), &["cache", "stats", "--json"]);
    assert!(status.contains("\"entries\""), "{status}");
    drop(one);
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
    let place = Place::new("").await;
    let unnamed = place.kt(&["db", "migrate", "--policy-config", place.config().to_str().unwrap()]);
    let said = String::from_utf8(unnamed.stderr).unwrap();
    assert!(said.contains("it has no 'database' and no 'wallet.backend: postgres'"), "{said}");
    let output = place.kt(&["db", "migrate"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("name the database"), "{said}");
    let output = place.kt(&["db", "migrate", "--url", "postgres://kt:hunter2@127.0.0.1:9/kt"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && !said.contains("hunter2"), "{said}");
    assert!(said.contains("postgres://kt@127.0.0.1:9/kt"), "{said}");
}

#[tokio::test]
async fn a_sidecar_starts_without_its_redis_says_so_and_tells_no_password() {
    let place = Place::new(CACHE).await;
    place.migrated();
    let (_running, log) = place.start("a");
    assert!(log.contains("the shared store is away"), "{log}");
    assert!(log.matches("the shared store").count() == 1 && !log.contains("hunter2"), "{log}");
    let status = place.kt(&["gateway", "status", "--sidecar", place.socket("a").to_str().unwrap()]);
    let status = format!("{status:?}");
    assert!(status.contains("nobody.sock is away since"), "{status}");
    assert!(!status.contains("hunter2"), "{status}");
}

#[tokio::test]
async fn a_local_sidecar_keeps_its_entries_to_itself_whatever_the_backend() {
    let place = Place::new(CACHE).await;
    place.migrated();
    let (_running, log) = place.start_with("a", &["--local"]);
    assert!(log.contains("\"ready\"") && !log.contains("away"), "{log}");
}

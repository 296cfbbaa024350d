#![cfg(test)]
//! The binary: it takes over from a dead one, not from a living one, and ends in order.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use sidecar_cache::store::sqlite::SqliteSpool;

/// A folder with a configuration, and the sidecars that are started in it.
struct Place {
    folder: tempfile::TempDir,
}

/// A running sidecar; killed with the test.
struct Running {
    child: Child,
    log: BufReader<ChildStderr>,
}

const CONFIG: &str = "
pack: {name: test, version: 0.1.0}
gateway: {id: gw-a}
providers:
  targets:
    - {id: openai-1, provider: openai, model: gpt-4o-mini, secret_key_ref: {env: KEY}}
workflow_cache: {enabled: true, default_tier: org_shared_cache, org_shared_enabled: true}
";

// === impl Place ===

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("policy-config.yaml"), CONFIG).unwrap();
        Self { folder }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("run/s.sock")
    }

    fn command(&self, socket: &Path, data: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sidecar-cache"));
        command
            .arg("--policy-config")
            .arg(self.folder.path().join("policy-config.yaml"))
            .arg("--socket")
            .arg(socket)
            .arg("--data-dir")
            .arg(self.folder.path().join(data))
            .args(["--listen", "none"])
            .stderr(Stdio::piped());
        command
    }

    fn start(&self) -> Running {
        Running::ready(self.command(&self.socket(), "data"))
    }

    fn key_count(&self) -> usize {
        self.admin("GET /v1/keys").matches("key_id").count()
    }

    fn admin(&self, request: &str) -> String {
        let mut socket = UnixStream::connect(with_admin(&self.socket())).unwrap();
        let body = if request.starts_with("POST") { r#"{"org":"acme"}"# } else { "" };
        let length = body.len();
        let head = format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
        let message = format!("{head}content-length: {length}\r\n\r\n{body}");
        socket.write_all(message.as_bytes()).unwrap();
        let mut reply = String::new();
        socket.read_to_string(&mut reply).unwrap();
        reply
    }
}

fn with_admin(socket: &Path) -> PathBuf {
    sidecar_cache::http::socket::with_ending(socket, ".admin")
}

// === impl Running ===

impl Running {
    fn ready(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut running = Self { child, log };
        running.wait_for("\"ready\"");
        running
    }

    /// Reads the log up to a line that contains `word`.
    fn wait_for(&mut self, word: &str) -> String {
        self.lines_until(word).pop().unwrap()
    }

    /// The log's next lines, the last of which contains `word`.
    fn lines_until(&mut self, word: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            let is_over = self.log.read_line(&mut line).unwrap() == 0;
            assert!(!is_over, "the log ended without {word}");
            let is_last = line.contains(word);
            lines.push(line);
            if is_last {
                return lines;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn end(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_killed_sidecar_is_replaced_and_its_keys_are_kept() {
    let place = Place::new();
    let mut first = place.start();
    assert!(place.admin("POST /v1/keys").contains("201 Created"));
    first.signal(Signal::KILL);
    assert_eq!(first.end(), None);
    assert!(place.socket().exists(), "it could not tidy up");
    let _second = place.start();
    assert_eq!(place.key_count(), 1);
}

#[test]
fn a_living_sidecar_keeps_its_socket_and_its_data() {
    let place = Place::new();
    let _first = place.start();
    let refused = |mut command: Command| {
        let output = command.output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let message = refused(place.command(&place.socket(), "other-data"));
    assert!(message.contains("another sidecar listens on"), "{message}");
    let elsewhere = place.folder.path().join("other.sock");
    let message = refused(place.command(&elsewhere, "data"));
    assert!(message.contains("another sidecar uses the data folder"), "{message}");
    assert_eq!(place.key_count(), 0, "the first one still answers");
}

#[test]
fn a_signal_ends_it_in_order() {
    for signal in [Signal::TERM, Signal::INT] {
        let place = Place::new();
        let mut running = place.start();
        running.signal(signal);
        running.wait_for("\"stopped\"");
        assert_eq!(running.end(), Some(0));
        assert!(!place.socket().exists());
        assert!(!with_admin(&place.socket()).exists());
    }
}

#[test]
fn a_bad_configuration_is_refused_with_its_line() {
    let place = Place::new();
    let path = place.folder.path().join("policy-config.yaml");
    save(&path, CONFIG.replace("workflow_cache: {", "workflow_cache: {ttl: 1, "));
    let output = place.command(&place.socket(), "data").output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(message.contains("policy-config.yaml:7") && message.contains("ttl"), "{message}");
}

#[test]
fn a_saved_change_is_live_and_a_bad_one_keeps_the_last_good() {
    let place = Place::new();
    let path = place.folder.path().join("policy-config.yaml");
    let mut running = place.start();
    save(&path, "nonsense: true");
    running.wait_for("not in force");
    assert!(place.admin("GET /v1/status").contains(r#""status":"degraded""#));
    save(&path, CONFIG.replace("enabled: true,", "enabled: false,"));
    running.wait_for("configuration in use");
    let status = place.admin("GET /v1/status");
    assert!(status.contains(r#""status":"ok""#), "{status}");
    assert!(status.contains(r#""cache_enabled":false"#), "{status}");
}

#[test]
fn targets_that_the_running_envoys_do_not_have_wait_for_a_restart() {
    let place = Place::new();
    let path = place.folder.path().join("policy-config.yaml");
    let mut running = place.start();
    let before = place.admin("GET /v1/status");
    let elsewhere = "{base_url: 'http://localhost:9', id: openai-1,";
    let edited = CONFIG.replace("{id: openai-1,", elsewhere).replace("{enabled: true,", "{");
    save(&path, &edited);
    let line = running.wait_for("not in force");
    let why = "policy-config.yaml: providers.targets changed: restart the gateways and the sidecar to put it \
               in force (target 'openai-1': base_url)";
    assert!(line.contains(why), "{line}");
    let status = place.admin("GET /v1/status");
    assert!(status.contains(r#""status":"degraded""#) && status.contains(why), "{status}");
    // Nothing of the file is in force, the cache's switch neither.
    assert!(status.contains(r#""cache_enabled":true"#), "{status}");
    assert_eq!(snapshot(&status), snapshot(&before));

    // What only routes and keys say is live.
    save(&path, CONFIG.replace("gpt-4o-mini", "gpt-4o"));
    running.wait_for("configuration in use");
    let status = place.admin("GET /v1/status");
    assert!(status.contains(r#""status":"ok""#), "{status}");
    assert_ne!(snapshot(&status), snapshot(&before));

    // And a start puts all of it in force.
    running.signal(Signal::TERM);
    running.end();
    save(&path, &edited);
    let _again = place.start();
    assert!(place.admin("GET /v1/status").contains(r#""status":"ok""#));
}

/// Saves as editors do, by renaming: a sidecar that looks in the middle of a write finds half a file.
fn save(path: &Path, text: impl AsRef<[u8]>) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(&beside, path).unwrap();
}

fn snapshot(status: &str) -> &str {
    status.split(r#""snapshot":""#).nth(1).unwrap().split('"').next().unwrap()
}

#[test]
fn a_warning_is_logged_when_it_is_new_and_not_at_every_change() {
    let place = Place::new();
    let path = place.folder.path().join("policy-config.yaml");
    let mut running = place.start();
    let warnings = |lines: &[String]| -> Vec<String> {
        let is_warning = |line: &&String| line.contains(r#""level":"WARN""#);
        lines.iter().filter(is_warning).cloned().collect()
    };
    // The same warnings, on other lines.
    save(&path, format!("\n\n{CONFIG}policies: {{block_status: 403}}\n"));
    let lines = running.lines_until("configuration in use");
    assert_eq!(warnings(&lines), Vec::<String>::new());
    save(&path, format!("{CONFIG}fabric: {{enabled: true}}\n"));
    let lines = running.lines_until("configuration in use");
    let found = warnings(&lines);
    assert!(found.len() == 1 && found[0].contains("fabric.enabled"), "{found:?}");
}

#[test]
fn a_wallet_that_does_not_add_up_is_frozen_before_anybody_is_served() {
    let place = Place::new();
    save(&place.folder.path().join("policy-config.yaml"), format!("{CONFIG}wallet: {{}}\n"));
    let mut first = Running::ready(place.command(&place.socket(), "data"));
    first.signal(Signal::TERM);
    first.end();
    let file = rusqlite::Connection::open(place.folder.path().join("data/wallet.db")).unwrap();
    let planted = "INSERT INTO accounts VALUES ('acme', 'wallet', 0, 0, 0, 0, 0, 7)";
    assert_eq!(file.execute(planted, []).unwrap(), 1);
    drop(file);

    let mut command = place.command(&place.socket(), "data");
    let mut child = command.spawn().unwrap();
    let log = BufReader::new(child.stderr.take().unwrap());
    let mut again = Running { child, log };
    let lines = again.lines_until("\"ready\"");
    let words = "I2 balances follow from transfers: wallet of acme: expected";
    let told = lines.iter().find(|line| line.contains(words)).unwrap();
    assert!(told.contains(r#""level":"ERROR""#) && told.contains("does not add up"), "{told}");
    let status = place.admin("GET /v1/status");
    assert!(status.contains(r#""status":"degraded""#) && status.contains(words), "{status}");
    assert!(place.admin("GET /v1/wallet/acme").contains(r#""frozen":{"since":"#));
    assert!(!place.admin("GET /v1/wallet/other").contains("frozen"));
}

#[test]
fn a_spool_that_holds_ends_is_not_left_behind_with_its_database() {
    let place = Place::new();
    let data = place.folder.path().join("data");
    let put = |sql| {
        drop(SqliteSpool::open(&data).unwrap());
        let file = rusqlite::Connection::open(data.join("spool.db")).unwrap();
        file.execute(sql, []).unwrap();
    };
    put("INSERT INTO ends (text) VALUES ('a'), ('b')");
    for wallet in ["", "wallet: {}\n"] {
        save(&place.folder.path().join("policy-config.yaml"), format!("{CONFIG}{wallet}"));
        let output = place.command(&place.socket(), "data").output().unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{log}");
        let said = log.contains("holds 2 ends of calls for a database, and wallet.url names none");
        assert!(
            said && log.contains("start once with the wallet as it was, or move the file away"),
            "{log}"
        );
    }
    put("DELETE FROM ends");
    let _running = place.start();
}

#[test]
fn a_local_sidecar_shares_nothing() {
    let place = Place::new();
    let mut command = place.command(&place.socket(), "data");
    command.arg("--local");
    let _running = Running::ready(command);
    assert!(place.admin("GET /v1/status").contains(r#""tier":"private_edge_cache""#));
}

/// The configuration with a Redis and a database whose addresses stand in the environment.
fn with_redis(place: &Place) -> Command {
    let config = CONFIG.replace(
        "enabled: true,",
        "enabled: true, backend: redis, redis: {url: {env: KT_TEST_REDIS}},",
    );
    let config = format!("{config}database: {{url: {{env: KT_TEST_DATABASE}}}}\n");
    std::fs::write(place.folder.path().join("policy-config.yaml"), config).unwrap();
    place.command(&place.socket(), "data")
}

#[test]
fn an_address_of_a_redis_that_cannot_be_read_ends_the_start_with_its_field() {
    for (address, said) in [
        (
            None,
            "workflow_cache.redis.url needs the environment variable KT_TEST_REDIS, which is not set",
        ),
        (
            Some("rediss://:hunter2@cache#insecure"),
            "workflow_cache.redis.url, in the environment variable KT_TEST_REDIS: the store failed: nothing \
             follows the database of a Redis URL, #insecure least of all",
        ),
        (
            Some("rediss://:hunter2@cache"),
            "workflow_cache.redis.url, in the environment variable KT_TEST_REDIS: the store failed: no \
             certificate authority is trusted here",
        ),
    ] {
        let place = Place::new();
        let mut command = with_redis(&place);
        command.env("SSL_CERT_FILE", place.folder.path().join("none")).env_remove("SSL_CERT_DIR");
        address.into_iter().for_each(|address| _ = command.env("KT_TEST_REDIS", address));
        let output = command.output().unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{log}");
        assert!(log.contains(said) && !log.contains("hunter2"), "{log}");
    }
}

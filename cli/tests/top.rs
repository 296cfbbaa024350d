//! `kt top` at a stub of a sidecar, for what no real one does when asked to.

#![expect(clippy::unwrap_used, reason = "a test says what is wrong by panicking")]

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use kt_fault_proxy::free_port;
use serde_json::json;
use tempfile::TempDir;

/// A sidecar that says how it is, and whose ledger takes its time.
struct Stub {
    _folder: TempDir,
    socket: PathBuf,
}

// === impl Stub ===

impl Stub {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("s.sock");
        let listener = UnixListener::bind(folder.path().join("s.sock.admin")).unwrap();
        thread::spawn(move || {
            // Never answered, and never closed.
            let mut waiting = Vec::new();
            for stream in listener.incoming() {
                waiting.extend(answer(stream.unwrap()));
            }
        });
        Self { _folder: folder, socket }
    }

    fn top(&self) -> Command {
        let mut kt = Command::new(env!("CARGO_BIN_EXE_kt"));
        kt.env_remove("KT_SIDECAR").arg("top").args(["--interval", "0.1", "--sidecar"]);
        kt.arg(&self.socket).stdout(Stdio::piped());
        kt
    }
}

/// Answers one question; gives the connection back if it is about what was saved.
fn answer(mut stream: UnixStream) -> Option<UnixStream> {
    let mut head = BufReader::new(&stream).lines();
    let question = head.next()?.ok()?;
    head.find(|line| line.as_ref().is_ok_and(String::is_empty))?.ok()?;
    let body = match question.split(' ').nth(1)? {
        "/v1/status" => status(),
        path if path.starts_with("/v1/savings") => return Some(stream),
        _ => stats(),
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .ok()?;
    None
}

fn status() -> String {
    let gateway = json!({
        "gateway": {"id": "gw-a", "role": "primary", "egress": "/e"}, "config": "0c1d", "workers": 1,
        "workers_behind": 0, "state": "live", "last_seen_ms": 200,
    });
    json!({
        "status": "ok", "version": "0.1.0", "epoch": "e1", "config": {"version": "0c1d", "live_ms": 9},
        "snapshot": "aa", "cache_enabled": true, "tier": "org_shared_cache", "fabric_attached": false,
        "entries": 1, "entry_bytes": 2, "gateways": [gateway],
    })
    .to_string()
}

fn stats() -> String {
    json!({
        "entries": 1, "entry_bytes": 2, "evicted": 0, "expired": 0, "hits": 3, "misses": 1, "flights": 0,
        "invalidated_tags": 0, "generation": 0, "orgs": [],
    })
    .to_string()
}

#[test]
fn a_ledger_that_never_answers_holds_up_nothing_else() {
    let stub = Stub::new();
    let mut top = stub.top().spawn().unwrap();
    let mut lines = BufReader::new(top.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut frames = String::new();
    while frames.matches("1 live, 0 lost").count() < 3 && !frames.contains("LOST") {
        frames = format!("{frames}{}\n", lines.next().unwrap());
    }
    top.kill().unwrap();
    top.wait().unwrap();
    let once = String::from_utf8(stub.top().arg("--once").output().unwrap().stdout).unwrap();
    for text in [frames, once] {
        assert!(text.contains("75.0 % since the start") && text.contains("gw-a"), "{text}");
        assert!(text.contains("the ledger has not answered yet"), "{text}");
        assert!(!text.contains("LOST"), "{text}");
    }
}

/// Serves these metrics to everybody.
fn metrics(text: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = BufReader::new(&stream).lines();
            head.find(|line| line.as_ref().is_ok_and(String::is_empty)).unwrap().unwrap();
            let length = text.len();
            let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}");
            write!(stream, "{head}\r\n\r\n{text}").unwrap();
        }
    });
    address
}

#[test]
fn metrics_of_another_sidecar_or_of_nobody_are_told_as_such() {
    let stub = Stub::new();
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().unwrap()));
    let ours = metrics("kt_snapshot_info{version=\"aa\"} 1\nkt_flight_followers 7\n");
    let other = metrics("kt_snapshot_info{version=\"bb\"} 1\nkt_flight_followers 7\n");
    for (address, told) in [
        (ours, "with 7 followers".to_owned()),
        (other, format!("{other} serves the metrics of another sidecar")),
        (nobody, format!("nobody answers at {nobody}")),
    ] {
        let mut top = stub.top().args(["--metrics", &address.to_string()]).spawn().unwrap();
        let mut lines = BufReader::new(top.stdout.take().unwrap()).lines().map(Result::unwrap);
        let flights = lines.find(|line| line.starts_with("flights")).unwrap();
        top.kill().unwrap();
        top.wait().unwrap();
        assert!(flights.contains(&told), "{flights}");
    }
}

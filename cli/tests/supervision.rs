//! `kt gateway run` as a process: what it refuses, and what becomes of its child. A shell script stands for Envoy,
//! and the test itself answers `/health`, so that nothing of this needs a real one. Nothing sleeps: that a process
//! is gone is seen by the end of the pipe that it held.

#![expect(clippy::unwrap_used, reason = "a test says what is wrong by panicking")]

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdout, Command, Stdio};

use kt_fault_proxy::free_port;
use tempfile::TempDir;

const VERSION: &str = "envoy  version: abc/1.40.0/Clean/RELEASE/BoringSSL";
const CONFIG: &str = "
gateway: {id: gw-t, agent_gateway_group_id: demo}
providers: {targets: [{id: fake, provider: openai, base_url: 'http://127.0.0.1:1'}]}
";

/// A folder with everything that a gateway needs, and a script in Envoy's place.
struct Stage {
    folder: TempDir,
    port: u16,
}

/// A running `kt`, and what it and its children print.
struct Kt {
    process: Child,
    out: BufReader<ChildStdout>,
}

// === impl Stage ===

impl Stage {
    /// `then` is what the stand-in does after it has said its version.
    fn new(version: &str, then: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script =
            format!("#!/bin/sh\n[ \"$1\" = --version ] && echo '{version}' && exit\n{then}\n");
        // Copied by another process: what this one has open for writing, a child that another test starts meanwhile has
        // open too until it is its own program, and nobody may execute it.
        fs::write(folder.path().join("script"), script).unwrap();
        let copied = Command::new("cp").args(["script", "envoy"]).current_dir(&folder).status();
        assert!(copied.unwrap().success());
        fs::set_permissions(folder.path().join("envoy"), Permissions::from_mode(0o755)).unwrap();
        fs::write(folder.path().join("filter.wasm"), "").unwrap();
        fs::write(folder.path().join("policy-config.yaml"), CONFIG).unwrap();
        Self { folder, port: free_port().unwrap() }
    }

    fn command(&self) -> Command {
        let mut kt = Command::new(env!("CARGO_BIN_EXE_kt"));
        kt.current_dir(self.folder.path())
            .env_remove("KT_ENVOY")
            .env_remove("KT_FILTER")
            .args(["gateway", "run", "--sidecar", "s.sock", "--run-dir", "run"])
            .args(["--envoy", "./envoy", "--filter", "filter.wasm", "--listen"])
            .arg(format!("127.0.0.1:{}", self.port))
            .stdout(Stdio::piped());
        kt
    }

    fn start(&self) -> Kt {
        let mut process = self.command().spawn().unwrap();
        let out = BufReader::new(process.stdout.take().unwrap());
        Kt { process, out }
    }

    /// Runs `kt` to its end; what it said to people.
    fn refused(&self) -> String {
        let done = self.command().output().unwrap();
        assert!(!done.status.success());
        String::from_utf8(done.stderr).unwrap()
    }

    /// Answers one `/health` on the gateway's port, as the filter would.
    fn answer_health(&self) {
        let gateway = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        let (mut client, _) = gateway.accept().unwrap();
        let mut lines = BufReader::new(client.try_clone().unwrap()).lines();
        while !lines.next().unwrap().unwrap().is_empty() {}
        let body = r#"{"status":"ok"}"#;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        client.write_all(format!("{head}{body}").as_bytes()).unwrap();
    }
}

// === impl Kt ===

impl Kt {
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Waits until nobody holds the output any more: neither `kt` nor a child of it.
    fn wait_until_all_are_gone(&mut self) {
        self.out.read_to_end(&mut Vec::new()).unwrap();
    }

    fn signal(&self, pid: u32, name: &str) {
        let killed = Command::new("kill").args([name, &pid.to_string()]).status().unwrap();
        assert!(killed.success());
    }
}

const UP: &str = "echo up $$; exec sleep 600";

#[test]
fn envoy_dies_with_kt_however_kt_ends() {
    let stage = Stage::new(VERSION, UP);
    let mut kt = stage.start();
    assert!(kt.line().starts_with("up "));
    kt.process.kill().unwrap();
    kt.wait_until_all_are_gone();
}

#[test]
fn a_signal_ends_envoy_and_then_kt_and_leaves_no_socket() {
    let stage = Stage::new(VERSION, UP);
    let mut kt = stage.start();
    assert!(kt.line().starts_with("up "));
    kt.signal(kt.process.id(), "-TERM");
    kt.wait_until_all_are_gone();
    assert_eq!(kt.process.wait().unwrap().code(), Some(0));
    let left = fs::read_dir(stage.folder.path().join("run")).unwrap();
    let sockets =
        left.filter(|it| it.as_ref().unwrap().file_name().to_string_lossy().ends_with(".sock"));
    assert_eq!(sockets.count(), 0);
}

#[test]
fn an_envoy_that_ignores_the_signal_is_killed_at_the_second_one() {
    let stage = Stage::new(VERSION, "trap '' TERM; echo up; exec sleep 600");
    let mut kt = stage.start();
    assert_eq!(kt.line(), "up");
    // The first is being waited on, which only the second shortens.
    kt.signal(kt.process.id(), "-TERM");
    kt.signal(kt.process.id(), "-INT");
    assert_eq!(kt.process.wait().unwrap().code(), Some(0));
}

#[test]
fn an_envoy_that_crashes_is_started_again() {
    let stage = Stage::new(VERSION, UP);
    let mut kt = stage.start();
    let first = kt.line();
    stage.answer_health();
    assert!(kt.line().starts_with("ready address=127.0.0.1:"));
    let pid = first.strip_prefix("up ").unwrap().parse().unwrap();
    kt.signal(pid, "-SEGV");
    let second = kt.line();
    assert!(second.starts_with("up ") && second != first, "{second}");
    kt.process.kill().unwrap();
    kt.wait_until_all_are_gone();
}

#[test]
fn a_sidecar_that_is_not_there_is_missed_before_anything_is_asked_of_the_gateway() {
    let stage = Stage::new(VERSION, UP);
    let mut process = stage.command().stderr(Stdio::piped()).spawn().unwrap();
    let socket = stage.folder.path().join("s.sock").display().to_string();
    let mut said = BufReader::new(process.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(said.next().unwrap(), "kt: starting gw-t on Envoy 1.40.0");
    // The second remark, and not one of those that come every ten seconds.
    let expected =
        format!("kt: nothing answers at {socket}: start sidecar-cache with --socket {socket}");
    let remark = said.next().unwrap();
    assert!(remark.starts_with(&expected), "{remark}");
    process.kill().unwrap();
    process.wait().unwrap();
}

#[test]
fn an_envoy_that_refuses_its_configuration_ends_kt() {
    let said = Stage::new(VERSION, "echo 'no such field' >&2; exit 3").refused();
    assert!(said.contains("no such field"), "{said}");
    assert!(said.contains("envoy ended with exit code 3 before it was ready"), "{said}");
}

#[test]
fn an_envoy_that_is_too_old_is_named_with_what_is_needed() {
    let said = Stage::new("envoy  version: abc/1.35.9/Clean/RELEASE/BoringSSL", UP).refused();
    assert!(said.contains("./envoy is Envoy 1.35.9; kt needs 1.36.0 or newer"), "{said}");
    assert!(said.contains("make setup"), "{said}");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let stage = Stage::new(VERSION, UP);
    let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, stage.port)).unwrap();
    let said = stage.refused();
    assert!(said.contains(&format!("127.0.0.1:{} is in use", stage.port)), "{said}");
}

#[test]
fn reserved_variables_of_the_control_plane_are_answered_by_a_warning() {
    let stage = Stage::new("envoy  version: abc/1.35.9/Clean/RELEASE/BoringSSL", UP);
    let done = stage.command().env("KEEPTRUSTS_API_URL", "https://example.com").output().unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(said.contains("KEEPTRUSTS_API_URL is reserved for the control plane"), "{said}");
    assert!(!said.contains("KEEPTRUSTS_GATEWAY_TOKEN"), "{said}");
}

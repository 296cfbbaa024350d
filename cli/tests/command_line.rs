//! What `kt` says when it cannot do what was asked, and where it finds what it needs. No sidecar and no Envoy runs.

#![expect(clippy::unwrap_used, reason = "a test says what is wrong by panicking")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};

use kt_contract::gateway_key::GatewayKey;

fn kt(program: &Path, folder: &Path) -> Command {
    let mut kt = Command::new(program);
    kt.current_dir(folder);
    for name in ["KT_SIDECAR", "KT_ENVOY", "KT_FILTER"] {
        kt.env_remove(name);
    }
    kt
}

/// What it said to people; it must have failed.
fn refused(done: Output) -> String {
    assert!(!done.status.success() && done.stdout.is_empty());
    String::from_utf8(done.stderr).unwrap()
}

#[test]
fn a_key_given_for_its_name_is_never_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let key = GatewayKey::from_random(&[7; 32]);
    let key = key.reveal();
    let bearer = format!("Bearer {key}");
    for (arguments, told) in [
        (vec!["key", "revoke", key], true),
        (vec!["key", "revoke", &bearer], true),
        (vec!["explain", "--key", key, "no-such-file"], true),
        (vec!["explain", "--key", "gk_1", "--against", key, "no-such-file"], true),
        (vec!["explain", "--key", "gk_1", key], false),
        (vec!["key", "revoke", "gk_1", key], false),
        (vec!["key", "revoke", key.strip_prefix("kt_").unwrap()], false),
    ] {
        let program = Path::new(env!("CARGO_BIN_EXE_kt"));
        let said = refused(kt(program, folder.path()).args(&arguments).output().unwrap());
        assert!(!said.contains(&key[10..20]), "{said}");
        let hint = "that is the secret; `kt key list` has its public name (gk_…)";
        assert_eq!(said.contains(hint), told, "{said}");
    }
}

#[test]
fn every_mistake_in_a_configuration_is_a_line_that_begins_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("bad.yaml"), "gateway: {prot: 1}\nprovders: {}\n").unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_kt"));
    let check = kt(program, folder.path()).args(["config", "check", "bad.yaml"]).output().unwrap();
    let said = refused(check);
    let (mistakes, rest): (Vec<_>, Vec<_>) =
        said.lines().partition(|line| line.starts_with("bad.yaml:"));
    assert!(mistakes.len() >= 2, "{said}");
    let summary = format!("kt: {} errors; nothing runs from this file", mistakes.len());
    assert!(rest.len() == 1 && rest[0].starts_with(&summary), "{said}");
}

#[test]
fn a_check_says_which_credentials_are_not_here_and_is_good_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let config =
        "providers: {targets: [{id: x, provider: openai, secret_key_ref: {env: KT_TEST_KEY}}]}";
    fs::write(folder.path().join("policy-config.yaml"), config).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_kt"));
    for (value, told) in [(None, true), (Some("a-value"), false)] {
        let mut check = kt(program, folder.path());
        check
            .args(["config", "check"])
            .env_remove("KT_TEST_KEY")
            .envs(value.map(|it| ("KT_TEST_KEY", it)));
        let done = check.output().unwrap();
        let said = String::from_utf8(done.stderr).unwrap();
        assert!(done.status.success(), "{said}");
        assert_eq!(
            said.contains("target 'x' wants the environment variable KT_TEST_KEY"),
            told,
            "{said}"
        );
        assert!(!said.contains("a-value"), "{said}");
    }
}

#[test]
fn an_export_that_is_refused_prints_no_head() {
    let folder = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_kt"));
    let export = ["audit", "export", "--org", "acme", "--format", "csv", "--sidecar", "none.sock"];
    let said = refused(kt(program, folder.path()).args(export).output().unwrap());
    assert!(said.contains("no sidecar answers"), "{said}");
}

#[test]
fn a_sidecar_that_a_gateway_spawned_is_named_with_the_command_that_asks_it() {
    let folder = tempfile::tempdir().unwrap();
    let admin = |gateway: &str| {
        let run = folder.path().join(".kt/run").join(gateway);
        fs::create_dir_all(&run).unwrap();
        UnixListener::bind(run.join("sidecar.sock.admin")).unwrap()
    };
    let _two_that_live = [admin("gw-b"), admin("gw-a")];
    drop(admin("gw-dead"));
    let program = Path::new(env!("CARGO_BIN_EXE_kt"));
    let said = refused(kt(program, folder.path()).args(["gateway", "status"]).output().unwrap());
    let commands: Vec<_> =
        said.lines().map(str::trim).filter(|line| line.starts_with("KT_SIDECAR=")).collect();
    assert_eq!(
        commands,
        [
            "KT_SIDECAR=.kt/run/gw-a/sidecar.sock kt gateway status",
            "KT_SIDECAR=.kt/run/gw-b/sidecar.sock kt gateway status"
        ],
        "{said}"
    );
    let elsewhere = ["gateway", "status", "--sidecar", "elsewhere.sock"];
    let said = refused(kt(program, folder.path()).args(elsewhere).output().unwrap());
    assert!(!said.contains("gw-a"), "whoever named a socket meant that one: {said}");
}

#[test]
fn envoy_and_the_filter_are_found_from_any_folder_in_the_repository_of_the_program() {
    let repository = tempfile::tempdir().unwrap();
    let root = repository.path().canonicalize().unwrap();
    let put = |place: &str, content: &[u8]| {
        let path = root.join(place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        path
    };
    let version = "envoy  version: abc/1.36.4/Clean/RELEASE/BoringSSL";
    let script = format!("#!/bin/sh\necho '{version}'\n");
    // Programs are copied by another process: what this one has open for writing, a child that another test starts
    // meanwhile has open too until it is its own program, and nobody may execute it.
    let copy = |from: &Path, to: &Path| {
        assert!(Command::new("cp").args([from, to]).status().unwrap().success());
    };
    let envoy = root.join(".kt/venv/lib/python3.11/site-packages/envoy/_bin/envoy");
    fs::create_dir_all(envoy.parent().unwrap()).unwrap();
    copy(&put("script", script.as_bytes()), &envoy);
    let filter = put("target/wasm32-unknown-unknown/wasm/kt_filter.wasm", b"");
    fs::create_dir_all(root.join("target/release")).unwrap();
    let program = root.join("target/release/kt");
    copy(Path::new(env!("CARGO_BIN_EXE_kt")), &program);

    let elsewhere = tempfile::tempdir().unwrap();
    let config =
        "providers: {targets: [{id: x, provider: openai, base_url: 'http://127.0.0.1:1'}]}";
    fs::write(elsewhere.path().join("policy-config.yaml"), config).unwrap();
    let done = kt(&program, elsewhere.path()).args(["config", "render"]).output().unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(done.status.success() && !said.contains("no Envoy is here"), "{said}");
    let rendered = String::from_utf8(done.stdout).unwrap();
    assert!(rendered.contains(filter.to_str().unwrap()), "{rendered}");
}

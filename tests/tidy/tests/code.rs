//! The rules for code: size, headings, markers, lints, and who may depend on whom.

use kt_tidy::{code_lines, files_ending, read, root};

#[test]
fn a_file_of_code_has_at_most_500_lines() {
    for path in files_ending(".rs").iter().filter(|path| !path.contains("tests/")) {
        let lines = code_lines(&read(path)).count();
        assert!(lines <= 500, "{path} has {lines} lines of code; split it by what it holds");
    }
}

#[test]
fn every_rust_file_says_what_it_holds() {
    for path in files_ending(".rs") {
        let text = read(&path);
        let first = text.lines().find(|line| !line.starts_with("#!")).unwrap_or_default();
        assert!(first.starts_with("//!"), "{path} does not begin with a //! line");
    }
}

#[test]
fn a_marker_for_later_names_an_issue() {
    for path in
        files_ending(".rs").into_iter().chain(files_ending(".py")).chain(files_ending(".md"))
    {
        if path == "tests/tidy/tests/code.rs" {
            continue;
        }
        for (at, line) in read(&path).lines().enumerate() {
            for marker in ["TODO", "FIXME", "XXX"] {
                let bare = line
                    .match_indices(marker)
                    .any(|(from, _)| !line[from + marker.len()..].starts_with("(#"));
                assert!(!bare, "{path}:{}: {marker} without (#issue)", at + 1);
            }
        }
    }
}

#[test]
fn unsafe_code_lives_in_one_file() {
    for path in files_ending(".rs").iter().filter(|path| *path != "tests/tidy/tests/code.rs") {
        let lifted = read(path).lines().any(|line| {
            let line = line.trim_start();
            !line.starts_with("//")
                && (line.contains("expect(unsafe_code") || line.contains("allow(unsafe_code"))
        });
        assert!(!lifted || path == "filter/src/host.rs", "{path} lifts the ban on unsafe code");
    }
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    for path in files_ending("Cargo.toml").iter().filter(|path| *path != "Cargo.toml") {
        assert!(read(path).contains("[lints]\nworkspace = true"), "{path}");
    }
}

#[test]
fn no_test_is_switched_off_or_sleeps() {
    for path in files_ending(".rs").iter().filter(|path| *path != "tests/tidy/tests/code.rs") {
        let text = read(path);
        for banned in ["#[ignore", "#[should_panic", "thread::sleep"] {
            assert!(!text.contains(banned), "{path} contains {banned}");
        }
    }
}

/// `contract` depends on nothing of ours, `policy` and `providers` on it alone, and nobody on the filter.
#[test]
fn dependencies_point_inwards() {
    let allowed: &[(&str, &[&str])] = &[
        ("contract", &[]),
        ("policy", &["kt-contract"]),
        ("providers", &["kt-contract"]),
        ("filter/core", &["kt-contract", "kt-policy", "kt-providers"]),
        ("filter", &["kt-contract", "kt-policy", "kt-providers", "kt-filter-core"]),
        ("sidecar-cache", &["kt-contract", "kt-policy", "kt-providers"]),
        ("cli", &["kt-contract", "kt-policy", "kt-providers"]),
        ("tests/fake-provider", &[]),
    ];
    let ours = [
        "kt-contract",
        "kt-policy",
        "kt-providers",
        "kt-filter-core",
        "kt-filter",
        "sidecar-cache",
        "kt-fake-provider",
    ];
    for (folder, may) in allowed {
        let manifest = read(&format!("{folder}/Cargo.toml"));
        let dependencies = manifest
            .split("\n[")
            .filter(|section| section.starts_with("dependencies]"))
            .flat_map(str::lines)
            .filter_map(|line| line.split([' ', '=', '.']).next());
        for dependency in dependencies.filter(|name| ours.contains(name)) {
            assert!(may.contains(&dependency), "{folder} must not depend on {dependency}");
        }
    }
}

#[test]
fn pure_crates_read_no_clock_and_no_network() {
    for folder in ["contract/src", "policy/src", "providers/src", "filter/core/src"] {
        let is_test = |path: &str| path.contains("tests") || path.ends_with("/golden.rs");
        let files = files_ending(".rs");
        for path in files.iter().filter(|path| path.starts_with(folder) && !is_test(path)) {
            let text = read(path);
            for banned in [
                "Instant::now",
                "SystemTime",
                "TcpStream",
                "UdpSocket",
                "UnixStream",
                "std::fs",
                "std::env",
                "tokio::",
                "proxy_wasm::",
            ] {
                let used = code_lines(&text)
                    .any(|line| !line.trim_start().starts_with("//") && line.contains(banned));
                assert!(!used, "{path} uses {banned}");
            }
        }
    }
}

#[test]
fn no_file_is_larger_than_200_kib() {
    for path in kt_tidy::files() {
        let bytes = std::fs::metadata(root().join(&path)).map_or(0, |meta| meta.len());
        assert!(bytes <= 200 << 10, "{path} has {bytes} bytes");
    }
}

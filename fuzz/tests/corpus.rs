//! The committed corpus through the targets, without a fuzzer; and that targets, binaries and corpus know of
//! each other.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use kt_fuzz::TARGETS;
use kt_providers::Dialect;

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Name and content of the inputs of a target.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(folder("corpus").join(target)).unwrap();
    files
        .map(|file| file.unwrap())
        .map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap()))
        .collect()
}

fn names(folder_name: &str) -> BTreeSet<String> {
    let files = fs::read_dir(folder(folder_name)).unwrap();
    files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .map(|name| name.trim_end_matches(".rs").to_owned())
        .collect()
}

#[test]
fn every_input_of_the_corpus_keeps_the_promises() {
    for (target, check) in TARGETS {
        for (name, input) in corpus(target) {
            // A panic says what is wrong; this says with what.
            let about = std::panic::catch_unwind(|| check(&input));
            assert!(about.is_ok(), "fuzz/corpus/{target}/{name}");
        }
    }
}

#[test]
fn every_target_has_a_binary_and_a_corpus() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names("fuzz_targets"), targets);
    assert_eq!(names("corpus"), targets);
    let manifest = fs::read_to_string(folder("Cargo.toml")).unwrap();
    for target in targets {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{target}.rs\"")), "{target}");
    }
}

#[test]
fn every_dialect_is_in_the_corpus() {
    for target in ["answers", "requests"] {
        let corpus = corpus(target);
        for dialect in Dialect::ALL {
            let name = dialect.as_str().as_bytes();
            let is_there = corpus.iter().any(|(_, input)| input.starts_with(name));
            assert!(is_there, "fuzz/corpus/{target} has no {}", dialect.as_str());
        }
    }
}

//! The rules for documents: what they name exists, and the closed sets of the code are all in them.

use std::collections::BTreeSet;

use kt_contract::outcome::{Outcome, Reason};
use kt_tidy::{files, files_ending, read, root};

/// Words in backquotes of a markdown text.
fn quoted(text: &str) -> BTreeSet<String> {
    let mut in_block = false;
    let mut words = BTreeSet::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            words.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    words
}

/// The first column of a page's tables: rows like "| `word` | … |".
fn listed(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|rest| rest.split_once('`'))
        .map(|(word, _)| word.to_owned())
        .collect()
}

#[test]
fn a_markdown_file_has_one_title() {
    for path in files_ending(".md") {
        let mut in_block = false;
        let titles = read(&path)
            .lines()
            .filter(|line| {
                in_block ^= line.starts_with("```");
                !in_block && line.starts_with("# ")
            })
            .count();
        assert_eq!(titles, 1, "{path}");
    }
}

#[test]
fn every_path_that_a_document_names_exists() {
    let all = files();
    for path in files_ending(".md") {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for word in quoted(&read(&path)) {
            let looks_like_a_path = word.contains('/')
                && !word.contains([' ', '<', '*', '{', '$', ':', '('])
                && [".rs", ".md", ".yaml", ".toml", ".json", ".py", ".sh"]
                    .iter()
                    .any(|end| word.ends_with(end))
                && !word.starts_with('/')
                && !word.starts_with("..")
                && !word.starts_with(".kt/");
            let here = format!("{folder}/{word}");
            assert!(
                !looks_like_a_path || all.contains(&word) || all.contains(&here),
                "{path} names {word}, which does not exist"
            );
        }
    }
}

#[test]
fn every_relative_link_leads_somewhere() {
    for path in files_ending(".md") {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for link in read(&path)
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split_once(')'))
            .map(|(link, _)| link)
        {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            assert!(root().join(folder).join(target).exists(), "{path} links to {link}");
        }
    }
}

#[test]
fn the_outcomes_page_lists_exactly_the_outcomes_and_reasons() {
    let listed = listed(&read("docs/reference/outcomes.md"));
    let known: BTreeSet<String> = Outcome::ALL
        .iter()
        .map(|outcome| outcome.as_str())
        .chain(Reason::ALL.iter().map(|reason| reason.as_str()))
        .map(str::to_owned)
        .collect();
    assert_eq!(listed, known);
}

#[test]
fn the_errors_page_lists_exactly_the_codes() {
    let parts = files().into_iter().filter(|path| path.starts_with("contract/src/problem"));
    let mut known = BTreeSet::new();
    for path in parts {
        let source = read(&path);
        let codes = source
            .split("fn code(")
            .nth(1)
            .and_then(|rest| rest.split("\n    }").next())
            .unwrap_or_default();
        assert!(!codes.is_empty(), "{path} has no fn code(");
        known.extend(codes.split('"').skip(1).step_by(2).map(str::to_owned));
    }
    assert!(known.contains("model_not_found") && known.contains("budget_exceeded"));
    assert_eq!(listed(&read("docs/reference/errors.md")), known);
}

#[test]
fn the_wire_page_names_every_path_and_header() {
    let page = read("docs/reference/wire.md");
    let source = read("contract/src/wire/headers.rs") + &read("contract/src/wire.rs");
    let texts = |line: &&str| line.starts_with("pub const ") && line.contains(": &str =");
    // Its version is no name, and has a test of its own.
    for name in source.lines().filter(texts).filter(|line| !line.contains("VERSION_TEXT")) {
        let Some(value) = name.split('"').nth(1) else { continue };
        assert!(
            page.contains(&format!("`{value}")),
            "docs/reference/wire.md does not name {value}"
        );
    }
}

#[test]
fn every_make_target_that_a_document_names_exists() {
    let makefile = read("Makefile");
    for path in files_ending(".md") {
        for word in quoted(&read(&path)) {
            if let Some(target) = word.strip_prefix("make ").and_then(|rest| rest.split(' ').next())
            {
                assert!(makefile.contains(&format!("\n{target}:")), "{path} names make {target}");
            }
        }
    }
}

#[test]
fn every_example_configuration_loads() {
    for path in
        files().iter().filter(|path| path.starts_with("examples/") && path.ends_with(".yaml"))
    {
        let loaded = match path.split_once("/tenants/") {
            None => kt_contract::config::load(path, &read(path)),
            Some((folder, _)) => {
                let host = format!("{folder}/policy-config.yaml");
                let host = kt_contract::config::load(&host, &read(&host)).unwrap().config;
                kt_contract::config::load_tenant(path, &read(path), &host)
            }
        };
        if let Err(errors) = loaded {
            panic!("{}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
        }
    }
}

#[test]
fn the_metrics_page_lists_exactly_the_metrics() {
    let registered: String = files()
        .iter()
        .filter(|path| path.starts_with("sidecar-cache/src/metrics") && path.ends_with(".rs"))
        .map(|path| read(path))
        .collect();
    // Counters get their `_total` when they are written out; the page has the names that a scrape shows.
    let sidecar = registered.split("r.register(").skip(1).filter_map(|rest| rest.split('"').nth(1));
    let counted = read("filter/core/src/counter.rs");
    let filter = counted
        .lines()
        .filter_map(|line| line.trim().split_once(" = \"")?.1.split_once('"'))
        .map(|(name, _)| name);
    let known: BTreeSet<&str> = sidecar.chain(filter).collect();
    let page = listed(&read("docs/reference/metrics.md"));
    let bare: BTreeSet<&str> = page
        .iter()
        .map(
            |name| {
                if known.contains(name.as_str()) { name } else { name.trim_end_matches("_total") }
            },
        )
        .collect();
    assert!(known.contains("llm_tokens") && known.contains("kt_filter_l1_filled_total"));
    assert_eq!(bare, known);
}

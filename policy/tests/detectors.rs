//! What the detectors find in labelled texts: ours, those that were held back until the detectors were corrected on them,
//! and those that are held back, by somebody who did not see the detectors. The reference page has the figures, and a
//! test keeps it in step.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests are tests too, and what differs is told"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

use kt_contract::policy::DETECTORS_VERSION;
use kt_policy::{Entity, EntitySet, Finding, Window, injection, scan, toxicity};

const PAGE: &str = "../docs/reference/detectors.md";
/// Parts of the page that are written by tests.
const MEASURED: &str = "measured";
const RECORDED: &str = "recorded";
const REWRITE: &str = "KT_DETECTORS=write cargo test -p kt-policy --test detectors";

/// Whose texts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Set {
    /// Of who wrote the detectors.
    Own,
    /// Held back once.
    Seen,
    /// Held back: told, and nothing is asked of them.
    HeldBack,
}

struct Case {
    text: String,
    find: Vec<(String, String)>,
}

struct Judged {
    text: String,
    is: String,
}

/// Whether a heuristic takes a text for what it looks for.
type IsHinted = fn(&str) -> bool;

/// Findings that are right, that are wrong, and that are missing.
#[derive(Default, Clone, Copy)]
struct Count {
    right: usize,
    wrong: usize,
    missed: usize,
}

impl Count {
    fn precision(self) -> f64 {
        ratio(self.right, self.wrong)
    }

    fn recall(self) -> f64 {
        ratio(self.right, self.missed)
    }

    fn with(self, other: Self) -> Self {
        Self {
            right: self.right + other.right,
            wrong: self.wrong + other.wrong,
            missed: self.missed + other.missed,
        }
    }
}

fn ratio(right: usize, other: usize) -> f64 {
    if right + other == 0 { 1.0 } else { right as f64 / (right + other) as f64 }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/labelled")
}

/// The lines of the files whose names a rule takes.
fn lines(is_taken: impl Fn(&str) -> bool) -> Vec<serde_json::Value> {
    let mut names: Vec<String> = fs::read_dir(folder())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| is_taken(name))
        .collect();
    names.sort();
    let text: String =
        names.iter().map(|name| fs::read_to_string(folder().join(name)).unwrap()).collect();
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}")))
        .collect()
}

fn set_of(name: &str) -> Set {
    match name.split(['_', '.']).next() {
        Some("seen") => Set::Seen,
        Some("held") => Set::HeldBack,
        Some(_) | None => Set::Own,
    }
}

fn cases(set: Set) -> Vec<Case> {
    let is_taken = |name: &str| {
        name.ends_with(".jsonl") && !name.contains("heuristics") && set_of(name) == set
    };
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    lines(is_taken)
        .iter()
        .map(|line| Case {
            text: text(&line["text"]),
            find: line["find"]
                .as_array()
                .unwrap()
                .iter()
                .map(|pair| (text(&pair[0]), text(&pair[1])))
                .collect(),
        })
        .collect()
}

fn judged(set: Set) -> Vec<Judged> {
    let lines = lines(|name| name.ends_with("heuristics.jsonl") && set_of(name) == set);
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    lines.iter().map(|line| Judged { text: text(&line["text"]), is: text(&line["is"]) }).collect()
}

fn found(text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    scan(text, EntitySet::all(), &mut found);
    found
}

/// Counts exact findings per entity, and says what differs.
fn measure(cases: &[Case]) -> (BTreeMap<Entity, Count>, String) {
    let mut counts: BTreeMap<Entity, Count> = BTreeMap::new();
    let mut differences = String::new();
    for case in cases {
        let mut missing: Vec<(Entity, &str)> = case
            .find
            .iter()
            .map(|(name, part)| {
                assert!(case.text.contains(part.as_str()), "{part:?} is not in {:?}", case.text);
                (Entity::parse(name).unwrap_or_else(|| panic!("no entity: {name}")), part.as_str())
            })
            .collect();
        for one in found(&case.text) {
            let part = &case.text[one.start..one.end];
            let count = counts.entry(one.entity).or_default();
            if let Some(at) = missing.iter().position(|other| *other == (one.entity, part)) {
                missing.remove(at);
                count.right += 1;
            } else {
                count.wrong += 1;
                let _ = writeln!(
                    differences,
                    "wrong   {:<13}{part:?} in {:?}",
                    one.entity.as_str(),
                    case.text
                );
            }
        }
        for (entity, part) in missing {
            counts.entry(entity).or_default().missed += 1;
            let _ =
                writeln!(differences, "missed  {:<13}{part:?} in {:?}", entity.as_str(), case.text);
        }
    }
    (counts, differences)
}

/// What a detector has to reach, in precision and in recall.
fn least(entity: Entity) -> f64 {
    match entity {
        Entity::Email | Entity::Phone | Entity::IpAddress => 0.9,
        Entity::CreditCard
        | Entity::Iban
        | Entity::NationalId
        | Entity::ApiKey
        | Entity::AccessToken
        | Entity::PrivateKey
        | Entity::Password => 0.98,
    }
}

fn table(cases: &[Case]) -> String {
    let (counts, _) = measure(cases);
    let mut table = String::from("| entity | labelled | precision | recall |\n|---|---|---|---|\n");
    for entity in Entity::ALL {
        let count = counts.get(&entity).copied().unwrap_or_default();
        let _ = writeln!(
            table,
            "| `{}` | {} | {:.3} | {:.3} |",
            entity.as_str(),
            count.right + count.missed,
            count.precision(),
            count.recall()
        );
    }
    // As they are asked for: more of what a checksum or a form makes certain.
    for (what, is_certain) in [("with a checksum, and secrets", true), ("the others", false)] {
        let of_them = counts.iter().filter(|(entity, _)| (least(**entity) > 0.95) == is_certain);
        let all = of_them.fold(Count::default(), |all, (_, one)| all.with(*one));
        let labelled = all.right + all.missed;
        let (precision, recall) = (all.precision(), all.recall());
        let _ = writeln!(table, "| {what} | {labelled} | {precision:.3} | {recall:.3} |");
    }
    table
}

/// What of a set of which nothing is asked does not reach what is asked of the others.
fn below(cases: &[Case]) -> String {
    let (counts, _) = measure(cases);
    let mut rows = String::new();
    for (entity, count) in counts {
        let least = least(entity);
        for (what, reached) in [("precision", count.precision()), ("recall", count.recall())] {
            if reached < least {
                let _ = write!(rows, "\n- `{}`: {what} {reached:.3}", entity.as_str());
                let (right, missed, wrong) = (count.right, count.missed, count.wrong);
                let _ =
                    write!(rows, ", {right} right, {missed} missed, {wrong} wrong; {least} asked");
            }
        }
    }
    match rows.as_str() {
        "" => "None of it is below what is asked of the other two.\n".to_owned(),
        rows => format!("Below what is asked of the other two:\n{rows}\n"),
    }
}

fn heuristics_table(judged: &[Judged]) -> String {
    let mut table =
        String::from("| heuristic | labelled | precision | recall |\n|---|---|---|---|\n");
    let injection = |text: &str| injection::score(text).points >= injection::THRESHOLD;
    let toxicity = |text: &str| toxicity::score(text).points >= toxicity::THRESHOLD;
    let rows: [(&str, &str, IsHinted); 2] =
        [("injection", "injection", injection), ("toxicity", "toxic", toxicity)];
    for (name, label, is_hinted) in rows {
        let mut count = Count::default();
        for one in judged {
            match (one.is == label, is_hinted(&one.text)) {
                (true, true) => count.right += 1,
                (true, false) => count.missed += 1,
                (false, true) => count.wrong += 1,
                (false, false) => {}
            }
        }
        let _ = writeln!(
            table,
            "| {name} | {} | {:.3} | {:.3} |",
            count.right + count.missed,
            count.precision(),
            count.recall()
        );
    }
    table
}

fn measured() -> String {
    let mut text = String::new();
    let sets = [
        (Set::Own, "Our own set"),
        (
            Set::Seen,
            "Seven sets that were held back before, on which the detectors were corrected since",
        ),
        (Set::HeldBack, "The held-back set"),
    ];
    for (set, whose) in sets {
        let (cases, judged) = (cases(set), judged(set));
        if cases.is_empty() && judged.is_empty() {
            continue;
        }
        let nothing = cases.iter().filter(|case| case.find.is_empty()).count();
        let _ = writeln!(
            text,
            "{whose}: {} texts, in {nothing} of which nothing is to be found, and {} for the heuristics.\n",
            cases.len(),
            judged.len()
        );
        let below = if set == Set::HeldBack { below(&cases) + "\n" } else { String::new() };
        let _ = writeln!(text, "{}\n{below}{}", table(&cases), heuristics_table(&judged));
    }
    text
}

#[test]
fn what_is_to_be_found_is_found_and_little_else() {
    for (set, texts) in [(Set::Own, 2_000), (Set::Seen, 4_900)] {
        let cases = cases(set);
        assert!(cases.len() >= texts, "{}", cases.len());
        let (counts, differences) = measure(&cases);
        println!("{differences}");
        for (entity, count) in counts {
            let least = least(entity);
            let is_enough = count.precision() >= least && count.recall() >= least;
            assert!(
                is_enough,
                "{}: precision {:.3}, recall {:.3}\n{differences}",
                entity.as_str(),
                count.precision(),
                count.recall()
            );
        }
    }
}

/// Whoever looks for leaks in repositories would take a secret of these for one, and a host may refuse the file.
#[test]
fn no_secret_stands_in_a_file_as_it_is() {
    for file in fs::read_dir(folder()).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "jsonl") {
            continue;
        }
        for line in fs::read_to_string(&path).unwrap().lines() {
            // Of the vendors' forms this one looks like most words with a dash behind two letters.
            let is_key = |rest: &str| {
                rest.bytes()
                    .take(16)
                    .filter(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte))
                    .count()
                    == 16
            };
            let is_like_one = line.split("sk-").skip(1).any(is_key);
            assert!(!is_like_one, "{}: write the dash as an escape: {line}", path.display());
            let case: serde_json::Value = serde_json::from_str(line).unwrap();
            for label in case["find"].as_array().into_iter().flatten() {
                let (entity, value) = (label[0].as_str().unwrap(), label[1].as_str().unwrap());
                let is_plain = ["api-key", "access-token", "private-key"].contains(&entity)
                    && line.contains(value);
                assert!(!is_plain, "{}: write a character as an escape: {line}", path.display());
            }
        }
    }
}

#[test]
fn the_page_tells_what_is_measured() {
    step_with_page(MEASURED, &measured());
}

/// A part of the page says this, or is written anew.
fn step_with_page(part: &str, says: &str) {
    // Two tests write to the page.
    static PAGES: Mutex<()> = Mutex::new(());
    let _page = PAGES.lock().unwrap();
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = fs::read_to_string(&path).unwrap();
    let (begin, end) = (format!("<!-- {part}: begin -->\n"), format!("<!-- {part}: end -->\n"));
    let (before, rest) = page.split_once(&begin).unwrap();
    let (told, after) = rest.split_once(&end).unwrap();
    #[expect(clippy::disallowed_methods, reason = "the variable is for whoever rewrites the page")]
    if std::env::var("KT_DETECTORS").is_ok_and(|what| what == "write") {
        fs::write(&path, format!("{before}{begin}{says}{end}{after}")).unwrap();
        return;
    }
    assert!(told == says, "docs/reference/detectors.md is stale: {REWRITE}\n{says}");
}

/// The findings of a text that comes in two pieces, or in pieces of so many characters.
fn in_pieces<'a>(pieces: impl Iterator<Item = &'a str>) -> (String, Vec<Finding>) {
    let mut window = Window::new(EntitySet::all());
    let (mut text, mut findings) = (String::new(), Vec::new());
    let mut take = |settled: kt_policy::Settled| {
        let shown = text.len();
        findings.extend(settled.findings.iter().map(|one| Finding {
            start: one.start + shown,
            end: one.end + shown,
            ..*one
        }));
        text.push_str(&settled.text);
    };
    for piece in pieces {
        take(window.push(piece));
    }
    take(window.end());
    (text, findings)
}

#[test]
fn a_text_in_pieces_has_the_findings_of_the_whole() {
    for case in cases(Set::Own).into_iter().chain(cases(Set::Seen)) {
        let whole = found(&case.text);
        let chars: Vec<usize> = case.text.char_indices().map(|(at, _)| at).collect();
        for at in &chars {
            let (one, other) = case.text.split_at(*at);
            let (text, findings) = in_pieces([one, other].into_iter());
            assert_eq!(text, case.text);
            assert_eq!(findings, whole, "{:?} split at {at}", case.text);
        }
        let singly = case.text.split_inclusive(|_: char| true);
        assert_eq!(in_pieces(singly), (case.text.clone(), whole), "one by one: {:?}", case.text);
    }
}

#[test]
fn what_is_shown_is_a_word_behind_in_prose() {
    let prose = "In 2024 we shipped 1,234 units. Nobody had expected that: the plan said 900, and the rest \
                 followed within a week or so, which surprised even those who knew.";
    let mut window = Window::new(EntitySet::all());
    let longest = prose.split_inclusive(|_: char| true).map(|piece| {
        window.push(piece);
        window.held_bytes()
    });
    assert!(longest.max().unwrap() <= 16);
}

/// What is found in every labelled text, in every set: whatever changes it changes what a policy lets pass.
fn fingerprint() -> String {
    let mut hash: u64 = 0xCBF2_9CE4_8422_2325;
    let mut put = |what: &str| {
        for byte in what.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
    };
    for line in lines(|name| name.ends_with(".jsonl")) {
        let text = line.get("text").and_then(serde_json::Value::as_str).unwrap();
        let mut findings = Vec::new();
        scan(text, EntitySet::all(), &mut findings);
        put(text);
        put(&format!("{findings:?} {:?} {:?}", injection::score(text), toxicity::score(text)));
    }
    format!("{hash:016x}")
}

#[test]
fn what_detectors_find_changes_with_their_version_alone() {
    let found = (DETECTORS_VERSION, fingerprint());
    let known = (6, "52210a8d43beecc3".to_owned());
    assert_eq!(
        found, known,
        "the detectors find something else, or the labelled texts are others: where what they find has changed, raise \
         DETECTORS_VERSION, and write down here what is on the left"
    );
}

/// What people and models say in a file of recorded exchanges: a request among other things, an answer, or a stream.
fn said_in(name: &str, text: &str) -> Vec<String> {
    if name.ends_with(".sse") {
        let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
        return vec![data.flat_map(|data| kt_policy::said(data.trim().as_bytes())).collect()];
    }
    let whole: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let body = whole.get("request").unwrap_or(&whole);
    kt_policy::said(body.to_string().as_bytes())
}

/// Recorded exchanges are not part of the repository: where they are, nothing is found in them, and the page says so.
#[test]
fn nothing_is_found_in_recorded_exchanges_where_they_are() {
    let folder =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/provider-recordings");
    #[expect(clippy::disallowed_methods, reason = "the variable is for whoever has them elsewhere")]
    let folder = std::env::var("KT_RECORDINGS").map_or(folder, PathBuf::from);
    let Ok(files) = fs::read_dir(&folder) else {
        println!("no recorded exchanges: not counted");
        return;
    };
    let (mut bytes, mut count, mut texts) = (0, 0, 0);
    let mut findings = Vec::new();
    for file in files {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        (bytes, count) = (bytes + text.len(), count + 1);
        let entities = found(&text).into_iter();
        findings.extend(entities.map(|one| {
            format!("{name}: {} {:?}", one.entity.as_str(), text.get(one.start..one.end))
        }));
        for said in said_in(&name, &text) {
            texts += 1;
            for (what, points) in [
                ("injection", injection::score(&said).points >= injection::THRESHOLD),
                ("toxicity", toxicity::score(&said).points >= toxicity::THRESHOLD),
            ] {
                findings.extend(points.then(|| format!("{name}: {what} {said:?}")));
            }
        }
    }
    assert!(texts > 0, "nothing is said in {count} files");
    assert!(findings.is_empty(), "{findings:#?}");
    step_with_page(
        RECORDED,
        &format!(
            "{count} files, {bytes} bytes, {texts} texts: no finding of a detector or a heuristic.\n"
        ),
    );
}

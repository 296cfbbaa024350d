//! `kt config history` and `kt config diff`: which configurations there were, and what is different between two.

use std::path::Path;

use kt_contract::wire::admin::PATH_CONFIG;
use kt_contract::wire::admin::versions::{VersionEntry, VersionReply, VersionsReply};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use similar::TextDiff;

use super::{Asking, print_json};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::money::moment;
use crate::report;
use crate::sidecar::Admin;
use crate::table;

/// How many lines that are equal stand around those that are not.
const CONTEXT_LINES: usize = 3;
/// The version that is in force.
const LIVE: &str = "live";
/// What the sidecar's file says, in force or not.
const FILE: &str = "file";

/// Lists the versions.
#[derive(Debug, clap::Args)]
pub(crate) struct History {
    #[command(flatten)]
    asking: Asking,
}

/// Compares two versions.
#[derive(Debug, clap::Args)]
pub(crate) struct Diff {
    /// From: a number or digest of `kt config history`, `live`, `file` for what the sidecar's file says, or the path of
    /// a file, which has a `/` or a `.` in it. A file that stands alone is what is compared with `live`.
    #[arg(default_value = "live")]
    from: String,
    /// To [default: `file`; behind a FROM that is a version, `live`]
    to: Option<String>,
    #[command(flatten)]
    asking: Asking,
}

// === impl History ===

impl History {
    pub(crate) async fn run(self, environment: &Environment) -> Result<(), Failure> {
        let told: VersionsReply = self.asking.admin(environment).get(PATH_CONFIG).await?;
        if self.asking.json {
            return print_json(&told);
        }
        let rows: Vec<_> = told.versions.iter().map(row).collect();
        let head = ["number", "version", "time", "from", "by", "state"];
        report::say(table::layout(head, &rows));
        Ok(())
    }
}

fn row(entry: &VersionEntry) -> [String; 6] {
    let VersionEntry { number, version, snapshot: _, at, source, by, errors, is_live } = entry;
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let state = match (errors.as_slice(), is_live) {
        ([], true) => "live".to_owned(),
        ([], false) => "was live".to_owned(),
        ([only], _) => format!("refused: {only}"),
        ([first, rest @ ..], _) => format!("refused: {first} (and {} more)", rest.len()),
    };
    [
        number.to_string(),
        or_dash(version),
        moment(*at),
        source.as_str().to_owned(),
        or_dash(by),
        state,
    ]
}

// === impl Diff ===

impl Diff {
    pub(crate) async fn run(self, environment: &Environment) -> Result<(), Failure> {
        let Self { from, to, asking } = self;
        let (from, to) = direction(from, to);
        let admin = asking.admin(environment);
        let (old, new) = (text_of(&from, &admin).await?, text_of(&to, &admin).await?);
        if asking.json {
            return print_json(&[old, new]);
        }
        let title = |name: &str, version: &str| match version {
            "" => name.to_owned(),
            version if version == name => name.to_owned(),
            version => format!("{name} ({version})"),
        };
        let titles = (title(&from, &old.version), title(&to, &new.version));
        match unified((&titles.0, &old.text), (&titles.1, &new.text)) {
            Some(diff) => report::say(diff.trim_end()),
            None => report::note(format_args!("{} and {} are the same", titles.0, titles.1)),
        }
        Ok(())
    }
}

/// From what to what. A file is what may come, so what it adds is an addition; a version was there before.
fn direction(from: String, to: Option<String>) -> (String, String) {
    let live = || LIVE.to_owned();
    match to {
        Some(to) => (from, to),
        None if from == LIVE => (from, FILE.to_owned()),
        None if from == FILE || is_path(&from) => (live(), from),
        None => (from, live()),
    }
}

fn is_path(name: &str) -> bool {
    name.contains(['/', '.'])
}

/// What a name stands for: a file here, or a version that the sidecar has.
async fn text_of(name: &str, admin: &Admin) -> Result<VersionReply, Failure> {
    if is_path(name) {
        let path = Path::new(name);
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::io("read the configuration", path, &error))?;
        return Ok(VersionReply { version: String::new(), text });
    }
    let name = utf8_percent_encode(name, NON_ALPHANUMERIC);
    admin.get(&format!("{PATH_CONFIG}/{name}")).await
}

/// The difference of two texts, in the usual form; `None` where there is none.
fn unified(old: (&str, &str), new: (&str, &str)) -> Option<String> {
    if old.1 == new.1 {
        return None;
    }
    let diff = TextDiff::from_lines(old.1, new.1);
    Some(diff.unified_diff().context_radius(CONTEXT_LINES).header(old.0, new.0).to_string())
}

#[cfg(test)]
mod tests {
    use kt_contract::time::UnixMillis;
    use kt_contract::wire::admin::versions::Source;

    use super::*;

    #[test]
    fn a_difference_is_told_with_its_names_and_none_is_none() {
        let told = unified(("live", "a: 1\nb: 2\n"), ("file", "a: 1\nb: 3\n")).unwrap();
        assert_eq!(told, "--- live\n+++ file\n@@ -1,2 +1,2 @@\n a: 1\n-b: 2\n+b: 3\n");
        assert_eq!(unified(("live", "a\n"), ("file", "a\n")), None);
    }

    #[test]
    fn what_a_file_adds_is_an_addition_and_what_an_old_version_lacks_too() {
        for (arguments, compared) in [
            (("live", None), ("live", "file")),
            (("file", None), ("live", "file")),
            (("./new.yaml", None), ("live", "./new.yaml")),
            (("3", None), ("3", "live")),
            (("./new.yaml", Some("3")), ("./new.yaml", "3")),
            (("live", Some("./new.yaml")), ("live", "./new.yaml")),
        ] {
            let (from, to) = direction(arguments.0.to_owned(), arguments.1.map(str::to_owned));
            assert_eq!((from.as_str(), to.as_str()), compared, "{arguments:?}");
        }
    }

    #[test]
    fn a_version_that_was_refused_says_why() {
        let entry = |errors: &[&str], is_live| VersionEntry {
            number: 7,
            version: Some("0011223344556677".to_owned()),
            snapshot: None,
            at: UnixMillis(0),
            source: Source::File,
            by: None,
            errors: errors.iter().map(|error| (*error).to_owned()).collect(),
            is_live,
        };
        let state = |errors: &[&str], is_live| row(&entry(errors, is_live))[5].clone();
        assert_eq!(state(&[], true), "live");
        assert_eq!(state(&[], false), "was live");
        assert_eq!(state(&["a.yaml:3: x"], false), "refused: a.yaml:3: x");
        assert_eq!(state(&["a", "b", "c"], false), "refused: a (and 2 more)");
    }
}

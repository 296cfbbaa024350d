//! Lines for the person or the script that started `kt`: results on standard output, the rest beside it.

use std::fmt::Display;
use std::io::Write;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use crate::failure::Failure;
use crate::key_name::without_keys;

/// Makes standard output append. Envoy opens it once more by its name, and where it is a file the two would
/// write over each other's lines.
pub(crate) fn append() {
    let out = std::io::stdout();
    // What is neither file nor pipe has no place to write over.
    let _as_it_is = fcntl_getfl(&out).and_then(|flags| fcntl_setfl(&out, flags | OFlags::APPEND));
}

/// A result. Nobody may be reading any more, which is their choice.
pub(crate) fn say(line: impl Display) {
    let mut out = std::io::stdout().lock();
    let _nobody_reads = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// A remark. Whatever it is about, it holds no gateway key.
pub(crate) fn note(remark: impl Display) {
    line(format_args!("kt: {remark}"));
}

/// A remark in somebody else's form, such as `file:line: field: problem`.
pub(crate) fn line(text: impl Display) {
    let text = text.to_string();
    let _nobody_reads = writeln!(std::io::stderr().lock(), "{}", without_keys(&text));
}

/// An end that is not success: what was found, one line each, then what it means.
pub(crate) fn failure(failure: &Failure) {
    for finding in failure.findings() {
        line(finding);
    }
    note(failure);
}

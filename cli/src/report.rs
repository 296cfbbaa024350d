//! Lines for the person or the script that started `kt`: results on standard output, the rest beside it.

use std::fmt::Display;
use std::io::Write;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

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

/// A remark.
pub(crate) fn note(line: impl Display) {
    let _nobody_reads = writeln!(std::io::stderr().lock(), "kt: {line}");
}

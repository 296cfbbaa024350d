//! Lines for the person or the script that started `kt`: results on standard output, the rest beside it.

use std::fmt::Display;
use std::io::Write;

/// A result. Nobody may be reading any more, which is their choice.
pub(crate) fn say(line: impl Display) {
    let mut out = std::io::stdout().lock();
    let _nobody_reads = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// A remark.
pub(crate) fn note(line: impl Display) {
    let _nobody_reads = writeln!(std::io::stderr().lock(), "kt: {line}");
}

//! Secrets in columns whose head says so: of Markdown, of files with commas, semicolons or tabs, of a console.

use super::named::{BEFORE_BYTES, named};
use super::{Given, Named, Sure, value};
use crate::entity::Entity;
use crate::scan::{CONTEXT_BYTES, Match};
use crate::text::{ALNUM, DASHES, Text, is};

/// How far above a cell its head may stand, before which what a name is of is read. Decisions look back no further than
/// [`CONTEXT_BYTES`].
const ABOVE_BYTES_MAX: usize = 480;
const _: () = assert!(ABOVE_BYTES_MAX + BEFORE_BYTES <= CONTEXT_BYTES);
/// How many lines above: each is read again for every cell of those below it.
const LINES_MAX: usize = 5;
/// More columns are not counted.
const COLUMNS_MAX: usize = 16;

/// The secret of the cell that begins here.
pub(in super::super) fn find(text: &Text<'_>, at: usize) -> Option<Match> {
    let mark = separator_before(text, at)?;
    let end = text.span(at, ALNUM | DASHES, 64);
    // Of nearly all cells, and at no cost: what is a word or a short number is no secret.
    let may_be_secret =
        text.slice(at, end).iter().any(u8::is_ascii_digit) || !is_end_of_cell(text, end);
    if !may_be_secret {
        return None;
    }
    let from = at.saturating_sub(ABOVE_BYTES_MAX);
    let above = text.slice(from, at);
    let line = above.iter().rposition(|byte| *byte == b'\n')?;
    let (lines, cells) = (above.get(..line)?, above.get(line + 1..)?);
    let column = cells.iter().filter(|byte| **byte == mark).count();
    if column > COLUMNS_MAX {
        return None;
    }
    let mut stop = line;
    for one in lines.rsplit(|byte| *byte == b'\n').take(LINES_MAX) {
        let start = stop - one.len();
        let is_whole = start > 0 || from == 0;
        if !one.contains(&mark) && !one.contains(&b'+') {
            return None;
        }
        if let Some(head) =
            is_whole.then(|| head_of(text, from + start, one, mark, column)).flatten()
        {
            let given = if mark == b'|' { Given::Cell } else { Given::Field };
            return value::find(text, at, given, head);
        }
        stop = start.saturating_sub(1);
    }
    None
}

/// What a column is given whose head this line has.
fn head_of(text: &Text<'_>, line_at: usize, line: &[u8], mark: u8, column: usize) -> Option<Named> {
    if mark != b'|' && !is_head(line, mark) {
        return None;
    }
    let cell = line.split(|byte| *byte == mark).nth(column)?;
    let is_of_name = |byte: &u8| is(*byte, ALNUM);
    let first = cell.iter().position(is_of_name)?;
    let last = cell.iter().rposition(is_of_name)?;
    let before: usize =
        line.split(|byte| *byte == mark).take(column).map(|cell| cell.len() + 1).sum();
    let (start, end) = (line_at + before + first, line_at + before + last + 1);
    // The name is the last word of it.
    let word = text.slice(start, end).iter().rposition(|byte| !is(*byte, ALNUM | DASHES));
    let named = named(text, word.map_or(start, |at| start + at + 1), end)?;
    (named.sure != Sure::Word || named.entity == Entity::Password).then_some(named)
}

/// Whether a line is of names, and parts them without spaces.
fn is_head(line: &[u8], mark: u8) -> bool {
    let is_of_names = |byte: &u8| {
        *byte == mark || is(*byte, ALNUM | DASHES) || matches!(byte, b' ' | b'"' | b'\r')
    };
    let is_apart = |pair: &[u8]| matches!(pair, [one, b' '] if *one == mark);
    line.iter().all(is_of_names) && !line.windows(2).any(is_apart)
}

/// What parts this cell from the one before it.
fn separator_before(text: &Text<'_>, at: usize) -> Option<u8> {
    let mut from = at;
    while from + 3 > at && matches!(text.before(from), Some(b' ' | b'`' | b'"' | b'\'')) {
        from -= 1;
    }
    text.before(from).filter(|byte| matches!(byte, b'|' | b',' | b';' | b'\t'))
}

fn is_end_of_cell(text: &Text<'_>, at: usize) -> bool {
    matches!(text.get(at), None | Some(b' ' | b',' | b';' | b'\t' | b'|' | b'\n' | b'.'))
}

//! A number as it is written: groups of digits with single separators between them. Cards, identity numbers,
//! addresses and telephones are all read from it.

use crate::text::{ALNUM, ALPHA, DIGIT, LOCAL, Text};

/// More digits are no number that anybody looks for.
pub(super) const DIGITS_MAX: usize = 20;
const GROUPS_MAX: usize = 20;
const CARD_DIGITS_MIN: usize = 13;
/// No number has more groups, but one whose digits all stand alone.
const LONG_GROUPS_MAX: usize = 8;
/// The longest mark of emphasis.
const EMPHASIS_BYTES_MAX: usize = 2;

/// What stands between two groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Separator {
    Nothing,
    Space,
    Dash,
    Dot,
    Slash,
    /// The end of a line, which a mail or a terminal may have broken there.
    Line,
    /// A bracket, alone or with a space or dash.
    Bracket,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    pub(super) start: usize,
    pub(super) end: usize,
    /// How many digits are before it.
    pub(super) digits_before: usize,
    pub(super) separator_before: Separator,
}

/// Groups of digits.
pub(super) struct Number {
    /// Where it begins, with its `+` or bracket.
    pub(super) start: usize,
    pub(super) has_plus: bool,
    pub(super) opens_bracket: bool,
    digits: [u8; DIGITS_MAX],
    groups: [Group; GROUPS_MAX],
    group_count: usize,
    /// Whether there were more digits than are kept.
    pub(super) is_longer: bool,
}

/// The first groups of a number, up to one behind which it may end.
pub(super) struct Prefix<'a> {
    pub(super) digits: &'a [u8],
    pub(super) groups: &'a [Group],
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Whether the digits belong to something larger: a hash, a UUID, a path, a version.
pub(super) fn is_inside_of_more(text: &Text<'_>, at: usize) -> bool {
    match text.before(at) {
        Some(b'_') => {
            let marks = if text.before(at - 1) == Some(b'_') { at - 2 } else { at - 1 };
            text.is_before(marks, LOCAL)
        }
        // Digits one by one are read from the first of them, not from each again.
        Some(b' ' | b'-' | b'.' | b'/' | b'(' | b')')
            if is_single(text, at) && at >= 2 && is_single(text, at - 2) =>
        {
            true
        }
        Some(b'-' | b'.' | b'/') => {
            text.is_before(at - 1, ALNUM) || text.before(at - 1) == Some(b'_')
        }
        Some(_) | None => false,
    }
}

/// Whether a digit stands here that has no other beside it.
fn is_single(text: &Text<'_>, at: usize) -> bool {
    text.is(at, DIGIT) && !text.is(at + 1, DIGIT) && !text.is_before(at, DIGIT)
}

// === impl Number ===

impl Number {
    /// Reads the number that begins with a digit, a plus sign or a bracket. Values, not characters, are kept.
    pub(super) fn read(text: &Text<'_>, at: usize) -> Option<Self> {
        Self::read_lines(text, at, 1)
    }

    /// Reads on where the line ends behind the number, once; nothing if it does not go on on the next line.
    pub(super) fn read_over_line(&self, text: &Text<'_>) -> Option<Self> {
        let last = self.groups.get(..self.group_count)?.last()?;
        line_break_at(text, last.end)?;
        if self.is_longer { None } else { Self::read_lines(text, self.start, 2) }
    }

    fn read_lines(text: &Text<'_>, at: usize, lines_max: usize) -> Option<Self> {
        let mut lines = 1;
        let mut number = Self {
            start: at,
            has_plus: false,
            opens_bracket: false,
            digits: [0; DIGITS_MAX],
            groups: [Group {
                start: at,
                end: at,
                digits_before: 0,
                separator_before: Separator::Nothing,
            }; GROUPS_MAX],
            group_count: 0,
            is_longer: false,
        };
        let mut from = at;
        while let Some(byte @ (b'+' | b'(')) = text.get(from) {
            number.has_plus |= byte == b'+';
            number.opens_bracket |= byte == b'(';
            from += 1;
            if from > at + 2 {
                return None;
            }
        }
        let mut separator = Separator::Nothing;
        let mut count = 0;
        loop {
            let end = text.span(from, DIGIT, DIGITS_MAX + 1 - count.min(DIGITS_MAX));
            let is_single = count == number.group_count && end == from + 1;
            let groups_max = if is_single { GROUPS_MAX } else { LONG_GROUPS_MAX };
            let group = number.groups.get_mut(number.group_count);
            let Some(group) = group.filter(|_| number.group_count < groups_max) else {
                number.is_longer = true;
                break;
            };
            if count + end - from > DIGITS_MAX {
                number.is_longer = true;
                break;
            }
            *group = Group { start: from, end, digits_before: count, separator_before: separator };
            let values = text.slice(from, end).iter().map(|byte| byte - b'0');
            for (slot, value) in number.digits.iter_mut().skip(count).zip(values) {
                *slot = value;
            }
            count += end - from;
            number.group_count += 1;
            let next = separator_at(text, end).or_else(|| {
                lines += 1;
                (lines <= lines_max).then(|| line_break_at(text, end)).flatten()
            });
            let Some((next, found)) = next else { break };
            (from, separator) = (next, found);
        }
        (number.group_count > 0).then_some(number)
    }

    /// How many digits it has.
    pub(super) fn digit_count(&self) -> usize {
        let last = self.groups.get(..self.group_count).and_then(<[Group]>::last);
        last.map_or(0, |last| last.digits_before + last.end - last.start)
    }

    /// The digits as they are written, up to the first place that is neither digit nor separator; and where.
    pub(super) fn first_group(&self) -> Option<Group> {
        self.groups.first().copied()
    }

    /// Its digits.
    pub(super) fn digits(&self) -> &[u8] {
        self.digits.get(..self.digit_count()).unwrap_or_default()
    }

    /// Where it ends.
    pub(super) fn end(&self) -> Option<usize> {
        Some(self.groups.get(..self.group_count)?.last()?.end)
    }

    /// The number that it is, if it has so many digits.
    pub(super) fn prefix_value(&self, count: usize) -> Option<u64> {
        let digits = self.digits.get(..count).filter(|_| count == self.digit_count())?;
        Some(digits.iter().fold(0, |value, digit| value * 10 + u64::from(*digit)))
    }

    /// Whether its groups have these lengths.
    pub(super) fn is_whole(&self, lengths: &[usize]) -> bool {
        let groups = self.groups.get(..self.group_count).unwrap_or_default();
        groups.iter().map(|group| group.end - group.start).eq(lengths.iter().copied())
    }

    /// Every choice of first groups behind which the number may end, the longest first.
    pub(super) fn prefixes<'a>(&'a self, text: &'a Text<'_>) -> impl Iterator<Item = Prefix<'a>> {
        (1..=self.group_count).rev().filter_map(|count| self.prefix(text, count))
    }

    /// Four groups behind which a port or the length of a network's prefix stands: `10.0.0.1:80`, `10.0.0.0/8`.
    pub(super) fn up_to_port(&self, text: &Text<'_>) -> Option<Prefix<'_>> {
        let groups = self.groups.get(..4)?;
        let last = groups.last()?;
        let has_port = match self.groups.get(4) {
            Some(next) if self.group_count > 4 => {
                matches!(next.separator_before, Separator::Slash | Separator::Space)
            }
            Some(_) | None => {
                self.group_count == 4
                    && (matches!(text.get(last.end), Some(b':' | b','))
                        || (text.has(last.end, b'-') && !text.is(last.end + 1, ALPHA)))
            }
        };
        let digits = self.digits.get(..last.digits_before + last.end - last.start)?;
        has_port.then_some(Prefix { digits, groups, start: self.start, end: last.end })
    }

    fn prefix(&self, text: &Text<'_>, count: usize) -> Option<Prefix<'_>> {
        let groups = self.groups.get(..count)?;
        let last = groups.last()?;
        let may_end = match self.groups.get(count) {
            Some(next) if count < self.group_count => {
                // Behind a card the year until which it is good.
                let is_card = next.separator_before == Separator::Slash && next.digits_before > 12;
                // What begins with a bracket may be said of it: `(24/7)`.
                let is_aside = next.separator_before == Separator::Bracket
                    && (text.has(last.end, b'(') || text.has_all(last.end, b" ("));
                is_aside
                    || ((next.separator_before == Separator::Space || is_card)
                        && groups
                            .iter()
                            .skip(1)
                            .all(|group| group.separator_before != Separator::Dot))
            }
            Some(_) | None => {
                !(self.is_longer && separator_at(text, last.end).is_some())
                    && ends_at(text, last.end, last.end - last.start)
            }
        };
        let digits = self.digits.get(..last.digits_before + last.end - last.start)?;
        may_end.then_some(Prefix { digits, groups, start: self.start, end: last.end })
    }
}

/// Whether a number may end here: neither a letter nor what would make it a part of something follows.
fn ends_at(text: &Text<'_>, at: usize, group: usize) -> bool {
    match text.get(at) {
        None => true,
        Some(b'_') => {
            let behind = if text.has(at + 1, b'_') { at + 2 } else { at + 1 };
            !text.is(behind, ALNUM) && !matches!(text.get(behind), Some(b'_' | b'.' | b'-'))
        }
        Some(b'@' | b'%') => false,
        // What is as long as a card is whole, whatever is listed behind it.
        Some(b':' | b'/') if group >= CARD_DIGITS_MIN => true,
        Some(b'-' | b':') => !text.is(at + 1, ALNUM),
        // Thousands are grouped by three: behind more digits a comma parts the items of a list.
        Some(b',') => group > 3 || !text.is(at + 1, DIGIT),
        Some(b'.' | b'/') => !text.is(at + 1, DIGIT),
        Some(byte) => !crate::text::is(byte, ALNUM) || text.is_seam(at),
    }
}

/// The end of a line at the end of a group, if the next line begins with a digit, and where.
fn line_break_at(text: &Text<'_>, at: usize) -> Option<(usize, Separator)> {
    let mut from = if matches!(text.get(at), Some(b' ' | b'-')) { at + 1 } else { at };
    if text.has(from, b'\r') {
        from += 1;
    }
    if !text.has(from, b'\n') {
        return None;
    }
    from += 1;
    while from < at + 6 && text.has(from, b' ') {
        from += 1;
    }
    text.is(from, DIGIT).then_some((from, Separator::Line))
}

/// The separator at the end of a group, and where the next group begins.
fn separator_at(text: &Text<'_>, at: usize) -> Option<(usize, Separator)> {
    plain_separator_at(text, at).or_else(|| emphasized_separator_at(text, at))
}

/// A space, dash or point with marks of emphasis beside it, where a group of the number is bold: `552-**08**-4141`.
fn emphasized_separator_at(text: &Text<'_>, at: usize) -> Option<(usize, Separator)> {
    let behind_marks = |from: usize| {
        let is_mark = |nth: &usize| matches!(text.get(from + nth), Some(b'*' | b'_'));
        from + (0..EMPHASIS_BYTES_MAX).take_while(is_mark).count()
    };
    let sign = behind_marks(at);
    let separator = match text.get(sign)? {
        b' ' => Separator::Space,
        b'-' => Separator::Dash,
        b'.' => Separator::Dot,
        _ => return None,
    };
    let next = behind_marks(sign + 1);
    (next > at + 1 && text.is(next, DIGIT)).then_some((next, separator))
}

fn plain_separator_at(text: &Text<'_>, at: usize) -> Option<(usize, Separator)> {
    let (first, second) = (text.get(at)?, text.get(at + 1)?);
    let separator = match first {
        b' ' => Separator::Space,
        b'-' => Separator::Dash,
        b'.' => Separator::Dot,
        b'/' => Separator::Slash,
        b')' | b'(' => Separator::Bracket,
        _ => return None,
    };
    if crate::text::is(second, DIGIT) {
        return Some((at + 1, separator));
    }
    let third = text.get(at + 2)?;
    match (first, second, third) {
        (b')', b' ' | b'-', b'0'..=b'9') | (b' ' | b'-', b'(', b'0'..=b'9') => {
            Some((at + 2, Separator::Bracket))
        }
        (b' ', b' ', b'0'..=b'9') => Some((at + 2, Separator::Space)),
        (b' ', b'-' | b'/', b' ') if text.is(at + 3, DIGIT) => {
            Some((at + 3, if second == b'-' { Separator::Dash } else { Separator::Slash }))
        }
        _ => None,
    }
}

// === impl Prefix ===

impl Prefix<'_> {
    /// The separator between all groups, if it is the same. `Nothing` for a single group.
    pub(super) fn separator(&self) -> Option<Separator> {
        let mut separators = self.groups.iter().skip(1).map(|group| group.separator_before);
        let first = separators.next().unwrap_or(Separator::Nothing);
        separators.all(|separator| separator == first).then_some(first)
    }

    /// Whether the groups have these lengths.
    pub(super) fn is_grouped(&self, lengths: &[usize]) -> bool {
        self.groups.len() == lengths.len()
            && self
                .groups
                .iter()
                .zip(lengths)
                .all(|(group, length)| group.end - group.start == *length)
    }

    /// Whether all digits stand alone.
    pub(super) fn is_singles(&self) -> bool {
        self.groups.len() == self.digits.len()
    }

    /// How long the nth group is; 0 if there is none.
    pub(super) fn length(&self, nth: usize) -> usize {
        self.groups.get(nth).map_or(0, |group| group.end - group.start)
    }

    /// A part of the digits as a number.
    pub(super) fn value(&self, from: usize, until: usize) -> u64 {
        let digits = self.digits.get(from..until).unwrap_or_default();
        digits.iter().fold(0, |value, digit| value * 10 + u64::from(*digit))
    }
}

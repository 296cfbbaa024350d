//! The way back from a text that was made of another one, where most of it stayed: some places at which the two stand
//! side by side. What is between two of them is made again whenever somebody asks, so that the way back takes a fraction
//! of the text, whatever was made of it.

use std::ops::Range;

/// How much of the text as given there is between two marks, about; where nothing but text that stayed follows, more.
const SPACING_BYTES: usize = 64;

/// Marks, in order. None, where everything stayed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks(Vec<Mark>);

/// A place at which the two texts stand side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    made: usize,
    given: usize,
    /// How much stays from there on, before something else is made.
    stays: usize,
}

/// Something that was made of something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Made {
    /// Its bytes in the text as given.
    pub(crate) given: Range<usize>,
    /// How long it is.
    pub(crate) bytes: usize,
}

/// A stretch of the text that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// Where it begins.
    pub(crate) made: usize,
    /// Where that was in the text as given.
    pub(crate) given: usize,
    /// The length of what it was made of as a whole; 0 for text that stayed.
    pub(crate) made_of: usize,
}

// === impl Marks ===

impl Marks {
    /// Whether everything stayed.
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// From these two places on, so many bytes stay.
    pub(crate) fn note(&mut self, made: usize, given: usize, stays: usize) {
        let is_far = |last: &Mark| given - last.given - last.stays >= SPACING_BYTES;
        if stays >= SPACING_BYTES || self.0.last().is_none_or(is_far) {
            self.0.push(Mark { made, given, stays });
        }
    }

    /// The stretch that a byte is of. `next` tells what was made of the text as given from a place on.
    pub(crate) fn stretch(
        &self,
        at: usize,
        mut next: impl FnMut(usize) -> Option<Made>,
    ) -> Option<Stretch> {
        let after = self.0.partition_point(|mark| mark.made <= at);
        let Mark { mut made, mut given, stays } = *self.0.get(after.checked_sub(1)?)?;
        let mut until = Some(stays);
        loop {
            let is_here = until.is_none_or(|stays| at < made + stays);
            if is_here {
                return Some(Stretch { made, given, made_of: 0 });
            }
            let stays = until.unwrap_or_default();
            (made, given) = (made + stays, given + stays);
            match next(given) {
                None => until = None,
                Some(Made { given: of, bytes }) if of.start == given => {
                    if at < made + bytes {
                        return Some(Stretch { made, given, made_of: of.len() });
                    }
                    (made, given) = (made + bytes, of.end);
                    until = Some(0);
                }
                Some(Made { given: of, bytes: _ }) => until = Some(of.start - given),
            }
        }
    }
}

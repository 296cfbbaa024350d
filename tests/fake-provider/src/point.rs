//! A point of an answer, as directives name it: `head`, `start`, `event:3`, `bytes:100`, `40%`. Pure parsing.

use crate::directive::BadDirective;

/// A point of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// Before the head.
    Head,
    /// Behind the head, before the first byte of the body.
    Start,
    /// Behind so many events of a stream; in a JSON body, its middle.
    Event(usize),
    /// Behind so many bytes of the body.
    Bytes(usize),
    /// Behind so many hundredths of the body.
    Percent(usize),
    /// Behind each event of a stream but the last.
    Each,
}

const MIDDLE: Point = Point::Percent(50);

// === impl Point ===

impl Point {
    /// Reads a point; nothing is the head.
    ///
    /// # Errors
    /// Where it is none.
    pub(crate) fn read(text: &str) -> Result<Self, BadDirective> {
        let bad = || BadDirective(format!("'{text}' is no point; README.md lists them"));
        let number = |digits: &str| digits.parse().map_err(|_| bad());
        match text {
            "" | "head" | "headers" => Ok(Self::Head),
            "start" => Ok(Self::Start),
            "body" => Ok(MIDDLE),
            "each" => Ok(Self::Each),
            _ => match (text.strip_prefix("event:"), text.strip_prefix("bytes:")) {
                (Some(digits), _) => number(digits).map(Self::Event),
                (None, Some(digits)) => number(digits).map(Self::Bytes),
                (None, None) => percent(text).map(Self::Percent),
            },
        }
    }
}

/// Reads `40%`.
///
/// # Errors
/// Where it is anything else, or more than the whole.
pub(crate) fn percent(text: &str) -> Result<usize, BadDirective> {
    text.strip_suffix('%')
        .and_then(|digits| digits.parse().ok())
        .filter(|part| *part <= 100)
        .ok_or_else(|| BadDirective(format!("'{text}' is no part of a body, such as 40%")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_point_has_its_name() {
        for (text, point) in [
            ("", Point::Head),
            ("headers", Point::Head),
            ("start", Point::Start),
            ("body", Point::Percent(50)),
            ("event:3", Point::Event(3)),
            ("bytes:100", Point::Bytes(100)),
            ("95%", Point::Percent(95)),
            ("each", Point::Each),
        ] {
            assert_eq!(Point::read(text), Ok(point), "{text}");
        }
    }

    #[test]
    fn what_is_no_point_is_an_error() {
        for text in ["middle", "event:", "event:x", "bytes:-1", "101%", "%", "5"] {
            assert!(Point::read(text).is_err(), "{text}");
        }
    }
}

//! What a proxy is to do, as a line of text: for tests that are not written in Rust.

use std::time::Duration;

use crate::{Door, Fault, Faults, Loss};

impl Faults {
    /// Reads a line such as `door=reset`, `requests=drop answers=delay:500`, or nothing for no fault at all. A time is
    /// in milliseconds; `requests` and `answers` take `drop`, `delay:MS`, `drip:MS`, `reset-after:BYTES`,
    /// `close-after:BYTES`, `reset-every:COUNT` and `lossy:COUNT:MS:BYTES`, which is every so-manyth packet lost, sent
    /// again after so long, and so many bytes in a second.
    ///
    /// # Errors
    /// The word that is not understood.
    pub fn parse(line: &str) -> Result<Self, String> {
        let mut faults = Self::default();
        for word in line.split_whitespace() {
            match word.split_once('=') {
                Some(("door", "reset")) => faults.door = Door::Reset,
                Some(("requests", fault)) => faults.requests = read(fault).ok_or(word)?,
                Some(("answers", fault)) => faults.answers = read(fault).ok_or(word)?,
                _ => return Err(word.to_owned()),
            }
        }
        Ok(faults)
    }
}

fn read(word: &str) -> Option<Fault> {
    let (name, number) = match word.split_once(':') {
        Some(("lossy", numbers)) => return read_loss(numbers).map(Fault::Lossy),
        Some((name, number)) => (name, number.parse().ok()?),
        None => return (word == "drop").then_some(Fault::Drop),
    };
    match name {
        "delay" => Some(Fault::Delay(Duration::from_millis(number))),
        "drip" => Some(Fault::Drip(Duration::from_millis(number))),
        "reset-after" => Some(Fault::ResetAfter(number)),
        "close-after" => Some(Fault::CloseAfter(number)),
        "reset-every" if number > 0 => Some(Fault::ResetEvery(number)),
        _ => None,
    }
}

fn read_loss(numbers: &str) -> Option<Loss> {
    let numbers: Result<Vec<u64>, _> = numbers.split(':').map(str::parse).collect();
    match numbers.ok()?[..] {
        [every, again_after_ms, bytes_per_second] if every > 0 && bytes_per_second > 0 => {
            let again_after = Duration::from_millis(again_after_ms);
            Some(Loss { every, again_after, bytes_per_second })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_is_done_in_each_direction() {
        assert_eq!(Faults::parse(""), Ok(Faults::default()));
        assert_eq!(Faults::parse("requests=drop answers=drop"), Ok(Faults::blackhole()));
        let late = Fault::Delay(Duration::from_millis(500));
        assert_eq!(Faults::parse("answers=delay:500"), Ok(Faults::of_answers(late)));
        assert_eq!(
            Faults::parse("answers=reset-every:3"),
            Ok(Faults::of_answers(Fault::ResetEvery(3)))
        );
        assert_eq!(
            Faults::parse("requests=close-after:9"),
            Ok(Faults::of_requests(Fault::CloseAfter(9)))
        );
        let (every, again_after) = (10, Duration::from_millis(200));
        let loss = Loss { every, again_after, bytes_per_second: 125_000 };
        assert_eq!(
            Faults::parse("requests=lossy:10:200:125000"),
            Ok(Faults::of_requests(Fault::Lossy(loss)))
        );
        assert_eq!(Faults::parse("door=reset").map(|faults| faults.door), Ok(Door::Reset));
    }

    #[test]
    fn a_word_that_is_none_is_told_and_nothing_is_done() {
        for word in [
            "door=open",
            "answers=late",
            "answers=delay",
            "answers=delay:soon",
            "answers=reset-every:0",
            "answers=lossy:0:200:125000",
            "answers=lossy:10:200",
            "drop",
        ] {
            assert_eq!(Faults::parse(&format!("requests=drop {word}")), Err(word.to_owned()));
        }
    }
}

//! What gives way when the logs of all flights together keep more than they may: memory is bounded, and nobody is
//! refused for it. Pure: facts in, a decision out.

use kt_contract::time::Millis;

/// How long everybody may read on after the end, whatever is kept: who reads at all has most of it by then.
pub const GRACE: Millis = Millis(2_000);

/// What all logs keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// The bytes that they keep.
    pub kept: u64,
    /// `max_flight_bytes`.
    pub kept_max: u64,
    /// How long the log has lingered that ended first, of those that are still read.
    pub lingered: Option<Millis>,
}

/// The decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Relief {
    /// There is room.
    None,
    /// The readers of the log that has lingered longest are sent away; then it is looked again.
    SendAway,
    /// What grows is not kept whole: it is not stored, and its provider waits for its readers.
    Stream,
}

/// Decides. Who reads slowly has had its time, and what it has not read is mostly stored by then; a call under
/// way is somebody's answer.
pub fn relief(load: Load) -> Relief {
    let Load { kept, kept_max, lingered } = load;
    if kept <= kept_max {
        Relief::None
    } else if lingered.is_some_and(|lingered| lingered >= GRACE) {
        Relief::SendAway
    } else {
        Relief::Stream
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reads_slowly_after_the_end_gives_way_first_and_a_call_under_way_goes_on() {
        for (what, kept, lingered, expected) in [
            ("nothing is kept", 0, None, Relief::None),
            ("as much as may be", 10, Some(60_000), Relief::None),
            ("more, and somebody has had its time", 11, Some(2_000), Relief::SendAway),
            ("more, and somebody may read on a little", 11, Some(1_999), Relief::Stream),
            ("more, and nobody lingers", 11, None, Relief::Stream),
        ] {
            let load = Load { kept, kept_max: 10, lingered: lingered.map(Millis) };
            assert_eq!(relief(load), expected, "{what}");
        }
    }
}

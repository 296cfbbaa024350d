//! How long answers are of late, by model and agent: what to reserve for where a client sets no limit. A
//! histogram of bounded size for each, whose past fades; no clock, no randomness, and the same answers make the
//! same expectation.

use std::collections::HashMap;

use kt_contract::money::Tokens;

/// How many pairs of model and agent are remembered, and models alone beside them.
const PAIRS_MAX: usize = 4_096;
/// Of how many answers something can be learned.
const ANSWERS_MIN: u32 = 20;
/// At so many the counts are halved, so that the last few hundred answers count.
const ANSWERS_MAX: u32 = 512;
/// The part of answers that shall not be longer than what is expected: 19 of 20.
const WITHIN: (u32, u32) = (19, 20);

/// Up to this length, each has a bucket of its own; beyond it, each doubling has four.
const EXACT: u64 = 16;
const OCTAVE_BUCKETS: usize = 4;
/// Two million tokens and more are one bucket.
const BUCKETS: usize = 16 + 17 * OCTAVE_BUCKETS + 1;

/// What has been learned.
#[derive(Debug, Default)]
pub struct Lengths {
    by_model: HashMap<String, OfModel>,
    pairs: usize,
}

#[derive(Debug, Default)]
struct OfModel {
    all: Histogram,
    by_agent: HashMap<String, Histogram>,
}

#[derive(Debug)]
struct Histogram {
    counts: [u16; BUCKETS],
    total: u32,
}

// === impl Lengths ===

impl Lengths {
    /// An answer of `model` to `agent` that ended by itself had this length.
    pub fn learn(&mut self, model: &str, agent: &str, output: Tokens) {
        if !self.by_model.contains_key(model) {
            if self.by_model.len() >= PAIRS_MAX {
                return;
            }
            self.by_model.insert(model.to_owned(), OfModel::default());
        }
        let Some(of_model) = self.by_model.get_mut(model) else { return };
        of_model.all.add(output);
        if let Some(of_agent) = of_model.by_agent.get_mut(agent) {
            of_agent.add(output);
        } else if self.pairs < PAIRS_MAX {
            self.pairs = self.pairs.saturating_add(1);
            of_model.by_agent.entry(agent.to_owned()).or_default().add(output);
        }
    }

    /// What 19 of 20 answers to this agent stay within; or, as long as it has had too few, of this model.
    #[must_use]
    pub fn expected(&self, model: &str, agent: &str) -> Option<Tokens> {
        let of_model = self.by_model.get(model)?;
        let of_agent = of_model.by_agent.get(agent).and_then(Histogram::high);
        of_agent.or_else(|| of_model.all.high())
    }
}

// === impl Histogram ===

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], total: 0 }
    }
}

impl Histogram {
    fn add(&mut self, length: Tokens) {
        if self.total >= ANSWERS_MAX {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total = self.counts.iter().map(|count| u32::from(*count)).sum();
        }
        if let Some(count) = self.counts.get_mut(bucket(length.0)) {
            *count = count.saturating_add(1);
            self.total = self.total.saturating_add(1);
        }
    }

    /// The end of the bucket within which the wanted part of the answers lies.
    fn high(&self) -> Option<Tokens> {
        if self.total < ANSWERS_MIN {
            return None;
        }
        let (part, whole) = WITHIN;
        let wanted = self.total.saturating_mul(part).div_ceil(whole);
        let mut seen = 0_u32;
        let at = self.counts.iter().position(|count| {
            seen = seen.saturating_add(u32::from(*count));
            seen >= wanted
        })?;
        Some(Tokens(end(at)))
    }
}

/// The bucket of a length.
fn bucket(length: u64) -> usize {
    if length < EXACT {
        return usize::try_from(length).unwrap_or(0);
    }
    // 16 is the first octave's; the two bits after the highest say which quarter.
    let octave = length.ilog2() - 4;
    let quarter = (length >> (length.ilog2() - 2)) & 3;
    let at = u64::from(octave) * OCTAVE_BUCKETS as u64 + quarter + EXACT;
    usize::try_from(at).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

/// The longest length of a bucket.
fn end(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < EXACT {
        return bucket;
    }
    let (octave, quarter) = ((bucket - EXACT) / 4, (bucket - EXACT) % 4);
    // A quarter of the octave that begins at 16 is 4.
    ((5 + quarter) << (octave + 2)) - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn taught(lengths: impl IntoIterator<Item = u64>) -> Lengths {
        let mut taught = Lengths::default();
        lengths.into_iter().for_each(|length| taught.learn("m", "a", Tokens(length)));
        taught
    }

    #[test]
    fn two_million_tokens_and_more_are_one_bucket() {
        assert!(bucket((1 << 21) - 1) < bucket(1 << 21));
        for length in [1 << 21, (1 << 21) + 1, u64::MAX] {
            assert_eq!(bucket(length), BUCKETS - 1, "{length}");
        }
    }

    #[test]
    fn nothing_is_expected_of_few_answers() {
        assert_eq!(taught(std::iter::repeat_n(7, 19)).expected("m", "a"), None);
        let taught = taught(std::iter::repeat_n(7, 20));
        assert_eq!(taught.expected("m", "a"), Some(Tokens(7)));
        assert_eq!(taught.expected("other", "a"), None);
    }

    #[test]
    fn an_agent_of_few_answers_is_expected_to_be_like_the_others() {
        let mut taught = taught(std::iter::repeat_n(7, 20));
        assert_eq!(taught.expected("m", "new"), Some(Tokens(7)));
        (0..20).for_each(|_| taught.learn("m", "new", Tokens(15)));
        assert_eq!(taught.expected("m", "new"), Some(Tokens(15)));
        assert_eq!(taught.expected("m", "a"), Some(Tokens(7)));
    }

    #[test]
    fn rare_long_answers_do_not_decide_and_a_new_habit_does() {
        let rare = (1..=500).map(|at| if at % 25 == 0 { 100_000 } else { 10 });
        assert_eq!(taught(rare).expected("m", "a"), Some(Tokens(10)));
        let longer = std::iter::repeat_n(10, 5_000).chain(std::iter::repeat_n(1_000, 512));
        assert_eq!(taught(longer).expected("m", "a"), Some(Tokens(end(bucket(1_000)))));
        let shorter = std::iter::repeat_n(1_000, 5_000).chain(std::iter::repeat_n(10, 2_000));
        assert_eq!(taught(shorter).expected("m", "a"), Some(Tokens(10)));
    }

    #[test]
    fn one_answer_more_than_are_counted_is_no_new_habit() {
        let habit = std::iter::repeat_n(10, ANSWERS_MAX as usize);
        assert_eq!(taught(habit.chain([1_000])).expected("m", "a"), Some(Tokens(10)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut taught = Lengths::default();
        for at in 0..2 * PAIRS_MAX {
            taught.learn("m", &at.to_string(), Tokens(1));
            taught.learn(&at.to_string(), "a", Tokens(1));
        }
        assert_eq!(taught.by_model.len(), PAIRS_MAX);
        let pairs: usize = taught.by_model.values().map(|of_model| of_model.by_agent.len()).sum();
        assert_eq!((taught.pairs, pairs), (PAIRS_MAX, PAIRS_MAX));
    }

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        for length in (0..5_000).chain((13..22).flat_map(|bits| (1 << bits) - 2..(1 << bits) + 2)) {
            let at = bucket(length);
            let is_last = at == BUCKETS - 1;
            assert!(length <= end(at) || is_last, "{length}");
            assert!(at == 0 || end(at - 1) < length, "{length}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    proptest! {
        #[test]
        fn most_answers_stay_within_what_is_expected_and_it_is_not_far_above_them(
            lengths in proptest::collection::vec(prop_oneof![0..50_u64, 0..4_000_u64, 0..1_000_000_u64], 20..512)
        ) {
            let expected = taught(lengths.iter().copied()).expected("m", "a").unwrap().0;
            let within = lengths.iter().filter(|length| **length <= expected).count();
            prop_assert!(within * 20 >= lengths.len() * 19);
            let mut sorted = lengths.clone();
            sorted.sort_unstable();
            let exact = sorted[(lengths.len() * 19).div_ceil(20) - 1];
            prop_assert!(expected <= exact + exact / 4, "{} for {}", expected, exact);
        }
    }
}

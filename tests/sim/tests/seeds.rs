//! Some thousand seeds: nothing that must not be, everything that matters happens, and each says the same twice.

use kt_sim::{Fixture, Tally, run};

const SEEDS: u64 = 6_000;

/// What has to happen often enough for the seeds to mean something.
const MATTERS: [&str; 36] = [
    "answers that break off",
    "clients that leave",
    "crashes",
    "fills",
    "fills refused: by the shared store",
    "fills refused: invalidated",
    "fills refused: superseded",
    "flights cancelled",
    "flights that found their entry",
    "flights that outlive their clients",
    "flights voided",
    "followers",
    "hit-for-miss",
    "hits inline",
    "hits on the lane",
    "holds released",
    "holds returned from suspense",
    "holds settled as counted",
    "holds settled as told",
    "ledger answers that did not come",
    "messages doubled",
    "messages lost",
    "moves: adjusted",
    "moves: allocated",
    "moves: allotted",
    "moves: drawn",
    "moves: extended",
    "moves: left of allotments",
    "moves: made before",
    "moves: refunded",
    "moves: refused",
    "moves: taken back from a purse",
    "overflows",
    "replies told again",
    "takeovers",
    "waits for another sidecar",
];

#[test]
fn in_some_thousand_worlds_everything_that_matters_happens_and_nothing_that_must_not() {
    let fixture = Fixture::default();
    let mut tally = Tally::default();
    for seed in 0..SEEDS {
        let once = run(&fixture, seed, None, false);
        assert_eq!(once.breach, None, "make sim SEED={seed} tells how it came to that");
        tally.join(&once.tally);
    }
    for name in MATTERS {
        assert!(tally.of(name) >= 10, "{name}: {}", tally.of(name));
    }
}

#[test]
fn a_seed_says_the_same_twice_and_another_one_something_else() {
    let fixture = Fixture::default();
    for seed in 0..50 {
        let once = run(&fixture, seed, None, false);
        assert_eq!(run(&Fixture::default(), seed, None, false), once, "seed {seed}");
        assert_ne!(run(&fixture, seed + 1, None, false).trace, once.trace, "seed {seed}");
        let told = run(&fixture, seed, None, true);
        assert_eq!((told.trace, told.steps), (once.trace, once.steps), "in words, seed {seed}");
        assert!(!told.lines.is_empty());
    }
}

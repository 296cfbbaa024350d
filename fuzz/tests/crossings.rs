//! Many pairs of requests of different organizations, none of which may be told what another one was. Few in every
//! `cargo test`; a million of them by `make soak`, with an optimized build.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]
#![expect(clippy::print_stdout, reason = "a long run says what it was about")]
#![expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]

use kt_fuzz::crossings::{self, Tally};

/// Pairs in one world, which keeps all that was ever told in it.
const PAIRS_PER_WORLD: u64 = 50_000;
const SEED: u64 = 20_261_129;

/// How many pairs `KT_CROSSING_PAIRS` asks for.
fn asked_for() -> u64 {
    std::env::var("KT_CROSSING_PAIRS").map_or(200, |count| count.parse().unwrap())
}

/// So many pairs, in worlds of their own, two at a time.
fn play(count: u64) -> Vec<Tally> {
    let worlds: Vec<u64> = (0..count.div_ceil(PAIRS_PER_WORLD)).collect();
    let pairs = |world: &u64| PAIRS_PER_WORLD.min(count - world * PAIRS_PER_WORLD);
    let (left, right) = worlds.split_at(worlds.len() / 2);
    let run = |part: &[u64]| -> Vec<Tally> {
        part.iter().map(|world| crossings::pairs(SEED + world, pairs(world))).collect()
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| run(left));
        let mut all = run(right);
        all.extend(other.join().unwrap());
        all
    })
}

#[test]
fn no_organization_is_told_what_another_one_was() {
    let worlds = play(asked_for());
    let sum = |of: fn(&Tally) -> u64| worlds.iter().map(of).sum::<u64>();
    let pairs = sum(|tally| tally.pairs);
    let told = [sum(|tally| tally.from_memory), sum(|tally| tally.from_store)];
    let (made, shut) = (sum(|tally| tally.made), sum(|tally| tally.shut));
    let (by_identity, by_pack) = (sum(|tally| tally.by_identity), sum(|tally| tally.by_pack));
    println!(
        "{pairs} pairs, {} requests, {by_identity} without a key, {by_pack} by packs: {told:?} answers from memory and store, \
         {made} made; {shut} entries of others tried",
        sum(|tally| tally.asked),
    );
    assert_eq!(pairs, asked_for());
    assert!(by_identity >= pairs && by_pack >= pairs);
    // Answers were there to be told to the wrong one.
    assert!(told.iter().all(|told| *told >= pairs) && made >= pairs && shut >= pairs);
}

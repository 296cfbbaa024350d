//! What the sidecar answered as durable is there after the power was cut, and would not be if it did not wait
//! for the disk, or if the disk lied.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as expected")]

mod rig;

use kt_power_loss::chance::Chance;
use kt_power_loss::disk::{Honesty, Survival};
use rig::Rig;

/// The steps of opening an empty folder and of the first few operations.
const EARLY: u64 = 120;
/// Beyond the first checkpoint, where the log begins anew.
const LATE: u64 = 3_500;
/// The same for the wallet, whose log is four times as long.
const LATE_WALLET: u64 = 14_000;

/// What came of all cuts.
#[derive(Debug, Default)]
struct Outcome {
    cuts: usize,
    promised: usize,
    /// Disks on which the log was copied into the database and begun anew.
    checkpointed: usize,
    /// Promises that were broken, and whatever could not be read.
    broken: Vec<String>,
    /// Answers that were given before what they need was on the disk.
    early: Vec<String>,
}

/// Cuts the power of so many disks, of each so many times; at fixed places, which look random.
fn cut(work: &'static str, honesty: Honesty, disks: u64, cuts_each: u64) -> Outcome {
    let late = if work.starts_with("wallet") { LATE_WALLET } else { LATE };
    let mut outcome = Outcome::default();
    for seed in 0..disks {
        let mut chance = Chance::from_seed(seed);
        let mut rig = Rig::new(work, honesty);
        for cut in 0..cuts_each {
            let steps = chance.below(if (seed + cut).is_multiple_of(2) { EARLY } else { late });
            let survival = match cut % 5 {
                4 => Survival::nothing(),
                _ => Survival::from_seed(chance.number()),
            };
            rig.work_until_cut(steps, &survival);
            let broken = rig.broken();
            let place = format!("disk {seed}, cut {cut}, before step {steps}");
            outcome.broken.extend(broken.iter().map(|line| format!("{place}: {line}")));
            outcome.cuts += 1;
            if !broken.is_empty() {
                // What is lost stays lost; and a file that cannot be read cannot be worked on.
                break;
            }
        }
        outcome.promised += rig.promised();
        outcome.checkpointed += usize::from(rig.is_checkpointed());
        let early = rig.unsynced_at_answers.iter();
        outcome.early.extend(early.map(|path| format!("disk {seed}: {}", path.display())));
    }
    let Outcome { cuts, promised, checkpointed, broken, early } = &outcome;
    let (broken, early) = (broken.len(), early.len());
    eprintln!(
        "{work} ({honesty:?}): {cuts} cuts, {promised} promises, {broken} broken, {early} files or names \
         answered for before they were on the disk, {checkpointed} of {disks} disks checkpointed"
    );
    outcome
}

/// Stamps the promise over everything that the sidecar answers as durable.
macro_rules! what_was_acknowledged_survives_fifty_cuts {
    ($($work:ident)*) => {$(
        #[test]
        fn $work() {
            let outcome = cut(stringify!($work), Honesty::Syncs, 10, 5);
            assert_eq!(outcome.broken, Vec::<String>::new());
            assert_eq!(outcome.early, Vec::<String>::new());
            assert_eq!(outcome.cuts, 50);
            assert!(outcome.promised > 1_000, "{} promises are no load", outcome.promised);
            assert!(outcome.checkpointed > 0, "no disk came beyond a checkpoint");
        }
    )*};
}

mod what_was_acknowledged_survives_fifty_cuts {
    use super::*;

    what_was_acknowledged_survives_fifty_cuts! {
        keys
        generations
        wallet
        wallet_reaper
        replies
        spool
        audit_log
        versions
    }
}

#[test]
fn a_connection_that_does_not_wait_for_the_disk_loses_and_one_that_does_loses_nothing() {
    let waits = cut("plain-full", Honesty::Syncs, 10, 1);
    assert_eq!((waits.broken, waits.early), (vec![], vec![]));
    assert_loses(&cut("plain-normal", Honesty::Syncs, 10, 1));
}

/// The same as of `wallet`, but for one word that the store tells its connection.
#[test]
fn the_wallets_store_loses_acknowledged_transfers_where_its_commits_do_not_wait_for_the_disk() {
    assert_loses(&cut("wallet-normal", Honesty::Syncs, 10, 5));
}

fn assert_loses(outcome: &Outcome) {
    assert!(outcome.broken.iter().any(|line| line.contains(": lost: ")), "no cut shows it");
    assert!(!outcome.early.is_empty(), "no answer shows it");
}

#[test]
fn a_disk_that_lies_loses_what_was_acknowledged() {
    let outcome = cut("generations", Honesty::Lies, 10, 1);
    assert!(!outcome.broken.is_empty(), "no cut shows it");
    assert!(!outcome.early.is_empty(), "no answer shows it");
}

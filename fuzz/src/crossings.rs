//! Pairs of requests of different organizations, equal ones and ones that differ in little, through one worker and
//! one store that all of them share. They come by keys, certificates and JWTs, and some of the configurations are those of a hosted
//! gateway, on which each organization has a pack of its own. Whoever is answered gets an answer that was made for the same organization,
//! gates and request; no two of them share a key, a check hash or a digest, and what one stored opens for nobody else.
//!
//! The input is a text that the requests ask about. What is told is compared with what callers and requests are made
//! of, and with nothing that was computed for a key.

mod asked;
mod callers;
mod credentials;
mod world;

use kt_contract::wire::admit::AdmitRequest;

use self::asked::Asked;
use self::callers::Caller;
pub use self::world::{Tally, World};
use crate::choices::Choices;

/// How often the configuration changes: once in so many pairs.
const PAIRS_PER_CONFIGURATION: usize = 16;

/// Takes any text.
pub fn check(text: &[u8]) {
    let mut world = World::new();
    let mut choices = Choices::of(text);
    let text = String::from_utf8_lossy(text);
    for _ in 0..2 {
        pair(&mut world, &mut choices, &text);
    }
}

/// So many pairs in one world, which follow from the seed.
///
/// # Panics
/// Where a promise is broken.
#[must_use]
pub fn pairs(seed: u64, count: u64) -> Tally {
    let mut world = World::new();
    let mut choices = Choices::of(&seed.to_be_bytes());
    for _ in 0..count {
        // Few, so that the same is asked again and again, and by all kinds of callers.
        let text = format!("What is {}?", choices.below(3));
        pair(&mut world, &mut choices, &text);
    }
    world.tally
}

fn pair(world: &mut World, choices: &mut Choices, text: &str) {
    if choices.below(PAIRS_PER_CONFIGURATION) == 0 {
        world.configure(choices);
    }
    let asked = Asked::choose(choices, text);
    let changed = asked.changed(choices);
    let ours = Caller::choose(choices);
    let other = ours.of_another_organization(choices);
    let beside = ours.with_another_gate(choices);

    let first = world.ask(&ours, &asked, choices);
    // A worker keeps what it is asked for again, so that whoever comes now could get it from its memory.
    for _ in 0..2 {
        let again = world.ask(&ours, &asked, choices);
        assert_eq!((again.plan.key, again.plan.check), (first.plan.key, first.plan.check));
    }
    let theirs = [world.ask(&other, &asked, choices), world.ask(&other, &changed, choices)];
    for their in &theirs {
        share_nothing(&first, their);
    }
    world.stays_shut(&first, &other, &theirs[0]);

    let gated = world.ask(&beside, &asked, choices);
    assert_eq!(gated.plan.request, first.plan.request, "the same request of the same organization");
    assert!(
        gated.plan.key != first.plan.key && gated.plan.check != first.plan.check,
        "{:?}",
        gated.plan.gates
    );
    let differs = gated.plan.gates.first_difference(&first.plan.gates);
    assert!(differs.is_some(), "{:?}", gated.plan.gates);
    world.stays_shut(&first, &beside, &gated);

    let meant = world.ask(&ours, &changed, choices);
    assert_eq!(meant.plan.gates.scope, first.plan.gates.scope);
    assert!(
        meant.plan.key != first.plan.key && meant.plan.check != first.plan.check,
        "{asked:?} {changed:?}"
    );

    let last = world.ask(&ours, &asked, choices);
    assert_eq!(last.plan.key, first.plan.key);
    world.tally.pairs += 1;
}

fn share_nothing(first: &AdmitRequest, their: &AdmitRequest) {
    assert_ne!(first.plan.gates.org, their.plan.gates.org);
    let [ours, theirs] = [first, their].map(|it| {
        [it.plan.key.0, it.plan.check.0, it.plan.request.digest, it.plan.request.check]
            .map(|digest| digest.0)
    });
    for digest in &ours {
        assert!(
            !theirs.contains(digest),
            "{:?} and {:?} share a digest",
            first.plan.gates,
            their.plan.gates
        );
    }
}

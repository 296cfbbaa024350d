//! Gateways, sidecars, stores, a provider and clients in one deterministic world: one seed, one run. Decisions are the
//! product's own pure code; what carries them out is modeled, and can be lost, doubled, delayed, crashed and paused.
//! `docs/reference/simulation.md` says what is modeled and what is not.

mod book;
mod books;
mod call;
mod client;
mod clocks;
mod event;
mod faults;
pub mod fixture;
mod flight;
mod gateway;
mod judge;
mod lane;
mod leases;
mod moves;
mod pilot;
pub mod plant;
mod provider;
pub mod scale;
mod shelf;
mod sidecar;
mod store;
mod swarm;
pub mod tally;
mod till;
mod trace;
mod world;

pub use fixture::Fixture;
pub use judge::Breach;
pub use plant::Plant;
pub use tally::Tally;

use world::World;

/// What came of a seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// What must not be, if it was.
    pub breach: Option<Breach>,
    /// The hash of all that happened.
    pub trace: u64,
    /// How much happened.
    pub steps: u64,
    /// How often what happened.
    pub tally: Tally,
    /// It, in words, if they were asked for.
    pub lines: Vec<String>,
}

/// Runs the world of a seed.
#[must_use]
pub fn run(fixture: &Fixture, seed: u64, plant: Option<Plant>, tells: bool) -> Run {
    let mut world = World::new(fixture, seed, plant, tells);
    world.run();
    let (breach, trace, steps) = (world.breach.take(), world.trace.hash(), world.trace.steps());
    let tally = std::mem::take(&mut world.tally);
    Run { breach, trace, steps, tally, lines: world.trace.into_lines() }
}

//! Runs seeds, and replays one in words.

mod clock;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use kt_sim::{Fixture, Plant, Tally, run};

/// So often a seed is run twice, to see that it says the same.
const TWICE_EVERY: u64 = 1_000;
/// So often a line tells how far it is.
const TOLD_EVERY: u64 = 10_000;

/// Runs worlds of faults until one of them shows something that must not be.
#[derive(Debug, Parser)]
struct Args {
    /// How many seeds.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Plants a bug.
    #[arg(long)]
    plant: Option<String>,
    /// Replays this one seed, in words.
    #[arg(long)]
    replay: Option<u64>,
}

fn main() -> io::Result<ExitCode> {
    let args = Args::parse();
    let mut out = io::stdout().lock();
    let plant = match args.plant.as_deref().map(|name| (name, Plant::named(name))) {
        Some((name, None)) => {
            let names = Plant::ALL.map(Plant::as_str).join(", ");
            writeln!(out, "there is no bug '{name}' to plant; there are: {names}")?;
            return Ok(ExitCode::from(2));
        }
        Some((_, plant)) => plant,
        None => None,
    };
    let fixture = Fixture::default();
    match args.replay {
        Some(seed) => replay(&fixture, seed, plant, &mut out),
        None => sweep(&fixture, args.from..args.from.saturating_add(args.seeds), plant, &mut out),
    }
}

fn replay(
    fixture: &Fixture,
    seed: u64,
    plant: Option<Plant>,
    out: &mut impl Write,
) -> io::Result<ExitCode> {
    let run = run(fixture, seed, plant, true);
    for line in &run.lines {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "seed {seed}: {} steps, trace {:016x}", run.steps, run.trace)?;
    Ok(match run.breach {
        None => ExitCode::SUCCESS,
        Some(breach) => {
            writeln!(out, "{} at {} ms: {}", breach.rule, breach.at_ms, breach.what)?;
            ExitCode::FAILURE
        }
    })
}

fn sweep(
    fixture: &Fixture,
    seeds: std::ops::Range<u64>,
    plant: Option<Plant>,
    out: &mut impl Write,
) -> io::Result<ExitCode> {
    let began = clock::now();
    let (mut steps, mut done, mut tally) = (0_u64, 0_u64, Tally::default());
    let planted = plant.map_or_else(String::new, |plant| format!(" --plant {}", plant.as_str()));
    for seed in seeds.clone() {
        let once = run(fixture, seed, plant, false);
        if let Some(breach) = &once.breach {
            writeln!(out, "seed {seed}: {} at {} ms: {}", breach.rule, breach.at_ms, breach.what)?;
            writeln!(out, "replay it in words: target/release/kt-sim --replay {seed}{planted}")?;
            return Ok(ExitCode::FAILURE);
        }
        if seed.is_multiple_of(TWICE_EVERY) && run(fixture, seed, plant, false) != once {
            writeln!(out, "seed {seed} says something else the second time")?;
            return Ok(ExitCode::FAILURE);
        }
        tally.join(&once.tally);
        (steps, done) = (steps.saturating_add(once.steps), done + 1);
        if done.is_multiple_of(TOLD_EVERY) {
            let seconds = began.elapsed().as_secs().max(1);
            let rate = done / seconds;
            writeln!(
                out,
                "{done} seeds up to {seed}, {steps} steps, {rate} seeds/s: nothing wrong"
            )?;
            out.flush()?;
        }
    }
    for (name, count) in tally.iter() {
        writeln!(out, "{count:>12}  {name}")?;
    }
    let (first, end, seconds) = (seeds.start, seeds.end, began.elapsed().as_secs());
    writeln!(out, "seeds {first}..{end}: {steps} steps in {seconds} s, nothing wrong")?;
    Ok(ExitCode::SUCCESS)
}

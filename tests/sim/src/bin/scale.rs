//! Prints what one, ten, a hundred and a thousand gateways ask of the store that they share, as a table for
//! docs/operations/sizing.md.

use std::io::{self, Write};

use kt_sim::scale::{Load, Shape, run};

const SEED: u64 = 1;
const PER_S: u64 = 1_000;

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "| gateways | hits in memory | hits in the store | coalesced | of which elsewhere | calls/s | calls/s without \
         a shared store | lookups/s | leases/s | renewals/s | fills/s | log writes/s | log reads/s | leases at once |"
    )?;
    writeln!(out, "|{}", "---|".repeat(14))?;
    for gateways in [1, 10, 100, 1_000] {
        let shape =
            Shape { gateways, shares: true, requests_per_s: PER_S, warm_s: 600, counted_s: 300 };
        let shared = run(shape, SEED);
        let alone = run(Shape { shares: false, ..shape }, SEED);
        line(&mut out, shape, shared, alone)?;
    }
    Ok(())
}

fn line(out: &mut impl Write, shape: Shape, load: Load, alone: Load) -> io::Result<()> {
    let percent = |count: u64| {
        let permille = count * 1_000 / load.requests.max(1);
        format!("{}.{} %", permille / 10, permille % 10)
    };
    let rate = |count: u64| count / shape.counted_s;
    writeln!(
        out,
        "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        shape.gateways,
        percent(load.memory_hits),
        percent(load.shared_hits),
        percent(load.coalesced_here + load.coalesced_elsewhere),
        percent(load.coalesced_elsewhere),
        rate(load.calls),
        rate(alone.calls),
        rate(load.lookups),
        rate(load.leases),
        rate(load.renewals),
        rate(load.fills),
        rate(load.appends),
        rate(load.reads),
        load.leases_at_once,
    )
}

//! Decimal numbers of the file, exactly: as they are written, never as the binary fraction that is near them.

use super::raw::Decimal;
use super::report::Report;
use crate::money::MicroUsd;

/// The amount that `raw` says in dollars; `None` where the file has nothing, or has a mistake, which is reported.
pub(super) fn usd(field: &str, raw: Option<Decimal>, report: &mut Report) -> Option<MicroUsd> {
    let amount = exact(field, raw?, report);
    if amount.is_none() {
        // Not repeated: it may be anything.
        let max = MicroUsd::MAX;
        let what = "is no sum of dollars: digits with at most six decimals, like 2.50, up to";
        report.error(field, format!("{what} {max}"));
    }
    amount
}

/// The millionths of one that `raw` says, likewise: more than none of them, and one at most.
pub(super) fn part_of_one(field: &str, raw: Option<Decimal>, report: &mut Report) -> Option<u64> {
    // What is exact in dollars is exact in anything.
    let millionths = exact(field, raw?, report).map(MicroUsd::micros);
    let part = millionths.filter(|millionths| (1..=1_000_000).contains(millionths));
    if part.is_none() {
        let what = "is no part of one: above 0 and up to 1, with at most six decimals, like 0.8";
        report.error(field, what);
    }
    part
}

fn exact(field: &str, raw: Decimal, report: &Report) -> Option<MicroUsd> {
    match raw {
        Decimal::Whole(whole) => match report.number(field) {
            Some(written) => MicroUsd::parse_usd(written).ok(),
            None => MicroUsd::parse_usd(&whole.to_string()).ok(),
        },
        Decimal::Fraction => MicroUsd::parse_usd(report.number(field)?).ok(),
        Decimal::Text(text) => MicroUsd::parse_usd(&text).ok(),
    }
}

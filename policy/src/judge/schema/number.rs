//! Numbers as JSON Schema compares them: exactly where both are whole, as floating-point numbers otherwise.

use std::cmp::Ordering;

use serde_json::Number;

/// A whole number, if it is one that fits.
fn whole(number: &Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

pub(super) fn is_integer(number: &Number) -> bool {
    whole(number).is_some() || number.as_f64().is_some_and(|number| number.fract() == 0.0)
}

pub(super) fn same(left: &Number, right: &Number) -> bool {
    compare(left, right) == Some(Ordering::Equal)
}

pub(super) fn compare(left: &Number, right: &Number) -> Option<Ordering> {
    match (whole(left), whole(right)) {
        (Some(left), Some(right)) => Some(left.cmp(&right)),
        _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
    }
}

/// Whether `number` is a multiple of `of`, as well as floating-point numbers can tell.
pub(super) fn is_multiple(number: &Number, of: &Number) -> Option<bool> {
    if let (Some(number), Some(of)) = (whole(number), whole(of)) {
        return (of != 0).then(|| number % of == 0);
    }
    let (number, of) = (number.as_f64()?, of.as_f64()?);
    let quotient = number / of;
    (of != 0.0).then(|| (quotient - quotient.round()).abs() < 1e-9 * quotient.abs().max(1.0))
}

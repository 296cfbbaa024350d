//! Money and moments as people read and write them.

use jiff::Timestamp;
use kt_contract::money::MicroUsd;
use kt_contract::time::UnixMillis;
use kt_contract::wire::admin::wallet::Amount;

const MICROS_PER_USD: u64 = 1_000_000;

/// Reads dollars that are to be moved.
///
/// # Errors
/// What is no sum of dollars, or nothing.
pub(crate) fn read_dollars(text: &str) -> Result<Amount, String> {
    let bare = text.strip_prefix('$').unwrap_or(text);
    let amount = MicroUsd::parse_usd(bare).map_err(|bad| bad.to_string())?;
    Amount::new(amount).ok_or_else(|| "0 moves nothing".to_owned())
}

/// Micro-dollars as dollars, exactly.
pub(crate) fn dollars(micros: u64) -> String {
    // Below a million it is an amount like any other, whatever the whole is.
    let rest = MicroUsd::new(micros % MICROS_PER_USD).unwrap_or_default().to_string();
    format!("${}{}", micros / MICROS_PER_USD, rest.trim_start_matches('0'))
}

/// It, with a sign where it is below zero.
pub(crate) fn signed_dollars(micros: i64) -> String {
    format!("{}{}", if micros < 0 { "-" } else { "" }, dollars(micros.unsigned_abs()))
}

/// A moment, to the second, in UTC.
pub(crate) fn moment(at: UnixMillis) -> String {
    let at = i64::try_from(at.0).ok().and_then(|at| Timestamp::from_millisecond(at).ok());
    at.map_or_else(|| "-".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_told_exactly_and_read_back() {
        for (micros, text) in [
            (0, "$0.00"),
            (1, "$0.000001"),
            (1_500_000, "$1.50"),
            (10_000_000, "$10.00"),
            (100_000, "$0.10"),
            (12_345_678, "$12.345678"),
        ] {
            assert_eq!(dollars(micros), text);
            let read = read_dollars(text).map(|amount| amount.get().micros());
            assert_eq!(read.ok(), Some(micros).filter(|micros| *micros > 0), "{text}");
        }
        assert_eq!(signed_dollars(-500_000), "-$0.50");
        assert_eq!(signed_dollars(i64::MIN), "-$9223372036854.775808");
    }

    #[test]
    fn what_is_no_sum_is_told_what_one_is() {
        for text in ["-5", "1e3", "5,00", "", "1.0000001", "NaN", "$", "9007199255"] {
            let said = read_dollars(text).unwrap_err();
            assert!(said.starts_with("a sum of dollars is digits"), "{text}: {said}");
        }
        assert_eq!(read_dollars("0.00").unwrap_err(), "0 moves nothing");
    }

    #[test]
    fn a_moment_is_told_in_utc() {
        assert_eq!(moment(UnixMillis(1_795_895_999_999)), "2026-11-28 19:59:59Z");
        assert_eq!(moment(UnixMillis(u64::MAX)), "-");
    }
}

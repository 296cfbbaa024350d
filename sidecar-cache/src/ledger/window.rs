//! Days and months in an organization's own time zone. The zones' rules travel with us, so that a day ends at the
//! same moment on every host.

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use kt_contract::time::UnixMillis;
use serde::{Deserialize, Serialize};

/// How long a budget lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// From midnight to midnight: 23 to 25 hours.
    Daily,
    /// From the first of a month to the next.
    Monthly,
}

/// One day or month.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Which of both.
    pub period: Period,
    /// Its date: `2026-11-28` or `2026-11`.
    pub name: String,
    /// Its end, and the beginning of the next.
    pub until: UnixMillis,
}

/// A time zone.
#[derive(Clone, Debug, PartialEq)]
pub struct Zone(TimeZone);

/// A name that is not a time zone's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no time zone '{name}'; name one like Europe/Berlin or UTC")]
pub struct UnknownZone {
    /// It.
    pub name: String,
}

// === impl Period ===

impl Period {
    /// The word in accounts and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Daily => "daily",
            Self::Monthly => "monthly",
        }
    }
}

// === impl Zone ===

impl Zone {
    /// Coordinated universal time.
    #[must_use]
    pub const fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    /// The zone of a name of the IANA database.
    ///
    /// # Errors
    /// Where it has no such name.
    pub fn named(name: &str) -> Result<Self, UnknownZone> {
        TimeZone::get(name).map(Self).map_err(|_| UnknownZone { name: name.to_owned() })
    }

    /// The window that `at` falls into.
    #[must_use]
    pub fn window(&self, period: Period, at: UnixMillis) -> Window {
        let date = self.date(at);
        let (name, last) = match period {
            Period::Daily => (date.to_string(), date),
            Period::Monthly => (date.strftime("%Y-%m").to_string(), date.last_of_month()),
        };
        Window { period, name, until: self.end_of(last) }
    }

    /// Its name in the IANA database.
    #[must_use]
    pub fn name(&self) -> String {
        self.0.iana_name().unwrap_or("UTC").to_owned()
    }

    /// The day that `at` falls into.
    #[must_use]
    pub fn date(&self, at: UnixMillis) -> Date {
        let at = i64::try_from(at.0).ok().and_then(|at| Timestamp::from_millisecond(at).ok());
        self.0.to_datetime(at.unwrap_or(Timestamp::MAX)).date()
    }

    /// The first moment of a day.
    #[must_use]
    pub fn begin_of(&self, date: Date) -> UnixMillis {
        date.yesterday().map_or(UnixMillis(0), |before| self.end_of(before))
    }

    /// The moments from the first of a day on to the first of a later one.
    #[must_use]
    pub fn span(&self, since: Date, until: Date) -> (UnixMillis, UnixMillis) {
        (self.begin_of(since), self.begin_of(until))
    }

    /// The first moment of the next day. It is not always midnight, and midnight is not always one moment.
    fn end_of(&self, date: Date) -> UnixMillis {
        let midnight = date.tomorrow().map(|next| next.to_datetime(Time::midnight()));
        let until = midnight.and_then(|midnight| self.0.to_timestamp(midnight));
        let until = until.unwrap_or(Timestamp::MAX);
        UnixMillis(u64::try_from(until.as_millisecond()).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> UnixMillis {
        let at: Timestamp = text.parse().unwrap();
        UnixMillis(u64::try_from(at.as_millisecond()).unwrap())
    }

    fn window(zone: &str, period: Period, moment: &str) -> (String, UnixMillis) {
        let window = Zone::named(zone).unwrap().window(period, at(moment));
        (window.name, window.until)
    }

    #[test]
    fn a_zone_keeps_its_name() {
        for name in ["Europe/Berlin", "America/New_York", "UTC"] {
            assert_eq!(Zone::named(name).unwrap().name(), name);
        }
        assert_eq!(Zone::utc().name(), "UTC");
    }

    #[test]
    fn a_day_begins_at_midnight_of_its_zone() {
        for (zone, moment, name, until) in [
            ("UTC", "2026-11-28T00:00:00Z", "2026-11-28", "2026-11-29T00:00:00Z"),
            ("UTC", "2026-11-28T23:59:59.999Z", "2026-11-28", "2026-11-29T00:00:00Z"),
            ("Europe/Berlin", "2026-11-28T22:59:59.999Z", "2026-11-28", "2026-11-28T23:00:00Z"),
            ("Europe/Berlin", "2026-11-28T23:00:00Z", "2026-11-29", "2026-11-29T23:00:00Z"),
            ("Asia/Kathmandu", "2026-11-28T18:15:00Z", "2026-11-29", "2026-11-29T18:15:00Z"),
            ("Pacific/Kiritimati", "2026-11-28T10:00:00Z", "2026-11-29", "2026-11-29T10:00:00Z"),
        ] {
            let expected = (name.to_owned(), at(until));
            assert_eq!(window(zone, Period::Daily, moment), expected, "{zone} {moment}");
            let (zone, date) = (Zone::named(zone).unwrap(), name.parse::<Date>().unwrap());
            assert_eq!(zone.date(at(moment)), date);
            assert_eq!(zone.begin_of(date.tomorrow().unwrap()), at(until));
        }
    }

    #[test]
    fn days_have_23_to_25_hours_where_clocks_change() {
        for (zone, first, hours) in [
            ("Europe/Berlin", "2026-03-28T23:00:00Z", 23),
            ("Europe/Berlin", "2026-10-24T22:00:00Z", 25),
            ("Europe/Berlin", "2026-06-01T22:00:00Z", 24),
            // Midnight itself is skipped in Beirut, and comes twice in Havana.
            ("Asia/Beirut", "2026-03-28T22:00:00Z", 23),
            ("America/Havana", "2024-11-03T04:00:00Z", 25),
        ] {
            let zone = Zone::named(zone).unwrap();
            let begin = at(first);
            let day = zone.window(Period::Daily, begin);
            assert_eq!(day.until.0 - begin.0, hours * 3_600_000, "{zone:?} {first}");
            let before = zone.window(Period::Daily, UnixMillis(begin.0 - 1));
            assert_eq!(before.until, begin, "no gap and no overlap");
            assert_ne!(before.name, day.name);
            assert_eq!(zone.window(Period::Daily, UnixMillis(day.until.0 - 1)), day);
        }
    }

    #[test]
    fn a_month_ends_with_its_last_day() {
        for (zone, moment, name, until) in [
            ("UTC", "2026-12-31T23:59:59.999Z", "2026-12", "2027-01-01T00:00:00Z"),
            ("UTC", "2028-02-29T12:00:00Z", "2028-02", "2028-03-01T00:00:00Z"),
            ("Europe/Berlin", "2026-10-31T23:00:00Z", "2026-11", "2026-11-30T23:00:00Z"),
            ("America/Los_Angeles", "2026-12-01T07:59:59Z", "2026-11", "2026-12-01T08:00:00Z"),
        ] {
            let expected = (name.to_owned(), at(until));
            assert_eq!(window(zone, Period::Monthly, moment), expected, "{zone} {moment}");
        }
    }

    #[test]
    fn the_end_of_time_is_a_moment_like_others() {
        let window = Zone::utc().window(Period::Daily, UnixMillis(u64::MAX));
        assert_eq!(window.name, "9999-12-30");
        assert!(window.until.0 > at("9999-12-30T00:00:00Z").0);
    }

    #[test]
    fn a_name_that_is_no_zone_is_repeated_with_an_example() {
        let error = Zone::named("Berlin").unwrap_err().to_string();
        assert_eq!(error, "there is no time zone 'Berlin'; name one like Europe/Berlin or UTC");
    }
}

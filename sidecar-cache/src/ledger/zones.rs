//! In whose time zone an organization's days are: its own, where it has one. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use kt_contract::time::UnixMillis;

use super::window::{UnknownZone, Zone};

/// The time zones of all organizations.
#[derive(Clone, Debug, PartialEq)]
pub struct Zones {
    common: Zone,
    own: BTreeMap<String, Zone>,
}

// === impl Zones ===

impl Zones {
    /// The zones of these names: of everybody, and of the organizations that have one of their own.
    ///
    /// # Errors
    /// A name that is no zone's.
    pub fn named<'a>(
        common: &str,
        own: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, UnknownZone> {
        let own = own.into_iter().map(|(org, name)| Ok((org.to_owned(), Zone::named(name)?)));
        Ok(Self { common: Zone::named(common)?, own: own.collect::<Result<_, _>>()? })
    }

    /// The zone of whoever has none of their own.
    #[must_use]
    pub const fn common(&self) -> &Zone {
        &self.common
    }

    /// The zone of an organization.
    #[must_use]
    pub fn of(&self, org: &str) -> &Zone {
        self.own.get(org).unwrap_or(&self.common)
    }

    /// Whether some organization has a zone of its own.
    #[must_use]
    pub fn differ(&self) -> bool {
        self.own.values().any(|own| *own != self.common)
    }

    /// Which organizations have a zone that is not the common one, as eight digits, and `none` where none has. The same
    /// wherever the same days are, in whatever order they were written down.
    #[must_use]
    pub fn digest(&self) -> String {
        if !self.differ() {
            return "none".to_owned();
        }
        let mut hasher = blake3::Hasher::new();
        for (org, zone) in self.own.iter().filter(|(_, own)| **own != self.common) {
            // Neither has a NUL in it.
            for name in [&**org, &*zone.name()] {
                hasher.update(name.as_bytes()).update(&[0]);
            }
        }
        hasher.finalize().to_hex().chars().take(8).collect()
    }

    /// The latest day that it is anywhere.
    #[must_use]
    pub fn latest_date(&self, at: UnixMillis) -> Date {
        self.all().map(|zone| zone.date(at)).max().unwrap_or_else(|| self.common.date(at))
    }

    /// From when to when the same days are, wherever they are days of somebody's.
    #[must_use]
    pub fn spans(&self, since: Date, until: Date) -> BTreeSet<(UnixMillis, UnixMillis)> {
        self.all().map(|zone| zone.span(since, until)).collect()
    }

    fn all(&self) -> impl Iterator<Item = &Zone> {
        std::iter::once(&self.common).chain(self.own.values())
    }
}

impl Default for Zones {
    fn default() -> Self {
        Self { common: Zone::utc(), own: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    /// 2026-11-28, 12:00 in London.
    const NOON: UnixMillis = UnixMillis(1_795_867_200_000);
    const HOUR: u64 = 3_600_000;

    fn zones(own: &[(&str, &str)]) -> Zones {
        Zones::named("UTC", own.iter().copied()).unwrap()
    }

    #[test]
    fn an_organization_has_its_own_zone_or_the_common_one() {
        let zones = zones(&[("acme", "Pacific/Kiritimati"), ("globex", "Etc/GMT+12")]);
        for (org, name, today) in [
            ("acme", "Pacific/Kiritimati", date(2026, 11, 29)),
            ("globex", "Etc/GMT+12", date(2026, 11, 28)),
            ("initech", "UTC", date(2026, 11, 28)),
        ] {
            let zone = zones.of(org);
            assert_eq!((&*zone.name(), zone.date(NOON)), (name, today), "{org}");
        }
        assert_eq!(zones.latest_date(NOON), date(2026, 11, 29));
        assert_eq!(zones.common(), zones.of(""));
    }

    #[test]
    fn the_same_days_begin_and_end_when_each_zone_says() {
        let [since, until] = [date(2026, 11, 1), date(2026, 11, 29)];
        let own = [("acme", "Europe/Berlin"), ("globex", "Europe/Paris"), ("initech", "UTC")];
        let spans: Vec<_> = zones(&own).spans(since, until).into_iter().collect();
        let utc = Zone::utc().span(since, until);
        assert_eq!(utc.1, UnixMillis(NOON.0 + 12 * HOUR));
        let west = (UnixMillis(utc.0.0 - HOUR), UnixMillis(utc.1.0 - HOUR));
        assert_eq!(spans, [west, utc], "Berlin and Paris are counted together");
    }

    #[test]
    fn zones_differ_where_one_is_not_the_common_one() {
        assert!(!zones(&[]).differ() && !zones(&[("acme", "UTC")]).differ());
        assert!(zones(&[("acme", "Asia/Tokyo")]).differ());
    }

    #[test]
    fn digests_are_equal_where_all_days_are() {
        assert_eq!(zones(&[]).digest(), "none");
        assert_eq!(
            zones(&[("acme", "UTC")]).digest(),
            "none",
            "who has the common one is not named"
        );
        let one = zones(&[("acme", "Asia/Tokyo"), ("globex", "Europe/Paris")]).digest();
        assert_eq!(one.len(), 8);
        assert_eq!(
            one,
            zones(&[("globex", "Europe/Paris"), ("acme", "Asia/Tokyo"), ("initech", "UTC")])
                .digest()
        );
        for others in [[("acme", "Asia/Seoul")], [("acmf", "Asia/Tokyo")]] {
            assert_ne!(one, zones(&[others[0], ("globex", "Europe/Paris")]).digest());
        }
    }

    #[test]
    fn a_name_that_is_no_zone_is_refused_wherever_it_stands() {
        let unknown = |common, own: &[(&str, &str)]| {
            Zones::named(common, own.iter().copied()).unwrap_err().name
        };
        assert_eq!(unknown("Berlin", &[]), "Berlin");
        assert_eq!(unknown("UTC", &[("acme", "Tokyo")]), "Tokyo");
    }
}

//! What was charged and what was saved, side by side: the days that are asked for, and sums by whatever operators
//! want. Pure: the day that it is is an argument.

use std::collections::BTreeMap;

use jiff::ToSpan;
use jiff::civil::Date;
use kt_contract::wire::admin::savings::{By, SavingsRow, SavingsSums};

use crate::ledger::bill::Billed;
use crate::store::savings::{Basis, Saved};

/// Whole days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Days {
    /// The first.
    pub since: Date,
    /// The one before which they end.
    pub until: Date,
}

/// The day that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Today {
    /// From which days are counted back.
    pub date: Date,
    /// Which is the last that nobody has named: a later one, where it is that somewhere already.
    pub latest: Date,
}

/// What is no day, or none that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadDays {
    /// Where.
    pub field: &'static str,
    /// What it must be.
    pub what: &'static str,
}

/// Sums that go on, wider than what is told.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    calls: u64,
    billed: i128,
    estimated: u128,
    charged_back: i128,
    hits: u64,
    coalesced: u64,
    saved: u128,
}

// === impl Days ===

impl Days {
    /// Reads days as people name them: `2026-11-28`, `2026-11` for the first of it, `7d` for the one seven days ago.
    /// Without a beginning, this month; without an end, the latest day is the last.
    ///
    /// # Errors
    /// What is none of these; an end that is not after the beginning.
    pub fn read(since: Option<&str>, until: Option<&str>, today: Today) -> Result<Self, BadDays> {
        let day = |field, text: Option<&str>| {
            let what =
                "is no day: write 2026-11-28, 2026-11 for its first, or 7d for seven days ago";
            text.map(|text| day(text, today.date).ok_or(BadDays { field, what })).transpose()
        };
        let since = day("since", since)?.unwrap_or_else(|| today.date.first_of_month());
        let tomorrow = today.latest.tomorrow().unwrap_or(Date::MAX);
        let until = day("until", until)?.unwrap_or(tomorrow);
        if since >= until {
            return Err(BadDays {
                field: "until",
                what: "must be after 'since': it is not counted",
            });
        }
        Ok(Self { since, until })
    }
}

// === impl Today ===

impl Today {
    /// The same day for everybody.
    #[must_use]
    pub const fn everywhere(date: Date) -> Self {
        Self { date, latest: date }
    }
}

fn day(text: &str, today: Date) -> Option<Date> {
    if let Some(days) = text.strip_suffix('d') {
        let days: u16 = days.parse().ok()?;
        return today.checked_sub(i32::from(days).days()).ok();
    }
    // As long as it must be: the parser would take a time of day, too.
    match text.len() {
        7 => format!("{text}-01").parse().ok(),
        10 => text.parse().ok(),
        _ => None,
    }
}

/// The sums by name, in order, and all together.
#[must_use]
pub fn rows(by: By, billed: &[Billed], saved: &[Saved]) -> (Vec<SavingsRow>, SavingsSums) {
    let mut rows: BTreeMap<Option<&str>, Sums> = BTreeMap::new();
    let mut total = Sums::default();
    for line in billed {
        let (name, is_charged_back) = place_of_billed(by, line);
        rows.entry(name).or_default().bill(line, is_charged_back);
        total.bill(line, is_charged_back);
    }
    for line in saved {
        rows.entry(place_of_saved(by, line)).or_default().save(line);
        total.save(line);
    }
    let row = |(name, sums): (Option<&str>, Sums)| SavingsRow {
        name: name.map(str::to_owned),
        sums: sums.told(),
    };
    (rows.into_iter().map(row).collect(), total.told())
}

/// The row of a charge, and whether there is somebody to charge it to.
fn place_of_billed(by: By, line: &Billed) -> (Option<&str>, bool) {
    let Billed { org, model, team, user, codebase, .. } = line;
    let somebody = team.is_some() || user.is_some() || codebase.is_some();
    match by {
        By::Org => (Some(org), somebody),
        By::Model => (Some(model), somebody),
        By::Team => (team.as_deref(), team.is_some()),
        By::User => (user.as_deref(), user.is_some()),
        By::Codebase => (codebase.as_deref(), codebase.is_some()),
    }
}

fn place_of_saved(by: By, line: &Saved) -> Option<&str> {
    let labels = &line.labels;
    match by {
        By::Org => Some(&labels.org),
        By::Model => Some(&labels.model),
        By::Team => labels.team.as_deref(),
        By::User => labels.user.as_deref(),
        By::Codebase => labels.codebase.as_deref(),
    }
}

// === impl Sums ===

impl Sums {
    fn bill(&mut self, line: &Billed, is_charged_back: bool) {
        let back = if is_charged_back { line.charged } else { 0 };
        self.calls = self.calls.saturating_add(line.calls);
        self.billed = self.billed.saturating_add(line.charged);
        self.charged_back = self.charged_back.saturating_add(back);
        self.estimated = self.estimated.saturating_add(line.estimated);
    }

    fn save(&mut self, line: &Saved) {
        let answers = match line.labels.basis {
            Basis::Hit => &mut self.hits,
            Basis::Coalesced => &mut self.coalesced,
        };
        *answers = answers.saturating_add(line.answers);
        self.saved = self.saved.saturating_add(line.avoided.micros().into());
    }

    fn told(self) -> SavingsSums {
        let Self { calls, billed, estimated, charged_back, hits, coalesced, saved } = self;
        SavingsSums {
            calls,
            billed_micro_usd: signed(billed),
            estimated_micro_usd: u64::try_from(estimated).unwrap_or(u64::MAX),
            charged_back_micro_usd: signed(charged_back),
            hits,
            coalesced,
            saved_micro_usd: u64::try_from(saved).unwrap_or(u64::MAX),
        }
    }
}

fn signed(amount: i128) -> i64 {
    i64::try_from(amount).unwrap_or(if amount < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use kt_contract::money::MicroUsd;

    use super::*;
    use crate::store::savings::Labels;

    fn billed(team: Option<&str>, user: Option<&str>, charged: i128) -> Billed {
        Billed {
            org: "acme".to_owned(),
            provider: "openai".to_owned(),
            model: "gpt-4o".to_owned(),
            team: team.map(str::to_owned),
            user: user.map(str::to_owned),
            codebase: None,
            calls: 1,
            charged,
            estimated: 1,
        }
    }

    fn saved(team: Option<&str>, basis: Basis, answers: u64, avoided: u64) -> Saved {
        let labels = Labels {
            day: "2026-11-28".to_owned(),
            org: "acme".to_owned(),
            team: team.map(str::to_owned),
            user: None,
            model: "gpt-4o".to_owned(),
            codebase: None,
            basis,
        };
        Saved { labels, answers, avoided: MicroUsd::new(avoided).unwrap() }
    }

    #[test]
    fn three_numbers_stand_side_by_side_and_none_is_part_of_another() {
        let billed = [
            billed(Some("core"), None, 100),
            billed(None, Some("ada"), 10),
            billed(None, None, -1),
        ];
        let saved = [
            saved(Some("core"), Basis::Hit, 3, 15),
            saved(Some("core"), Basis::Coalesced, 2, 10),
            saved(None, Basis::Hit, 1, 0),
        ];
        let sums = |calls, billed, back, hits, coalesced, saved| SavingsSums {
            calls,
            billed_micro_usd: billed,
            estimated_micro_usd: calls,
            charged_back_micro_usd: back,
            hits,
            coalesced,
            saved_micro_usd: saved,
        };
        let row = |name: Option<&str>, sums| SavingsRow { name: name.map(str::to_owned), sums };
        let all = |back| sums(3, 109, back, 4, 2, 25);
        let nobody = row(None, sums(2, 9, 0, 1, 0, 0));
        let core = row(Some("core"), sums(1, 100, 100, 3, 2, 25));
        assert_eq!(rows(By::Team, &billed, &saved), (vec![nobody, core], all(100)));
        for (by, name) in [(By::Org, "acme"), (By::Model, "gpt-4o")] {
            let expected = (vec![row(Some(name), all(110))], all(110));
            assert_eq!(rows(by, &billed, &saved), expected, "{by:?}");
        }
        let (by_user, total) = rows(By::User, &billed, &saved);
        assert_eq!(by_user.len(), 2);
        assert_eq!(total, all(10));
        let (by_codebase, total) = rows(By::Codebase, &billed, &saved);
        assert_eq!((by_codebase, total), (vec![row(None, all(0))], all(0)));
        assert_eq!(rows(By::Team, &[], &[]), (Vec::new(), SavingsSums::default()));
    }

    #[test]
    fn a_sum_beyond_every_number_is_the_largest_on_its_side() {
        for (charged, expected) in
            [(i128::MIN, i64::MIN), (-1, -1), (0, 0), (1, 1), (i128::MAX, i64::MAX)]
        {
            let (_, total) = rows(By::Org, &[billed(None, None, charged)], &[]);
            assert_eq!(total.billed_micro_usd, expected, "{charged}");
        }
    }

    #[test]
    fn days_are_read_as_people_name_them() {
        let today = date(2026, 11, 28);
        let read = |since, until| Days::read(since, until, Today::everywhere(today));
        for (since, until, first, end) in [
            (None, None, date(2026, 11, 1), date(2026, 11, 29)),
            (Some("7d"), None, date(2026, 11, 21), date(2026, 11, 29)),
            (Some("0d"), None, today, date(2026, 11, 29)),
            (Some("2026-10"), Some("2026-11"), date(2026, 10, 1), date(2026, 11, 1)),
            (Some("2024-02-29"), Some("1d"), date(2024, 2, 29), date(2026, 11, 27)),
        ] {
            assert_eq!(read(since, until), Ok(Days { since: first, until: end }), "{since:?}");
        }
        for (since, until, field) in [
            (Some(""), None, "since"),
            (Some("d"), None, "since"),
            (Some("-1d"), None, "since"),
            (Some("2026-02-30"), None, "since"),
            (Some("2026-1-1"), None, "since"),
            (Some("yesterday"), None, "since"),
            (None, Some("2026-11-28T00:00"), "until"),
            (Some("2026-11-28"), Some("2026-11-28"), "until"),
            (Some("2027-01"), None, "until"),
        ] {
            assert_eq!(read(since, until).map_err(|bad| bad.field), Err(field), "{since:?}");
        }
        // It is tomorrow somewhere.
        let ahead = Today { date: today, latest: date(2026, 11, 29) };
        let until = date(2026, 11, 30);
        for (since, first) in [(None, date(2026, 11, 1)), (Some("1d"), date(2026, 11, 27))] {
            assert_eq!(Days::read(since, None, ahead), Ok(Days { since: first, until }));
        }
    }
}

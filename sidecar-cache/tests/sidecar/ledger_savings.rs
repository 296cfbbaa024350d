//! What was saved, counted by every ledger.

use sidecar_cache::store::savings::{Basis, Gathered, Labels, Saved};

use crate::ledger_support::*;

ledger_suite! {
    what_was_saved_is_added_up_by_labels
    savings_are_those_of_their_days
    savings_are_no_money
    a_sum_that_cannot_be_counted_stays_at_the_most_that_can
}

fn labels(day: &str, org: &str) -> Labels {
    Labels {
        day: day.to_owned(),
        org: org.to_owned(),
        team: None,
        user: None,
        model: "gpt-5".to_owned(),
        codebase: None,
        basis: Basis::Hit,
    }
}

fn saved(labels: Labels, answers: u64, avoided: u64) -> Saved {
    Saved { labels, answers, avoided: usd(avoided) }
}

const DAYS: [&str; 3] = ["2026-11-27", "2026-11-28", "2026-11-29"];

async fn all(store: &Store) -> Vec<Saved> {
    written(store).await;
    store.saved(None, "2026".to_owned(), "2027".to_owned()).await.unwrap()
}

/// Waits until what was noted before is written: what comes after it waits for that too.
async fn written(store: &Store) {
    store.unfreeze("nobody".to_owned()).await.unwrap();
}

async fn what_was_saved_is_added_up_by_labels(store: &Store, _: &Hands) {
    assert_eq!(all(store).await, []);
    let some = |name: &str| Some(name.to_owned());
    let base = labels(DAYS[1], "acme");
    // In the order in which they are told.
    let every = [
        base.clone(),
        Labels { basis: Basis::Coalesced, ..base.clone() },
        Labels { codebase: some("shop"), ..base.clone() },
        Labels { model: "gpt-6".to_owned(), ..base.clone() },
        Labels { user: some("ada"), ..base.clone() },
        Labels { team: some("web"), ..base.clone() },
        labels(DAYS[1], "other"),
        labels(DAYS[2], "acme"),
    ];
    for factor in [1, 10] {
        let lines = (1..).zip(every.clone());
        let noted = lines.map(|(n, labels)| saved(labels, n * factor, 100 * n * factor));
        store.note(noted.collect()).await.unwrap();
    }
    // The same labels twice in one note.
    store.note(vec![saved(base.clone(), 1, 5), saved(base, 2, 5)]).await.unwrap();
    let mut expected: Vec<_> =
        (1..).zip(every).map(|(n, labels)| saved(labels, 11 * n, 1_100 * n)).collect();
    expected[0] = saved(expected[0].labels.clone(), 11 + 3, 1_100 + 10);
    assert_eq!(all(store).await, expected);
}

async fn savings_are_those_of_their_days(store: &Store, _: &Hands) {
    for (n, day) in (1..).zip(DAYS) {
        let lines = ["acme", "other"].map(|org| saved(labels(day, org), n, 0));
        store.note(lines.to_vec()).await.unwrap();
    }
    written(store).await;
    let of = |org: Option<&str>, since: usize, until: &str| {
        store.saved(org.map(str::to_owned), DAYS[since].to_owned(), until.to_owned())
    };
    for (org, since, until, answers) in [
        (Some("acme"), 0, DAYS[0], vec![]),
        (Some("acme"), 0, DAYS[1], vec![1]),
        (Some("acme"), 0, "2027", vec![1, 2, 3]),
        (Some("acme"), 1, DAYS[2], vec![2]),
        (Some("nobody"), 0, "2027", vec![]),
        (None, 1, DAYS[2], vec![2, 2]),
    ] {
        let found = of(org, since, until).await.unwrap();
        let found: Vec<_> = found.iter().map(|line| line.answers).collect();
        assert_eq!(found, answers, "{org:?} {since} {until}");
    }
}

async fn savings_are_no_money(store: &Store, _: &Hands) {
    ask(&**store, fund(1, 100)).await;
    let before = store.accounts("acme".to_owned()).await.unwrap();
    store.note(vec![saved(labels(DAYS[1], "acme"), 1, 1_000)]).await.unwrap();
    written(store).await;
    assert_eq!(store.accounts("acme".to_owned()).await.unwrap(), before);
    assert_eq!(store.history("acme".to_owned(), None, 10).await.unwrap().len(), 1);
}

async fn a_sum_that_cannot_be_counted_stays_at_the_most_that_can(store: &Store, _: &Hands) {
    let most = (1 << 53) - 1;
    for (answers, avoided) in [(u64::MAX, most), (u64::MAX, most), (1, 1)] {
        store.note(vec![saved(labels(DAYS[1], "acme"), answers, avoided)]).await.unwrap();
    }
    assert_eq!(all(store).await, [saved(labels(DAYS[1], "acme"), most, most)]);
}

#[test]
fn what_is_gathered_is_taken_once() {
    let mut gathered = Gathered::default();
    for _ in 0..3 {
        gathered.add(saved(labels(DAYS[1], "acme"), 1, 7));
    }
    assert_eq!(gathered.take(), [saved(labels(DAYS[1], "acme"), 3, 21)]);
    assert_eq!(gathered.take(), []);
}

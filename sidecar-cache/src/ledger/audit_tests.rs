//! An audit of a right book finds nothing, and of each wrong one what is wrong with it, where, and how much.

use super::*;

const TERMS: &str = r#"{"purpose":{"call":{"provider":"openai","model":"gpt-5"}},"shard":0,"cost_max":0,"prices":"p","charges":
    [{"scope":{"user":"ada"},"period":"daily","window":"2026-11-28","until":0,"limit":60}]}"#;
const BUDGET: &str = "budget:user:ada:daily:2026-11-28";

/// A book as it is stored.
#[derive(Clone)]
struct Stored {
    transfers: Vec<RawTransfer>,
    accounts: Vec<RawAccount>,
    live: Vec<RawLive>,
}

fn row(number: u8, kind: &str, hold: u8, amount: i64) -> RawTransfer {
    let has_terms = kind == "pending" || kind == "refund";
    RawTransfer {
        id: [number; 32],
        org: "acme".to_owned(),
        kind: kind.to_owned(),
        hold: (hold > 0).then_some([hold; 32]),
        team: kind.ends_with("allocate").then(|| "web".to_owned()),
        amount,
        at: 1_000,
        terms: has_terms.then(|| TERMS.to_owned()),
    }
}

fn account(name: &str, debits: [i64; 3], credits: [i64; 3]) -> RawAccount {
    RawAccount { org: "acme".to_owned(), name: name.to_owned(), debits, credits }
}

/// 100 funded; a call of 10 that cost 13, of which 2 came back; one of 20 that is open and has grown to 25; one
/// of 5 in suspense; and one of 5 that was there and cost 4 after all.
fn right() -> Stored {
    Stored {
        transfers: vec![
            row(1, "fund", 0, 100),
            row(2, "pending", 0, 10),
            row(3, "post", 2, 10),
            row(4, "overage", 2, 3),
            row(5, "refund", 2, 2),
            row(6, "pending", 0, 20),
            row(7, "extend", 6, 5),
            row(8, "pending", 0, 5),
            row(9, "expire", 8, 5),
            row(10, "pending", 0, 5),
            row(11, "expire", 10, 5),
            row(12, "late_post", 10, 4),
            row(13, "adjust_debit", 0, 7),
            row(14, "adjust_credit", 0, 1),
            row(15, "pending", 0, 9),
            row(16, "void", 15, 9),
        ],
        accounts: vec![
            account("bank", [0, 0, 101], [0, 0, 7]),
            account("wallet", [54, 29, 30], [0, 0, 104]),
            account(BUDGET, [54, 29, 23], [0, 0, 3]),
            account("control", [0, 0, 3], [54, 29, 23]),
            account("spend:openai:0", [0, 0, 2], [54, 29, 17]),
            account("suspense", [0, 0, 5], [0, 0, 10]),
        ],
        live: vec![
            RawLive { org: "acme".to_owned(), hold: [6; 32], is_suspended: false },
            RawLive { org: "acme".to_owned(), hold: [8; 32], is_suspended: true },
        ],
    }
}

fn audit(stored: &Stored, now: i64) -> Vec<(Invariant, String)> {
    let mut auditor = Auditor::default();
    stored.transfers.iter().for_each(|row| auditor.transfer(row));
    stored.accounts.iter().for_each(|account| auditor.account(account));
    stored.live.iter().for_each(|live| auditor.live(live));
    let findings = auditor.finish(|_| now);
    assert_eq!(findings.transfers, u64::try_from(stored.transfers.len()).unwrap());
    let mut found: Vec<_> =
        findings.breaches.into_iter().map(|breach| (breach.invariant, breach.account)).collect();
    found.sort();
    found.dedup();
    found
}

fn broken(how: impl FnOnce(&mut Stored)) -> Vec<(Invariant, String)> {
    let mut stored = right();
    how(&mut stored);
    audit(&stored, 2_000)
}

/// A pending or a refund of a hold that somebody else than the wallet pays for.
fn paid_by(payer: &str, row: RawTransfer) -> RawTransfer {
    let terms = TERMS.replacen('{', &format!(r#"{{"payer":{payer},"#), 1);
    RawTransfer { terms: Some(terms), ..row }
}

const TEAM: &str = r#"{"team":"web"}"#;
const BANK: &str = r#""bank""#;

/// 100 funded, of which 40 went to a team and 3 came back. The team paid a call of 10 that cost 8, of which 2 came
/// back, and one of 5 is open; nobody has paid in advance for one of 7, which is in suspense.
fn of_other_payers() -> Stored {
    Stored {
        transfers: vec![
            row(1, "fund", 0, 100),
            row(2, "allocate", 0, 40),
            paid_by(TEAM, row(3, "pending", 0, 10)),
            row(4, "post", 3, 8),
            paid_by(TEAM, row(5, "refund", 3, 2)),
            paid_by(TEAM, row(6, "pending", 0, 5)),
            paid_by(BANK, row(7, "pending", 0, 7)),
            row(8, "expire", 7, 7),
            row(9, "deallocate", 0, 3),
        ],
        accounts: vec![
            account("bank", [7, 7, 107], [0, 0, 0]),
            account("wallet", [0, 0, 40], [0, 0, 103]),
            account("team:web", [15, 10, 11], [0, 0, 42]),
            account(BUDGET, [22, 17, 15], [0, 0, 2]),
            account("control", [0, 0, 2], [22, 17, 15]),
            account("spend:openai:0", [0, 0, 2], [22, 17, 8]),
            account("suspense", [0, 0, 0], [0, 0, 7]),
        ],
        live: vec![
            RawLive { org: "acme".to_owned(), hold: [6; 32], is_suspended: false },
            RawLive { org: "acme".to_owned(), hold: [7; 32], is_suspended: true },
        ],
    }
}

#[test]
fn a_right_book_is_right() {
    assert_eq!(audit(&right(), 2_000), []);
    assert_eq!(audit(&of_other_payers(), 2_000), []);
}

#[test]
fn a_breach_names_its_hold_as_everything_else_does_and_its_rule_by_number() {
    let found = broken(|stored| drop(stored.live.remove(0)));
    let hold = (Invariant::PendingIsOpen, "06".repeat(32));
    assert!(found.contains(&hold), "{found:?}");
    assert_eq!((hold.0.number(), Invariant::SuspenseDrains.number()), ("I3", "I7"));
}

#[test]
fn a_row_that_has_only_the_provider_is_still_counted() {
    let found = broken(|stored| {
        for terms in stored.transfers.iter_mut().filter_map(|row| row.terms.as_mut()) {
            *terms = terms.replace(r#"{"provider":"openai","model":"gpt-5"}"#, r#""openai""#);
            assert!(terms.contains(r#""call":"openai""#));
        }
    });
    assert_eq!(found, []);
}

#[test]
fn what_went_to_or_from_another_payer_is_found() {
    let found = |how: fn(&mut Stored)| {
        let mut stored = of_other_payers();
        how(&mut stored);
        audit(&stored, 2_000)
    };
    let at = |invariant, name: &str| (invariant, name.to_owned());
    // A refund that the wallet was given.
    let refunded = found(|stored| {
        stored.accounts[1].credits[2] += 2;
        stored.accounts[2].credits[2] -= 2;
    });
    let follow = Invariant::BalancesFollow;
    assert_eq!(refunded, [at(follow, "team:web"), at(follow, "wallet")]);
    // A hold that the wallet has set aside, or the bank.
    for (from, to, names) in [(2, 1, ["team:web", "wallet"]), (0, 2, ["bank", "team:web"])] {
        let mut stored = of_other_payers();
        stored.accounts[from].debits[0] -= 5;
        stored.accounts[to].debits[0] += 5;
        let found = audit(&stored, 2_000);
        for name in names {
            assert!(found.contains(&at(Invariant::PendingIsOpen, name)), "{name}: {found:?}");
        }
    }
}

#[test]
fn a_purse_is_not_overdrawn_and_the_bank_has_no_bounds() {
    for (payer, kind, amount, account) in [
        (TEAM, "pending", 27, Some("team:web")),
        (TEAM, "pending", 26, None),
        (BANK, "pending", 40, None),
        ("", "allocate", 64, Some("wallet")),
        ("", "allocate", 63, None),
        ("", "deallocate", 27, Some("team:web")),
        ("", "deallocate", 26, None),
    ] {
        let mut stored = of_other_payers();
        let row = row(20, kind, 0, amount);
        stored.transfers.push(if payer.is_empty() { row } else { paid_by(payer, row) });
        let found = audit(&stored, 2_000).into_iter();
        let overdrawn = found.filter(|(invariant, _)| *invariant == Invariant::NeverOverdrawn);
        let names: Vec<_> = overdrawn.map(|(_, name)| name).collect();
        assert_eq!(names.first().map(String::as_str), account, "{payer} {kind} {amount}");
    }
}

#[test]
fn every_counter_of_every_account_is_compared() {
    for at in 0..6 {
        for part in 0..3 {
            for is_debit in [true, false] {
                let found = broken(|stored| {
                    let account = &mut stored.accounts[at];
                    let side = if is_debit { &mut account.debits } else { &mut account.credits };
                    side[part] += 1;
                });
                let name = right().accounts[at].name.clone();
                assert!(found.contains(&(Invariant::BalancesFollow, name.clone())), "{name}");
                let sums = (Invariant::DebitsEqualCredits, "all accounts".to_owned());
                assert!(found.contains(&sums), "{name}");
            }
        }
    }
}

#[test]
fn an_account_that_is_gone_is_missed() {
    let found = broken(|stored| _ = stored.accounts.remove(5));
    assert!(found.contains(&(Invariant::BalancesFollow, "suspense".to_owned())), "{found:?}");
}

#[test]
fn a_transfer_that_is_gone_or_another_amount_is_found() {
    for at in 0..right().transfers.len() {
        let gone = broken(|stored| _ = stored.transfers.remove(at));
        assert!(!gone.is_empty(), "without {:?}", right().transfers[at]);
        let other = broken(|stored| stored.transfers[at].amount += 1);
        assert!(!other.is_empty(), "one more in {:?}", right().transfers[at]);
    }
}

#[test]
fn a_pending_amount_without_an_open_hold_is_found() {
    let found = broken(|stored| {
        // Both sides are wrong alike, so that the sums agree.
        stored.accounts[1].debits[0] += 9;
        stored.accounts[4].credits[0] += 9;
    });
    assert!(found.contains(&(Invariant::PendingIsOpen, "wallet".to_owned())), "{found:?}");
    assert!(!found.iter().any(|(invariant, _)| *invariant == Invariant::DebitsEqualCredits));
}

#[test]
fn the_list_of_live_holds_is_that_of_the_transfers() {
    let hold = |number: u8| (Invariant::PendingIsOpen, hex(&[number; 32]));
    assert_eq!(broken(|stored| _ = stored.live.remove(0)), [hold(6)]);
    assert_eq!(broken(|stored| stored.live[0].is_suspended = true), [hold(6)]);
    assert_eq!(broken(|stored| stored.live[1].is_suspended = false), [hold(8)]);
    let ended = RawLive { org: "acme".to_owned(), hold: [2; 32], is_suspended: false };
    assert_eq!(broken(|stored| stored.live.push(ended)), [hold(2)]);
}

#[test]
fn a_hold_that_ends_twice_is_found() {
    for (kind, hold) in [
        ("post", 2),
        ("void", 2),
        ("expire", 2),
        ("late_post", 2),
        ("late_post", 10),
        ("late_void", 10),
        ("return", 10),
        ("post", 8),
        ("void", 8),
        ("expire", 8),
        ("late_post", 6),
        ("late_void", 6),
        ("return", 6),
        ("extend", 8),
        ("post", 99),
        ("overage", 2),
    ] {
        let found = broken(|stored| stored.transfers.push(row(20, kind, hold, 5)));
        let expected = (Invariant::OneEnd, hex(&[hold; 32]));
        assert!(found.contains(&expected), "{kind} of {hold}: {found:?}");
    }
    let found = broken(|stored| stored.transfers.push(row(6, "pending", 0, 0)));
    assert!(found.contains(&(Invariant::OneEnd, hex(&[6; 32]))), "{found:?}");
}

#[test]
fn what_was_not_there_was_not_reserved() {
    for (number, kind, hold, amount, account) in [
        (20, "pending", 0, 1_000, "wallet"),
        (20, "extend", 6, 1_000, "wallet"),
        (20, "adjust_debit", 0, 1_000, "wallet"),
        // The budget of 60 has 15 left, the wallet 49.
        (20, "pending", 0, 16, BUDGET),
        (20, "extend", 6, 16, BUDGET),
    ] {
        let found = broken(|stored| stored.transfers.push(row(number, kind, hold, amount)));
        let expected = (Invariant::NeverOverdrawn, account.to_owned());
        assert!(found.contains(&expected), "{kind} {amount}: {found:?}");
    }
    let found = broken(|stored| stored.transfers.push(row(20, "pending", 0, 15)));
    assert!(!found.iter().any(|(invariant, _)| *invariant == Invariant::NeverOverdrawn));
}

#[test]
fn suspense_drains_within_a_day_and_an_hour() {
    let last = 1_000 + SUSPENSE_MS_MAX;
    assert_eq!(audit(&right(), last), []);
    assert_eq!(audit(&right(), last + 1), [(Invariant::SuspenseDrains, hex(&[8; 32]))]);
}

#[test]
fn what_comes_after_a_return_is_paid_by_the_wallet() {
    let found = broken(|stored| {
        stored.transfers.push(row(20, "return", 8, 5));
        stored.transfers.push(row(21, "late_post", 8, 5));
        stored.accounts[1] = account("wallet", [54, 29, 35], [0, 0, 109]);
        stored.accounts[2] = account(BUDGET, [54, 29, 28], [0, 0, 8]);
        stored.accounts[3] = account("control", [0, 0, 8], [54, 29, 28]);
        stored.accounts[4] = account("spend:openai:0", [0, 0, 2], [54, 29, 22]);
        stored.accounts[5] = account("suspense", [0, 0, 10], [0, 0, 10]);
        stored.live.pop();
    });
    assert_eq!(found, []);
}

#[test]
fn a_row_without_sense_is_a_breach() {
    for (kind, hold, terms) in [
        ("pending", 0, None),
        ("pending", 0, Some("{}")),
        ("pending", 0, Some("no json")),
        ("refund", 2, None),
        ("windfall", 0, None),
        ("post", 0, None),
        ("pending", 0, Some(r#"{"payer":7,"purpose":{"call":"openai"},"shard":0,"charges":[]}"#)),
    ] {
        let terms = terms.map(str::to_owned);
        let found = broken(|stored| {
            stored.transfers.push(RawTransfer { terms, ..row(20, kind, hold, 0) });
        });
        assert_eq!(found, [(Invariant::BalancesFollow, hex(&[20; 32]))], "{kind}");
    }
}

#[test]
fn an_allocation_to_nobody_is_a_breach() {
    let found = broken(|stored| {
        stored.transfers.push(RawTransfer { team: None, ..row(20, "allocate", 0, 1) });
    });
    assert_eq!(found, [(Invariant::BalancesFollow, hex(&[20; 32]))]);
}

#[test]
fn a_breach_says_what_should_be_and_what_is() {
    let mut auditor = Auditor::default();
    auditor.transfer(&row(1, "fund", 0, 100));
    auditor.account(&account("wallet", [0, 0, 0], [0, 0, 90]));
    auditor.account(&account("bank", [0, 0, 100], [0, 0, 0]));
    let told: Vec<_> = auditor.finish(|_| 0).breaches.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "I2 balances follow from transfers: wallet of acme: expected debits [0, 0, 0], credits \
             [0, 0, 100], found debits [0, 0, 0], credits [0, 0, 90]",
            "I1 debits equal credits: all accounts of acme: expected 100, found 90",
        ]
    );
}

/// A pending of a call that was drawn from the allotment of this number.
fn drawn_from(allotment: u8, row: RawTransfer) -> RawTransfer {
    let drawn = hex(&[allotment; 32]);
    let terms = format!(
        r#"{{"purpose":{{"call":{{"provider":"openai"}}}},"shard":0,"charges":[],"drawn":"{drawn}"}}"#
    );
    RawTransfer { terms: Some(terms), ..row }
}

fn allotment(row: RawTransfer) -> RawTransfer {
    let terms = r#"{"purpose":{"allotment":"sidecar-a"},"shard":0,"charges":[]}"#;
    RawTransfer { terms: Some(terms.to_owned()), ..row }
}

/// 50 funded, of which 40 are allotted: a call of 10 that cost 7 was drawn, and one of 30 that costs 5 more than that
/// was drawn from suspense; the rest is there still.
fn with_an_allotment() -> Stored {
    Stored {
        transfers: vec![
            row(1, "fund", 0, 50),
            allotment(row(2, "pending", 0, 40)),
            row(3, "draw", 2, 7),
            drawn_from(2, row(4, "pending", 0, 10)),
            row(5, "post", 4, 7),
            row(6, "expire", 2, 33),
            row(7, "draw", 2, 30),
            drawn_from(2, row(8, "pending", 0, 30)),
            row(9, "post", 8, 30),
            row(10, "overage", 8, 5),
        ],
        accounts: vec![
            account("bank", [0, 0, 50], [0, 0, 0]),
            account("wallet", [80, 80, 75], [0, 0, 80]),
            account("allotment:sidecar-a", [0, 0, 0], [40, 40, 0]),
            account("spend:openai:0", [0, 0, 0], [40, 40, 42]),
            account("suspense", [0, 0, 30], [0, 0, 33]),
        ],
        live: vec![RawLive { org: "acme".to_owned(), hold: [2; 32], is_suspended: true }],
    }
}

#[test]
fn what_was_drawn_from_an_allotment_need_not_be_there_and_is_no_more_than_that() {
    assert_eq!(audit(&with_an_allotment(), 2_000), []);
    let broken = |how: &dyn Fn(&mut Stored)| {
        let mut stored = with_an_allotment();
        how(&mut stored);
        audit(&stored, 2_000)
    };
    // More than the allotment holds.
    let found = broken(&|stored| stored.transfers[6].amount = 34);
    assert!(found.contains(&(Invariant::NeverOverdrawn, hex(&[2; 32]))), "{found:?}");
    // More is charged than was drawn, or something though nothing was.
    let found = broken(&|stored| stored.transfers[4].amount = 8);
    assert!(found.contains(&(Invariant::NeverOverdrawn, hex(&[4; 32]))), "{found:?}");
    let found = broken(&|stored| drop(stored.transfers.remove(6)));
    assert!(found.contains(&(Invariant::NeverOverdrawn, hex(&[8; 32]))), "{found:?}");
    // A draw without its call.
    let found = broken(&|stored| drop(stored.transfers.drain(7..)));
    assert!(found.contains(&(Invariant::EveryCallOnce, hex(&[2; 32]))), "{found:?}");
    let found = broken(&|stored| stored.transfers[7] = drawn_from(9, row(8, "pending", 0, 30)));
    assert!(found.contains(&(Invariant::EveryCallOnce, hex(&[2; 32]))), "{found:?}");
    // From a call's hold, or from nothing.
    for from in [4, 99] {
        let found = broken(&|stored| stored.transfers.push(row(20, "draw", from, 1)));
        assert!(found.contains(&(Invariant::OneEnd, hex(&[from; 32]))), "{found:?}");
    }
    let found = broken(&|stored| {
        stored.transfers[3].terms = Some(
            r#"{"purpose":{"call":"openai"},"shard":0,"charges":[],"drawn":"no id"}"#.to_owned(),
        )
    });
    assert!(found.contains(&(Invariant::BalancesFollow, hex(&[4; 32]))), "{found:?}");
}

#[test]
fn nothing_is_drawn_from_a_call_that_is_open_or_in_suspense() {
    for hold in [6, 8] {
        let found = broken(|stored| stored.transfers.push(row(17, "draw", hold, 5)));
        assert!(found.contains(&(Invariant::OneEnd, hex(&[hold; 32]))), "{found:?}");
    }
}

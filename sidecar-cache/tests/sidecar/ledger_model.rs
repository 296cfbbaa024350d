//! The ledger against a model of it that is as naive as can be: it keeps no counters, and finds every balance by
//! asking each hold what it takes. The store in memory and the one that lasts have to give its answers and its balances
//! after every step, and the latter after a restart as well.

use std::collections::BTreeMap;

use proptest::prelude::*;
use sidecar_cache::ledger::Operation;
use sidecar_cache::ledger::account::Scope;
use sidecar_cache::ledger::request::{
    Budget, Direction, Draw, DrawnEnd, Funding, OpenCalls, Purpose, Reserve,
};
use sidecar_cache::ledger::window::{Period, Zone};
use sidecar_cache::store::ledger::LedgerStore;
use sidecar_cache::store::ledger::memory::MemoryLedger;

use crate::ledger_support::*;

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Fund { id: u64, amount: u64 },
    Adjust { id: u64, amount: u64, into: bool },
    Allocate { id: u64, amount: u64, into: bool },
    OpenCalls { id: u64, amount: u64 },
    Reserve { id: u64, amount: u64, limits: Limits, by: Caller },
    Allot { id: u64, amount: u64, by: Caller },
    Draw { from: u64, id: u64, amount: u64, by: Caller, end: DrawEnd },
    Extend { hold: u64, total: u64 },
    Settle { hold: u64, actual: u64 },
    LateSettle { hold: u64, actual: u64 },
    Release { hold: u64 },
    Expire { hold: u64 },
    Return { hold: u64 },
    Refund { id: u64, hold: u64, amount: u64 },
    ExpireDue,
    Freeze(bool),
    Pass(u64),
    Restart,
}

/// What its budgets allow: the organization's of the day, and a user's of the month.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Limits {
    daily: Option<u64>,
    monthly: Option<u64>,
}

/// A budget's window, by what has passed of days or months.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Window {
    Day(u64),
    Month(usize),
}

/// How a call from an allotment ends that is booked.
#[derive(Clone, Copy, Debug, PartialEq)]
enum DrawEnd {
    GoesOn,
    Cost(u64),
    CostsNothing,
}

/// Whose call it is: of a team or not, or of an organization that pays later.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Caller {
    Nobody,
    Web,
    Postpaid,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Payer {
    Wallet,
    Web,
    Bank,
    /// Who was called without anybody being asked; pays nothing.
    Provider,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Is {
    Open(u64),
    Settled(u64),
    Released,
    Expired(u64),
    LateSettled(u64),
    LateReleased,
    Returned,
}

#[derive(Clone, Debug)]
struct Held {
    first: u64,
    held: u64,
    refunded: u64,
    /// The windows that it was reserved in, and the limit of each.
    limits: Vec<(Window, u64)>,
    payer: Payer,
    what: What,
    is: Is,
}

/// What it is for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    Call,
    Allotment,
    /// A call out of this allotment.
    CallFrom(u64),
}

#[derive(Default)]
struct Naive {
    paid_in: BTreeMap<Payer, i128>,
    others: BTreeMap<u64, String>,
    holds: BTreeMap<u64, Held>,
    is_frozen: bool,
    now: u64,
}

impl Limits {
    /// In the order in which they are asked.
    fn at(self, now: u64) -> Vec<(Window, u64)> {
        let daily = self.daily.map(|limit| (Window::day(now), limit));
        let monthly = self.monthly.map(|limit| (Window::month(now), limit));
        daily.into_iter().chain(monthly).collect()
    }

    fn budgets(self) -> Vec<Budget> {
        let daily = self.daily.map(|limit| budget(Scope::Org, Period::Daily, limit));
        let user = || Scope::User("ada".to_owned());
        let monthly = self.monthly.map(|limit| budget(user(), Period::Monthly, limit));
        daily.into_iter().chain(monthly).collect()
    }
}

impl Window {
    const fn day(now: u64) -> Self {
        Self::Day(now / DAY)
    }

    /// The first days of December and the months after it are this far from 28 November, when all begins.
    fn month(now: u64) -> Self {
        let passed = now / DAY - NOON / DAY;
        Self::Month([3, 34, 65, 93, 124, 154].iter().filter(|first| passed >= **first).count())
    }

    /// The account that counts it.
    fn account(self) -> String {
        match self {
            Self::Day(day) => {
                let at = kt_contract::time::UnixMillis(day * DAY);
                format!("budget:org:daily:{}", Zone::utc().window(Period::Daily, at).name)
            }
            Self::Month(passed) => {
                let month =
                    ["2026-11", "2026-12", "2027-01", "2027-02", "2027-03", "2027-04", "2027-05"]
                        [passed];
                format!("budget:user:ada:monthly:{month}")
            }
        }
    }
}

impl Held {
    /// Whether this is who has paid, or could have.
    fn may_be_of(&self, by: Caller) -> bool {
        match self.payer {
            Payer::Bank => by == Caller::Postpaid,
            Payer::Web => by == Caller::Web,
            Payer::Wallet => by != Caller::Postpaid,
            Payer::Provider => false,
        }
    }

    /// What it takes, from who pays and from its budget.
    fn takes(&self) -> i128 {
        match self.is {
            Is::Open(_) | Is::Expired(_) => self.held.into(),
            Is::Settled(actual) | Is::LateSettled(actual) => {
                i128::from(actual) - i128::from(self.refunded)
            }
            Is::Released | Is::LateReleased | Is::Returned => 0,
        }
    }
}

impl DrawEnd {
    /// What a call takes out of its allotment.
    fn takes(self, amount: u64) -> u64 {
        match self {
            Self::GoesOn => amount,
            Self::Cost(actual) => amount.min(actual),
            Self::CostsNothing => 0,
        }
    }
}

impl Naive {
    /// Whether somebody could ask for this: a sidecar makes no call out of an allotment that it has not the money
    /// for, and where one does all the same, the audit says so.
    fn is_asked(&self, step: Step) -> bool {
        let Step::Draw { from, amount, end, .. } = step else { return true };
        Place::HAS_DRAWS && self.holds.get(&from).is_none_or(|held| end.takes(amount) <= held.held)
    }

    fn available(&self, payer: Payer) -> i128 {
        let paid = self.holds.values().filter(|held| held.payer == payer).map(Held::takes);
        self.paid_in.get(&payer).unwrap_or(&0) - paid.sum::<i128>()
    }

    fn spent_in(&self, window: Window) -> i128 {
        let is_in = |held: &&Held| held.limits.iter().any(|(of, _)| *of == window);
        self.holds.values().filter(is_in).map(Held::takes).sum()
    }

    fn suspense(&self) -> i128 {
        let suspended = |held: &&Held| matches!(held.is, Is::Expired(_));
        self.holds.values().filter(suspended).map(Held::takes).sum()
    }

    fn is_short(&self, payer: Payer, amount: u64) -> Option<String> {
        let name = match payer {
            Payer::Wallet => "wallet",
            Payer::Web => "purse:web",
            Payer::Bank | Payer::Provider => return None,
        };
        (self.available(payer) < amount.into()).then(|| format!("insufficient:{name}"))
    }

    /// The payer is asked first, then each budget in its order.
    fn short(&self, payer: Payer, amount: u64, limits: &[(Window, u64)]) -> Option<String> {
        if let Some(short) = self.is_short(payer, amount) {
            return Some(short);
        }
        let is_spent = |(window, limit): &&(Window, u64)| {
            i128::from(*limit) - self.spent_in(*window) < amount.into()
        };
        limits.iter().find(is_spent).map(|(window, _)| match window {
            Window::Day(_) => "insufficient:org".to_owned(),
            Window::Month(_) => "insufficient:user:ada".to_owned(),
        })
    }

    fn charged(&self) -> i128 {
        // What an allotment's holder has spent, its calls tell.
        let is_charged = |held: &&Held| {
            matches!(held.is, Is::Settled(_) | Is::LateSettled(_)) && held.what != What::Allotment
        };
        self.holds.values().filter(is_charged).map(Held::takes).sum()
    }

    fn known(&self, id: u64, answer: &str) -> Option<String> {
        if self.holds.contains_key(&id) {
            return Some("exists_different".to_owned());
        }
        let known = self.others.get(&id)?;
        Some(if known == answer {
            format!("exists {}", word_of(answer))
        } else {
            "exists_different".to_owned()
        })
    }

    fn step(&mut self, step: Step) -> String {
        match step {
            Step::Fund { id, amount } => {
                self.other(id, amount, &format!("fund {amount}"), (Payer::Bank, Payer::Wallet))
            }
            Step::Adjust { id, amount, into: true } => {
                let answer = format!("adjust_credit {amount}");
                self.other(id, amount, &answer, (Payer::Bank, Payer::Wallet))
            }
            Step::Adjust { id, amount, into: false } => {
                let answer = format!("adjust_debit {amount}");
                self.other(id, amount, &answer, (Payer::Wallet, Payer::Bank))
            }
            Step::Allocate { id, amount, into: true } => {
                let answer = format!("allocate {amount}");
                self.other(id, amount, &answer, (Payer::Wallet, Payer::Web))
            }
            Step::Allocate { id, amount, into: false } => {
                let answer = format!("deallocate {amount}");
                self.other(id, amount, &answer, (Payer::Web, Payer::Wallet))
            }
            // They are made: nobody is asked.
            Step::OpenCalls { id, amount } => self.moved(
                id,
                amount,
                &format!("open_calls {amount}"),
                (Payer::Wallet, Payer::Provider),
            ),
            Step::Reserve { id, amount, limits, by } => {
                self.reserve((id, amount, by), limits, What::Call)
            }
            Step::Allot { id, amount, by } => {
                self.reserve((id, amount, by), Limits::default(), What::Allotment)
            }
            Step::Draw { from, id, amount, by, end } => self.draw(from, (id, amount, by), end),
            Step::Extend { hold, total } => self.extend(hold, total),
            Step::Settle { hold, actual } => self.settle(hold, actual, false),
            Step::LateSettle { hold, actual } => self.settle(hold, actual, true),
            Step::Release { hold } => self.release(hold),
            Step::Expire { hold } => self.expire(hold),
            Step::Return { hold } => self.give_back(hold),
            Step::Refund { id, hold, amount } => self.refund(id, hold, amount),
            Step::ExpireDue => {
                let (before, now) = (self.holds.clone(), self.now);
                let mut count = 0;
                for (id, held) in before {
                    if let Is::Open(at) = held.is
                        && at <= now
                    {
                        self.expire(id);
                        count += 1;
                    }
                    if let Is::Expired(at) = held.is
                        && at <= now
                    {
                        self.give_back(id);
                        count += 1;
                    }
                }
                count.to_string()
            }
            Step::Freeze(is_frozen) => {
                self.is_frozen = is_frozen;
                String::new()
            }
            Step::Pass(millis) => {
                self.now += millis;
                String::new()
            }
            Step::Restart => String::new(),
        }
    }

    fn other(&mut self, id: u64, amount: u64, answer: &str, (from, to): (Payer, Payer)) -> String {
        if self.known(id, answer).is_none()
            && amount > 0
            && let Some(short) = self.is_short(from, amount)
        {
            return short;
        }
        self.moved(id, amount, answer, (from, to))
    }

    fn moved(&mut self, id: u64, amount: u64, answer: &str, (from, to): (Payer, Payer)) -> String {
        if let Some(known) = self.known(id, answer) {
            return known;
        }
        if amount == 0 {
            return "bad_amount".to_owned();
        }
        *self.paid_in.entry(from).or_default() -= i128::from(amount);
        *self.paid_in.entry(to).or_default() += i128::from(amount);
        self.others.insert(id, answer.to_owned());
        format!("created {answer}")
    }

    fn payer(&self, by: Caller) -> Payer {
        match by {
            Caller::Postpaid => Payer::Bank,
            // Whoever was given something has an entry, even when it is given back.
            Caller::Web if self.paid_in.contains_key(&Payer::Web) => Payer::Web,
            Caller::Web | Caller::Nobody => Payer::Wallet,
        }
    }

    fn reserve(
        &mut self,
        (id, amount, by): (u64, u64, Caller),
        limits: Limits,
        what: What,
    ) -> String {
        if let Some(held) = self.holds.get(&id) {
            let is_same = held.first == amount
                && held.limits.iter().any(|(of, _)| matches!(of, Window::Day(_)))
                    == limits.daily.is_some()
                && held.limits.iter().any(|(of, _)| matches!(of, Window::Month(_)))
                    == limits.monthly.is_some()
                && (held.what == What::Allotment) == (what == What::Allotment)
                && held.may_be_of(by);
            return if is_same {
                format!("exists pending {amount}")
            } else {
                "exists_different".to_owned()
            };
        }
        if self.others.contains_key(&id) {
            return "exists_different".to_owned();
        }
        if self.is_frozen {
            return "frozen".to_owned();
        }
        let limits = limits.at(self.now);
        let payer = self.payer(by);
        if let Some(short) = self.short(payer, amount, &limits) {
            return short;
        }
        let is = Is::Open(self.now + TTL);
        let held = Held { first: amount, held: amount, refunded: 0, limits, payer, what, is };
        self.holds.insert(id, held);
        format!("created pending {amount}")
    }

    /// A call that was made out of an allotment: nobody is asked whether there is money for it.
    fn draw(&mut self, from: u64, (id, amount, by): (u64, u64, Caller), end: DrawEnd) -> String {
        let mut said = format!("exists pending {amount}");
        if let Some(held) = self.holds.get(&id) {
            let is_same = held.what == What::CallFrom(from) && held.first == amount;
            if !is_same || !held.may_be_of(by) {
                return "exists_different".to_owned();
            }
        } else if self.others.contains_key(&id) {
            return "exists_different".to_owned();
        } else {
            let allotment = self.holds.get_mut(&from);
            let Some(allotment) = allotment.filter(|held| held.what == What::Allotment) else {
                return "not_found".to_owned();
            };
            if matches!(allotment.is, Is::Open(_) | Is::Expired(_)) {
                allotment.held -= end.takes(amount);
            }
            let (payer, what) = (allotment.payer, What::CallFrom(from));
            let is = Is::Open(self.now + TTL);
            let held = Held {
                first: amount,
                held: amount,
                refunded: 0,
                limits: Vec::new(),
                payer,
                what,
                is,
            };
            self.holds.insert(id, held);
            said = format!("created pending {amount}");
        }
        match end {
            DrawEnd::GoesOn => said,
            DrawEnd::Cost(actual) => self.settle(id, actual, false),
            DrawEnd::CostsNothing => self.release(id),
        }
    }

    fn extend(&mut self, id: u64, total: u64) -> String {
        let Some(held) = self.holds.get(&id).cloned() else { return "not_found".to_owned() };
        let at = match held.is {
            Is::Open(at) => at.max(self.now + TTL),
            Is::Settled(_) | Is::LateSettled(_) => return "already_settled".to_owned(),
            Is::Released | Is::LateReleased => return "already_released".to_owned(),
            Is::Expired(_) | Is::Returned => return "expired".to_owned(),
        };
        let grown = total.max(held.held);
        if grown > held.held {
            if self.is_frozen {
                return "frozen".to_owned();
            }
            if let Some(short) = self.short(held.payer, grown - held.held, &held.limits) {
                return short;
            }
        }
        let made = if grown > held.held { "created" } else { "exists" };
        self.holds.insert(id, Held { held: grown, is: Is::Open(at), ..held });
        format!("{made} extend {grown}")
    }

    fn settle(&mut self, id: u64, actual: u64, is_late: bool) -> String {
        let Some(held) = self.holds.get_mut(&id) else { return "not_found".to_owned() };
        let (is, answer) = match held.is {
            Is::Open(_) if is_late => return "not_expired".to_owned(),
            Is::Open(_) => (Is::Settled(actual), format!("created post {actual}")),
            Is::Settled(before) if before == actual && !is_late => {
                return format!("exists post {actual}");
            }
            Is::LateSettled(before) if before == actual => {
                return format!("exists late_post {actual}");
            }
            Is::Settled(_) | Is::LateSettled(_) => return "already_settled".to_owned(),
            Is::Released | Is::LateReleased => return "already_released".to_owned(),
            Is::Expired(_) | Is::Returned => {
                (Is::LateSettled(actual), format!("created late_post {actual}"))
            }
        };
        held.is = is;
        answer
    }

    fn release(&mut self, id: u64) -> String {
        let Some(held) = self.holds.get_mut(&id) else { return "not_found".to_owned() };
        let amount = held.held;
        match held.is {
            Is::Open(_) => {
                held.is = Is::Released;
                format!("created void {amount}")
            }
            Is::Expired(_) => {
                held.is = Is::LateReleased;
                format!("created late_void {amount}")
            }
            Is::Settled(_) | Is::LateSettled(_) => "already_settled".to_owned(),
            Is::Released => format!("exists void {amount}"),
            Is::LateReleased => format!("exists late_void {amount}"),
            Is::Returned => format!("exists return {amount}"),
        }
    }

    fn expire(&mut self, id: u64) -> String {
        let now = self.now;
        let Some(held) = self.holds.get_mut(&id) else { return "not_found".to_owned() };
        match held.is {
            Is::Open(at) if at > now => "not_due".to_owned(),
            Is::Open(_) => {
                held.is = Is::Expired(now + DAY);
                format!("created expire {}", held.held)
            }
            Is::Settled(_) => "already_settled".to_owned(),
            Is::Released => "already_released".to_owned(),
            Is::Expired(_) | Is::LateSettled(_) | Is::LateReleased | Is::Returned => {
                format!("exists expire {}", held.held)
            }
        }
    }

    fn give_back(&mut self, id: u64) -> String {
        let now = self.now;
        let Some(held) = self.holds.get_mut(&id) else { return "not_found".to_owned() };
        match held.is {
            Is::Open(_) => "not_expired".to_owned(),
            Is::Settled(_) | Is::LateSettled(_) => "already_settled".to_owned(),
            Is::Released | Is::LateReleased => "already_released".to_owned(),
            Is::Expired(at) if at > now => "not_due".to_owned(),
            Is::Expired(_) => {
                held.is = Is::Returned;
                format!("created return {}", held.held)
            }
            Is::Returned => format!("exists return {}", held.held),
        }
    }

    fn refund(&mut self, id: u64, hold: u64, amount: u64) -> String {
        let answer = format!("refund {amount} of {hold}");
        if let Some(known) = self.known(id, &answer) {
            return known;
        }
        if amount == 0 {
            return "bad_amount".to_owned();
        }
        let Some(held) = self.holds.get_mut(&hold) else { return "not_found".to_owned() };
        let (Is::Settled(actual) | Is::LateSettled(actual)) = held.is else {
            return "not_settled".to_owned();
        };
        if held.refunded + amount > actual {
            return "exceeds_charge".to_owned();
        }
        held.refunded += amount;
        self.others.insert(id, answer);
        format!("created refund {amount}")
    }
}

/// The answer without what only the model notes.
fn word_of(answer: &str) -> &str {
    answer.split(" of ").next().unwrap_or_default()
}

fn reserved(id: u64, amount: u64, by: Caller) -> Reserve {
    let mut asked = reservation(id, amount, Vec::new());
    match by {
        Caller::Nobody => {}
        Caller::Web => asked.team = Some("web".to_owned()),
        Caller::Postpaid => asked.funding = Funding::Postpaid,
    }
    asked
}

fn operation(step: Step) -> Option<Operation> {
    Some(match step {
        Step::Fund { id, amount } => fund(id, amount),
        Step::Adjust { id, amount, into } => {
            adjust(id, amount, if into { Direction::Credit } else { Direction::Debit })
        }
        Step::Allocate { id, amount, into } => {
            allocate(id, "web", amount, if into { Direction::Credit } else { Direction::Debit })
        }
        Step::Reserve { id, amount, limits, by } => {
            Operation::Reserve(Reserve { budgets: limits.budgets(), ..reserved(id, amount, by) })
        }
        Step::Allot { id, amount, by } => Operation::Reserve(Reserve {
            purpose: Purpose::Allotment("sidecar-a".to_owned()),
            ..reserved(id, amount, by)
        }),
        Step::Draw { from, id: of, amount, by, end } => Operation::Draw(Draw {
            allotment: id(from),
            reserve: reserved(of, amount, by),
            end: match end {
                DrawEnd::GoesOn => None,
                DrawEnd::Cost(actual) => {
                    Some(DrawnEnd::Settle { actual: usd(actual), estimated: false })
                }
                DrawEnd::CostsNothing => Some(DrawnEnd::Release),
            },
        }),
        Step::OpenCalls { id: of, amount } => Operation::OpenCalls(OpenCalls {
            id: id(of),
            org: "acme".to_owned(),
            amount: usd(amount),
            note: "test".to_owned(),
        }),
        Step::Extend { hold, total } => extend(hold, total),
        Step::Settle { hold, actual } => settle(hold, actual),
        Step::LateSettle { hold, actual } => late_settle(hold, actual),
        Step::Release { hold } => release(hold),
        Step::Expire { hold } => expire(hold),
        Step::Return { hold } => give_back(hold),
        Step::Refund { id, hold, amount } => refund(id, hold, amount),
        Step::ExpireDue | Step::Freeze(_) | Step::Pass(_) | Step::Restart => return None,
    })
}

fn end() -> impl Strategy<Value = DrawEnd> {
    prop_oneof![
        1 => Just(DrawEnd::GoesOn),
        3 => (0..40_u64).prop_map(DrawEnd::Cost),
        1 => Just(DrawEnd::CostsNothing),
    ]
}

fn caller() -> impl Strategy<Value = Caller> {
    prop_oneof![2 => Just(Caller::Nobody), 2 => Just(Caller::Web), 1 => Just(Caller::Postpaid)]
}

fn limits() -> impl Strategy<Value = Limits> {
    let limit = || proptest::option::of(20..200_u64);
    (limit(), limit()).prop_map(|(daily, monthly)| Limits { daily, monthly })
}

/// Few ids and small amounts, so that steps meet.
fn step() -> impl Strategy<Value = Step> {
    let id = || 0..8_u64;
    let amount = || prop_oneof![1 => Just(0), 6 => 1..40_u64, 1 => Just(400)];
    prop_oneof![
        3 => (100..108_u64, amount()).prop_map(|(id, amount)| Step::Fund { id, amount: amount * 5 }),
        1 => (prop_oneof![100..108_u64, id()], amount(), any::<bool>())
            .prop_map(|(id, amount, into)| Step::Adjust { id, amount, into }),
        2 => (prop_oneof![100..108_u64, id()], amount(), prop_oneof![2 => Just(true), 1 => Just(false)])
            .prop_map(|(id, amount, into)| Step::Allocate { id, amount, into }),
        8 => (id(), amount(), limits(), caller())
            .prop_map(|(id, amount, limits, by)| Step::Reserve { id, amount, limits, by }),
        1 => (prop_oneof![100..108_u64, id()], amount())
            .prop_map(|(id, amount)| Step::OpenCalls { id, amount }),
        3 => (id(), amount(), caller()).prop_map(|(id, amount, by)| Step::Allot { id, amount, by }),
        6 => (id(), id(), amount(), caller(), end())
            .prop_map(|(from, id, amount, by, end)| Step::Draw { from, id, amount, by, end }),
        2 => (id(), amount()).prop_map(|(hold, total)| Step::Extend { hold, total }),
        4 => (id(), amount()).prop_map(|(hold, actual)| Step::Settle { hold, actual }),
        2 => (id(), amount()).prop_map(|(hold, actual)| Step::LateSettle { hold, actual }),
        2 => id().prop_map(|hold| Step::Release { hold }),
        2 => id().prop_map(|hold| Step::Expire { hold }),
        1 => id().prop_map(|hold| Step::Return { hold }),
        2 => (100..116_u64, id(), amount())
            .prop_map(|(id, hold, amount)| Step::Refund { id, hold, amount }),
        1 => Just(Step::ExpireDue),
        1 => prop_oneof![1 => Just(true), 3 => Just(false)].prop_map(Step::Freeze),
        4 => prop_oneof![Just(1), Just(TTL / 2), Just(TTL), Just(DAY), Just(3 * DAY)]
            .prop_map(Step::Pass),
        1 => Just(Step::Restart),
    ]
}

async fn done(store: &dyn LedgerStore, step: Step) -> String {
    let org = "acme".to_owned();
    match (operation(step), step) {
        (Some(operation), _) => ask(store, operation).await,
        (None, Step::ExpireDue) => store.expire_due(1_000).await.unwrap().to_string(),
        (None, Step::Freeze(true)) => {
            store.freeze(org, String::new()).await.unwrap();
            String::new()
        }
        (None, Step::Freeze(false)) => {
            store.unfreeze(org).await.unwrap();
            String::new()
        }
        (None, _) => String::new(),
    }
}

/// The wallet, the purse, the bank, suspense, and what was spent in each window that anything was reserved in.
async fn stands(store: &dyn LedgerStore, windows: &[Window]) -> ([i128; 4], Vec<i128>) {
    let balance = store.balance("acme".to_owned()).await.unwrap();
    let accounts: BTreeMap<_, _> =
        store.accounts("acme".to_owned()).await.unwrap().into_iter().collect();
    let spent = windows
        .iter()
        .map(|window| accounts.get(&window.account()).map_or(0, |account| -account.available()));
    let purse = balance.purses.first().map_or(0, |(_, purse)| purse.available());
    let bank = accounts.get("bank").map_or(0, |bank| bank.available());
    let accounts = [balance.wallet.available(), purse, bank, balance.suspense.available()];
    (accounts, spent.collect())
}

fn run(steps: Vec<Step>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (place, hands) = (Place::empty().await, Hands::at_noon());
        let memory = MemoryLedger::new(hands.timepiece());
        let mut lasting = place.open(&hands).await;
        let mut naive = Naive { now: NOON, ..Naive::default() };
        for (at, step) in steps.iter().copied().enumerate() {
            if !naive.is_asked(step) {
                continue;
            }
            let said = naive.step(step);
            if let Step::Pass(millis) = step {
                hands.pass(millis);
            }
            if let Step::Restart = step {
                drop(lasting);
                lasting = place.open(&hands).await;
            }
            let of_holds = naive.holds.values().flat_map(|held| &held.limits);
            let windows: Vec<_> = of_holds.map(|(window, _)| *window).collect();
            let [wallet, purse, bank] =
                [Payer::Wallet, Payer::Web, Payer::Bank].map(|payer| naive.available(payer));
            let expected = (
                [wallet, purse, bank, naive.suspense()],
                windows.iter().map(|window| naive.spent_in(*window)).collect(),
            );
            for store in [&memory as &dyn LedgerStore, &*lasting] {
                assert_eq!(done(store, step).await, said, "step {at}: {step:?}");
                assert_eq!(stands(store, &windows).await, expected, "after step {at}: {step:?}");
            }
        }
        // Nobody has had to drain suspense in time here.
        for store in [&memory as &dyn LedgerStore, &*lasting] {
            store.expire_due(1_000).await.unwrap();
            store.expire_due(1_000).await.unwrap();
            audited(store).await;
        }
        let billed = |store| async move {
            let all = kt_contract::time::UnixMillis(u64::MAX);
            LedgerStore::billed(store, None, kt_contract::time::UnixMillis(0), all).await.unwrap()
        };
        let bill = billed(&memory as &dyn LedgerStore).await;
        assert_eq!(bill.iter().map(|line| line.charged).sum::<i128>(), naive.charged());
        assert_eq!(billed(&*lasting).await, bill);
        assert_eq!(
            lasting.history("acme".to_owned(), None, 1_000).await.unwrap(),
            memory.history("acme".to_owned(), None, 1_000).await.unwrap(),
        );
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 300, ..ProptestConfig::default() })]

    #[test]
    fn both_stores_say_what_the_naive_model_says(
        steps in proptest::collection::vec(step(), 10..60)
    ) {
        run(steps);
    }
}

//! What a flight does about money: it sets aside what a call may cost before it makes it, tells those who wait where
//! that is refused, and has the call booked before its answer counts.

use std::sync::Arc;
use std::time::Duration;

use kt_contract::config::OnOutgrownHold;
use kt_contract::hex;
use kt_contract::json::{self, Bounds};
use kt_contract::limits::{JSON_DEPTH_MAX, JSON_NODES_MAX};
use kt_contract::money::{MicroUsd, Tokens};
use kt_contract::pricing::Price;
use kt_contract::principal::Principal;
use kt_contract::problem::{Problem, Unpaid};
use kt_contract::provider::Provider;
use kt_providers::{Delivered, Usage};
use tokio::time::Instant;

use super::admit::Grant;
use super::bill::{Asked, Bill, Cost, HOLD_TTL};
use super::books::Books;
use super::fault::{Concerns, Failed, Fault, Whom};
use super::lock;
use super::pilot::Pilot;
use super::savings::the_one;
use super::seat::{End, Failure};
use super::settings::Accounts;
use super::shared::role::Role;
use crate::attempt::Fate;
use crate::flight::{Cause, Ending, Held};
use crate::ledger::TransferId;
use crate::ledger::account::Scope;
use crate::ledger::request::{Budget, CallOf, Funding, Purpose, Reserve};
use crate::ledger::window::Period;
use crate::reserve;

/// At least this part of the default is set aside for an answer, however short answers are of late.
const EXPECTED_SHARE_MIN: u64 = 8;
/// Without a bill nothing is due for a long time.
const NEVER: Duration = Duration::from_secs(86_400);

// === impl Pilot ===

impl Pilot {
    /// Sets money aside for the call that is about to be made, where anybody counts it. `Ok(false)`: nobody who
    /// waits can have it paid, and all of them know.
    pub(super) async fn reserve(&mut self) -> Result<bool, Failed> {
        let settings = Arc::clone(&self.seat.grant.settings);
        let (Some(books), Some(accounts)) = (&self.sidecar.books, &settings.accounts) else {
            return Ok(true);
        };
        let (books, seat) = (Arc::clone(books), Arc::clone(&self.seat));
        let body = self.sent().body.clone();
        let planned = planned(&books, &seat.grant, &body, &settings.pricing, accounts);
        let refused = match planned {
            Ok(Planned { mut reserve, covers, price, provider }) => {
                reserve.id = hold_id(&seat.grant, seat.next_call());
                let (asked_as, grant) = (reserve.id, &seat.grant);
                match Box::pin(books.reserve(reserve, accounts.allotment)).await {
                    Ok(share) => {
                        let hold = share.as_ref().map_or(asked_as, |share| share.hold());
                        let model = grant.gates.model.served_model.clone();
                        let org = grant.caller.principal.org.clone();
                        let asked = Asked { org, dialect: grant.dialect, provider, model, body };
                        let bill = Bill::new(books, hold, covers, price, asked);
                        self.bill = Some(bill.reserved_from(share));
                        return Ok(true);
                    }
                    Err(refused) => refused,
                }
            }
            // It is the same for everybody who asks for the same.
            Err(unpaid) => (unpaid, Concerns::Everybody),
        };
        let (unpaid, concerns) = refused;
        self.is_refused(Problem::Unpaid(unpaid), concerns)
    }

    /// The call is not made in this name, and whom that concerns is told the same.
    pub(super) fn is_refused(
        &mut self,
        problem: Problem,
        concerns: Concerns,
    ) -> Result<bool, Failed> {
        self.not_stored(problem.code());
        match concerns {
            Concerns::Team | Concerns::User | Concerns::Asker => {
                Err(Fault::unpaid(problem, self.whom(concerns), Cause::Unpaid).into())
            }
            Concerns::Everybody => {
                let _: Held = self.end(Ending::Unpaid);
                self.finish(End::Failed(Arc::new(Failure::Problem(problem))));
                Ok(false)
            }
        }
    }

    /// What became of the call so far, for its money and its tokens.
    pub(super) fn fate(&mut self, fate: Fate) {
        if let Some(bill) = &mut self.bill {
            bill.fate(fate);
        }
        if let Some(drawn) = &mut self.drawn {
            drawn.fate(fate);
        }
    }

    /// When a sign of life is due for what is set aside.
    pub(super) fn bill_due(&self, now: Instant) -> Instant {
        self.bill.as_ref().map_or_else(|| now + NEVER, Bill::renew_at)
    }

    /// Ends the call of a stream that has no more money, where that is how it is configured.
    pub(super) fn goes_on_for_its_money(&mut self) -> Result<(), Failed> {
        let Some(bill) = &self.bill else { return Ok(()) };
        let Some((unpaid, concerns)) = bill.outgrown() else { return Ok(()) };
        let settings = &self.seat.grant.settings;
        let on_outgrown = settings.accounts.as_ref().map(|accounts| accounts.on_outgrown_hold);
        match on_outgrown.unwrap_or_default() {
            OnOutgrownHold::Overage => Ok(()),
            OnOutgrownHold::Cut => {
                let problem = Problem::Unpaid(unpaid);
                self.not_stored(problem.code());
                // A call was made: those whom this does not concern may have another, and not for ever.
                Err(Fault::unpaid(problem, self.whom(concerns), Cause::Call).into())
            }
        }
    }

    fn whom(&self, concerns: Concerns) -> Whom {
        Whom { concerns, asker: Some(self.seat.grant.caller.principal.clone()) }
    }

    /// Ends the money of the call, if it has not ended: at what has come of the answer. `false`: it is not in the
    /// ledger yet, and nothing that was made with it is kept.
    pub(super) async fn pays(&mut self, delivered: Option<Delivered>) -> bool {
        if let Role::Follows(outcome) = &self.standing.role {
            // Another one's call: nobody here pays for it, and what it has cost is what is saved.
            self.flight.has_cost(lock(outcome).end.and_then(|end| end.cost));
        }
        let Some(bill) = self.bill.take() else { return true };
        let hold = bill.hold();
        let ended = Box::pin(bill.end(delivered, self.produced.bytes)).await;
        self.output = ended.output;
        self.account(|call| call.paid(hold, ended.cost));
        if let Some(cost) = ended.cost {
            self.has_cost(cost);
            self.sidecar.alerts.touch(&self.seat.grant.caller.principal.org);
        }
        ended.is_booked
    }

    /// A call that nobody accounts for has a cost too, where its usage was told and its model has a price.
    pub(super) fn has_told_cost(&mut self, usage: Option<Usage>) {
        let settings = Arc::clone(&self.seat.grant.settings);
        if self.sidecar.books.is_some() && settings.accounts.is_some() {
            return;
        }
        let model = &self.seat.grant.gates.model;
        if let Some(amount) = settings.cost_of(model, usage) {
            let told = Cost { amount, is_estimated: false };
            self.account(|call| call.cost(told));
            self.has_cost(told);
        }
    }

    fn has_cost(&self, cost: Cost) {
        self.flight.has_cost(Some(cost.amount));
        let gates = &self.seat.grant.gates;
        let (model, provider) = self.sidecar.labels(gates);
        self.sidecar.metrics.cost(model, provider, cost.amount, cost.is_estimated);
    }

    /// An answer that ended by itself was so long.
    pub(super) fn was_long(&self) {
        if let (Some(books), Some(output)) = (&self.sidecar.books, self.output) {
            let grant = &self.seat.grant;
            let model = &grant.gates.model.served_model;
            lock(&books.lengths).learn(
                &lengths_of(&grant.caller.principal, model),
                agent(&grant.caller.principal),
                output,
            );
        }
    }
}

/// What is to be set aside for a call.
struct Planned {
    reserve: Reserve,
    covers: reserve::Hold,
    price: Price,
    provider: Provider,
}

fn planned(
    books: &Books,
    grant: &Grant,
    body: &[u8],
    pricing: &kt_contract::config::Pricing,
    accounts: &Accounts,
) -> Result<Planned, Unpaid> {
    let (principal, model) = (&grant.caller.principal, &grant.gates.model);
    let (provider, price) = Provider::named(&model.provider)
        .and_then(|provider| Some((provider, *pricing.price(provider, &model.served_model)?)))
        .ok_or_else(|| Unpaid::NoPrice {
            provider: model.provider.clone(),
            model: model.served_model.clone(),
        })?;
    let bounds = Bounds { depth_max: JSON_DEPTH_MAX, nodes_max: JSON_NODES_MAX };
    // It was read when it was admitted; what cannot be read now is not paid for.
    let demand = json::parse(body, bounds).map(|body| grant.dialect.demand(&body));
    let demand = demand.map_err(|_| Unpaid::LedgerUnavailable)?;
    if let Some(field) = demand.priced_apart {
        return Err(Unpaid::PricedApart { field: field.to_owned() });
    }
    let of_org = lengths_of(principal, &model.served_model);
    let expected = lock(&books.lengths).expected(&of_org, agent(principal));
    // Short answers teach nothing about the longest that may come.
    let floor = Tokens(accounts.default_output.0 / EXPECTED_SHARE_MIN);
    let expected = expected.map(|expected| expected.max(floor));
    let covers = reserve::hold(reserve::Call {
        demand: &demand,
        body_bytes: body.len() as u64,
        price: &price,
        expected_output: expected,
        default_output: accounts.default_output,
    })
    // More than any amount is more than any wallet has.
    .map_err(|_| Unpaid::WalletEmpty { team: None })?;
    let reserve = Reserve {
        id: TransferId(hex::Digest([0; 32])),
        org: principal.org.clone(),
        funding: if accounts.is_prepaid { Funding::Prepaid } else { Funding::Postpaid },
        team: principal.team.clone(),
        purpose: Purpose::Call(call_of(grant)),
        amount: covers.amount,
        cost_max: covers.cost_max(&price),
        ttl: HOLD_TTL,
        budgets: budgets(accounts, principal),
        zone: accounts.zones.of(&principal.org).clone(),
        prices: pricing.table.version().to_owned(),
    };
    Ok(Planned { reserve, covers, price, provider })
}

/// Whose call it is, for whoever asks later.
fn call_of(grant: &Grant) -> CallOf {
    let (principal, model) = (&grant.caller.principal, &grant.gates.model);
    CallOf {
        provider: model.provider.clone(),
        model: model.served_model.clone(),
        team: principal.team.clone(),
        user: principal.user.clone(),
        agent: principal.agent.clone(),
        codebase: the_one(&grant.gates.codebases),
        key_id: principal.key_id.clone(),
        request_id: grant.request_id.clone(),
    }
}

/// What is learned of an organization's answers is for its own calls.
fn lengths_of(principal: &Principal, model: &str) -> String {
    format!("{}\n{model}", principal.org)
}

/// Whose answers are alike in length.
fn agent(principal: &Principal) -> &str {
    principal.agent.as_deref().unwrap_or_else(|| principal.lineage())
}

/// The budgets that a call falls under.
fn budgets(accounts: &Accounts, principal: &Principal) -> Vec<Budget> {
    let Accounts { budgets, pack_daily, .. } = accounts;
    let team = principal.team.as_ref();
    let of_team = team.and_then(|team| Some((team, budgets.teams.get(team)?)));
    let organization = &budgets.organization;
    let limits: [(Option<Scope>, Period, Option<MicroUsd>); 6] = [
        (Some(Scope::Org), Period::Daily, organization.daily),
        (Some(Scope::Org), Period::Monthly, organization.monthly),
        (
            of_team.map(|(team, _)| Scope::Team(team.clone())),
            Period::Daily,
            of_team.and_then(|(_, limits)| limits.daily),
        ),
        (
            of_team.map(|(team, _)| Scope::Team(team.clone())),
            Period::Monthly,
            of_team.and_then(|(_, limits)| limits.monthly),
        ),
        (principal.user.clone().map(Scope::User), Period::Daily, budgets.user_daily),
        (
            pack_daily.as_ref().map(|(pack, _)| Scope::Pack(pack.clone())),
            Period::Daily,
            pack_daily.as_ref().map(|(_, limit)| *limit),
        ),
    ];
    limits
        .into_iter()
        .filter_map(|(scope, period, limit)| Some(Budget { scope: scope?, period, limit: limit? }))
        .collect()
}

/// The id of what is set aside for a request's `nth` call.
fn hold_id(grant: &Grant, nth: u32) -> TransferId {
    // Minted by the filter as 32 hexadecimal digits; another one is as good, as long as it is unique.
    let request = TransferId::from_hex(&grant.request_id)
        .map_or_else(|_| *blake3::hash(grant.request_id.as_bytes()).as_bytes(), |id| id.0.0);
    let mut short = [0; 16];
    short.iter_mut().zip(request).for_each(|(to, from)| *to = from);
    TransferId::of_reserve(&grant.caller.principal.org, short, nth)
}

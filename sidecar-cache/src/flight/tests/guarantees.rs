//! The guarantees, under whatever comes in whatever order.

use proptest::prelude::*;

use super::*;

/// An operation of the property test: at which key, by whom, after how long.
#[derive(Clone, Copy, Debug)]
enum Op {
    Acquire,
    AcquireAlone,
    Renew,
    Fill,
    Abandon,
    Uncacheable,
    Fail { waiting: usize },
    TakeOver,
    Overflow,
    Void,
}

/// What the test itself remembers of a key.
#[derive(Default)]
struct Model {
    /// The last token that was given, when its lease runs out, and whether its holder has ended it.
    last: Option<(Token, u64, bool)>,
    voided: bool,
    /// The flight, and its calls: of leaders, and of those who waited too long.
    flight: Option<(FlightId, u32, u32)>,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => Just(Op::Acquire),
        1 => Just(Op::AcquireAlone),
        3 => Just(Op::Renew),
        1 => Just(Op::Fill),
        1 => Just(Op::Abandon),
        1 => Just(Op::Uncacheable),
        4 => (0_usize..3).prop_map(|waiting| Op::Fail { waiting }),
        4 => Just(Op::TakeOver),
        2 => Just(Op::Overflow),
        1 => Just(Op::Void),
    ]
}

/// Most often whoever got the last token.
fn holder() -> impl Strategy<Value = usize> {
    prop_oneof![4 => Just(0), 1 => 1_usize..6]
}

// === impl Model ===

impl Model {
    /// G1, G2: a new token only after the last one ran out, was ended, or was voided.
    fn given(&mut self, token: Token, id: Option<FlightId>, now: u64) {
        if let Some((last, until, is_ended)) = self.last {
            assert!(token.counter > last.counter);
            assert!(is_ended || self.voided || now >= until, "{last:?} is current at {now}");
        }
        self.last = Some((token, now + LEASE_TTL.0, false));
        self.voided = false;
        self.flight = match (id, self.flight) {
            (Some(id), Some((known, calls, overflows))) if id == known => {
                Some((id, calls + 1, overflows))
            }
            (Some(id), Some(_) | None) => Some((id, 1, 0)),
            (None, _) => None,
        };
        // G3, but for those who overflow.
        assert!(self.flight.is_none_or(|(_, calls, _)| calls <= 1 + TAKEOVERS_MAX));
    }

    fn is_current(&self, token: Token, now: u64) -> bool {
        let is_last = self
            .last
            .is_some_and(|(last, until, is_ended)| last == token && !is_ended && now < until);
        is_last && !self.voided
    }

    fn ended(&mut self) {
        if let Some((_, _, is_ended)) = &mut self.last {
            *is_ended = true;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order: at most one current token, a stale one changes nothing, and a
    /// flight has a bound on its calls.
    #[test]
    fn the_guarantees_hold(
        script in prop::collection::vec((op(), 0_usize..2, holder(), 0_u64..2_000), 1..200),
    ) {
        let mut flights = flights();
        let mut models = [Model::default(), Model::default()];
        let mut tokens: [Vec<(Token, FlightId)>; 2] = Default::default();
        let mut now = T0;
        for (op, at, back, pause) in script {
            now = now.after(Millis(pause));
            let (key, model) = ([KEY, OTHER][at], &mut models[at]);
            // Someone who holds a token, the newest or an older one.
            let held = tokens[at].iter().rev().nth(back).copied();
            match (op, held) {
                (Op::Acquire, _) => if let Acquired::Lead(token, id) = flights.acquire(key, now) {
                    model.given(token, Some(id), now.0);
                    tokens[at].push((token, id));
                },
                (Op::AcquireAlone, _) => if let Some(token) = flights.acquire_alone(key, now) {
                    model.given(token, None, now.0);
                },
                // Only the flight that is there is voided.
                (Op::Void, Some((_, id))) => {
                    if flights.void(&key, id) {
                        model.voided = true;
                    }
                }
                (Op::Renew, Some((token, _))) => {
                    let is_current = model.is_current(token, now.0);
                    prop_assert_eq!(flights.renew(&key, token, now) == Held::Current, is_current);
                    if is_current {
                        model.last = Some((token, now.after(LEASE_TTL).0, false));
                    }
                }
                (Op::Fill, Some((token, _))) => {
                    let is_current = model.is_current(token, now.0);
                    prop_assert_eq!(flights.fill(&key, token, now) == Held::Current, is_current);
                    if is_current {
                        model.ended();
                    }
                }
                (Op::Abandon, Some((token, _))) => {
                    if flights.abandon(&key, token) == Held::Current {
                        prop_assert!(model.last.is_some_and(|(last, _, ended)| last == token && !ended));
                        model.ended();
                    }
                }
                (Op::Uncacheable, Some((token, _))) => {
                    if flights.end_uncacheable(key, token, now, UNDER) == Held::Current {
                        prop_assert!(model.last.is_some_and(|(last, _, ended)| last == token && !ended));
                        model.ended();
                    }
                }
                (Op::Fail { waiting }, Some((token, _))) => {
                    let failed = Failed { waiting, retry_after: None, cause: Cause::Call };
                    let is_last = model.last.is_some_and(|(last, _, ended)| last == token && !ended);
                    let after = flights.fail(&key, token, now, failed);
                    // To say it twice changes nothing.
                    let again = model.last.is_some_and(|(last, ..)| last == token)
                        && matches!(after, AfterFailure::TakeOver { .. });
                    prop_assert!(is_last || again || after == AfterFailure::Voided);
                    if is_last {
                        model.ended();
                    }
                }
                (Op::TakeOver, Some((_, id))) => if let Some(token) = flights.take_over(&key, id, now) {
                    model.given(token, Some(id), now.0);
                    tokens[at].push((token, id));
                },
                (Op::Overflow, Some((_, id))) => {
                    if flights.overflow(&key, id, Some(1)) == Overflow::Go
                        && let Some((known, _, overflows)) = &mut model.flight
                        && *known == id
                    {
                        *overflows += 1;
                        prop_assert!(*overflows <= 1);
                    }
                }
                (
                    Op::Renew | Op::Fill | Op::Abandon | Op::Uncacheable | Op::Fail { .. }
                    | Op::TakeOver | Op::Overflow | Op::Void,
                    None,
                ) => {}
            }
        }
    }
}

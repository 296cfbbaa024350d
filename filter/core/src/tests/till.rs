//! What is counted while the sidecar is away, however workers come before each other.

use std::cell::{Cell, RefCell};

use kt_contract::wire::VERSION_TEXT;
use kt_contract::wire::open_calls::OpenCallsReply;
use wasm_bindgen_test::wasm_bindgen_test;

use super::*;
use crate::head::Head;

/// What a host shares among its VMs. Before a change is made, other workers may make theirs.
#[derive(Default)]
struct Host {
    value: RefCell<Option<(Vec<u8>, u32)>>,
    /// How many calls of others come before each of the next changes.
    before: RefCell<Vec<u8>>,
    /// How many of those were counted.
    others: Cell<u64>,
    is_broken: Cell<bool>,
}

const CAP: OpenWithCap = OpenWithCap {
    max_micro_usd: MicroUsd::from_usd(1),
    micro_usd_per_call: match MicroUsd::new(100_000) {
        Ok(amount) => amount,
        Err(_) => MicroUsd::ZERO,
    },
};

const RANDOM: [u8; 16] = [7; 16];

impl Host {
    /// The change of a worker that nobody interrupts.
    fn replaced(&self, value: &[u8], seen: Option<u32>) -> Replaced {
        let mut held = self.value.borrow_mut();
        let version = held.as_ref().map(|(_, version)| *version);
        if version != seen {
            return Replaced::Conflict;
        }
        *held = Some((value.to_vec(), version.unwrap_or(0) + 1));
        Replaced::Done
    }

    fn spend(&self, org: &str) -> Spent {
        spend(self, &Spend { org: org.to_owned(), cap: CAP }, RANDOM)
    }

    fn till(&self) -> Till {
        serde_json::from_slice(&self.value.borrow().as_ref().unwrap().0).unwrap()
    }

    fn spent(&self) -> u64 {
        self.value.borrow().as_ref().map_or(0, |_| self.till().spent().micros())
    }

    /// The sidecar books a batch and says so.
    fn booked(&self, told_of: &OpenCallsRequest) -> bool {
        let OpenCallsRequest { epoch, number, .. } = told_of.clone();
        let reply = OpenCallsReply { version: VERSION, epoch, number };
        let body = serde_json::to_vec(&reply).unwrap();
        let fields: [(&[u8], &[u8]); 2] =
            [(b":status", b"200"), (b"x-kt-wire", VERSION_TEXT.as_bytes())];
        told(self, Answer::Came { head: Head::new(&fields), body: &body })
    }
}

impl SharedData for Host {
    fn read(&self) -> Result<Option<(Vec<u8>, u32)>, Broken> {
        if self.is_broken.get() { Err(Broken) } else { Ok(self.value.borrow().clone()) }
    }

    fn replace(&self, value: &[u8], seen: Option<u32>) -> Result<Replaced, Broken> {
        let others = self.before.borrow_mut().pop().unwrap_or(0);
        for _ in 0..others {
            if self.spend("other") == Spent::Counted {
                self.others.set(self.others.get() + 1);
            }
        }
        Ok(self.replaced(value, seen))
    }
}

fn of(told_of: &OpenCallsRequest) -> Vec<(&str, u64, u64)> {
    told_of
        .orgs
        .iter()
        .map(|calls| (calls.org.as_str(), calls.calls, calls.micro_usd.micros()))
        .collect()
}

#[wasm_bindgen_test(unsupported = test)]
fn calls_pass_up_to_the_cap_whoever_makes_them() {
    let host = Host::default();
    for at in 0..10 {
        assert_eq!(host.spend(if at % 2 == 0 { "acme" } else { "globex" }), Spent::Counted);
    }
    for org in ["acme", "globex", "third"] {
        assert_eq!(host.spend(org), Spent::CapReached, "{org}");
    }
    assert_eq!(of(&tell(&host, "gw-a").unwrap()), [("acme", 5, 500_000), ("globex", 5, 500_000)]);
}

#[wasm_bindgen_test(unsupported = test)]
fn a_cap_that_no_whole_number_of_calls_fills_is_not_exceeded() {
    let host = Host::default();
    let max_micro_usd = MicroUsd::new(299_999).unwrap();
    let asked = Spend { org: "acme".to_owned(), cap: OpenWithCap { max_micro_usd, ..CAP } };
    let spent: Vec<Spent> = (0..3).map(|_| spend(&host, &asked, RANDOM)).collect();
    assert_eq!(spent, [Spent::Counted, Spent::Counted, Spent::CapReached]);
}

#[wasm_bindgen_test(unsupported = test)]
fn a_batch_stays_as_it_is_until_it_is_booked_and_the_cap_is_free_then() {
    let host = Host::default();
    assert_eq!(tell(&host, "gw-a"), None, "there was nothing yet");
    assert_eq!(host.spend("acme"), Spent::Counted);
    let first = tell(&host, "gw-a").unwrap();
    assert_eq!((first.number, of(&first)), (1, vec![("acme", 1, 100_000)]));
    for _ in 0..9 {
        assert_eq!(host.spend("acme"), Spent::Counted);
    }
    assert_eq!(tell(&host, "gw-a").as_ref(), Some(&first), "another worker tells the same");
    assert_eq!(host.spend("acme"), Spent::CapReached, "what is being told counts");
    assert!(host.booked(&first));
    assert_eq!(host.spent(), 900_000);
    assert!(host.booked(&first), "told by two workers, acknowledged twice");
    assert_eq!(host.spent(), 900_000, "and forgotten once");
    let second = tell(&host, "gw-a").unwrap();
    assert_eq!((second.number, of(&second)), (2, vec![("acme", 9, 900_000)]));
    assert_eq!(second.epoch, first.epoch);
    assert!(host.booked(&first), "an answer that was long on its way");
    assert_eq!(host.spent(), 900_000);
    assert!(host.booked(&second));
    assert_eq!((host.spent(), tell(&host, "gw-a")), (0, None));
    assert_eq!(host.spend("acme"), Spent::Counted);
}

#[wasm_bindgen_test(unsupported = test)]
fn only_a_sidecar_that_has_booked_it_frees_the_cap() {
    let host = Host::default();
    assert_eq!(host.spend("acme"), Spent::Counted);
    let batch = tell(&host, "gw-a").unwrap();
    assert!(!told(&host, Answer::Lost));
    let body = serde_json::to_vec(&OpenCallsReply {
        version: VERSION,
        epoch: batch.epoch.clone(),
        number: batch.number,
    })
    .unwrap();
    let unmarked: [(&[u8], &[u8]); 1] = [(b":status", b"200")];
    let refused: [(&[u8], &[u8]); 2] =
        [(b":status", b"409"), (b"x-kt-wire", VERSION_TEXT.as_bytes())];
    for fields in [&unmarked[..], &refused] {
        assert!(!told(&host, Answer::Came { head: Head::new(fields), body: &body }));
    }
    let other = OpenCallsRequest { epoch: "0".repeat(32), ..batch };
    assert!(host.booked(&other), "of another life");
    assert_eq!(host.spent(), 100_000);
}

#[wasm_bindgen_test(unsupported = test)]
fn what_cannot_be_counted_does_not_pass() {
    let unnamed = Host::default();
    let asked = Spend { org: "acme".to_owned(), cap: CAP };
    assert_eq!(spend(&unnamed, &asked, [0; 16]), Spent::Uncountable, "no name for the life");
    let foreign = Host::default();
    *foreign.value.borrow_mut() = Some((b"{}".to_vec(), 3));
    assert_eq!(foreign.spend("acme"), Spent::Uncountable);
    assert_eq!(foreign.value.borrow().as_ref().unwrap().0, b"{}", "it is not overwritten");
    let broken = Host::default();
    broken.is_broken.set(true);
    assert_eq!((broken.spend("acme"), tell(&broken, "gw-a")), (Spent::Uncountable, None));
    let crowded = Host::default();
    // Each time somebody else was faster: with one call, and then by telling and booking it.
    struct Restless(Host);
    impl SharedData for Restless {
        fn read(&self) -> Result<Option<(Vec<u8>, u32)>, Broken> {
            self.0.read()
        }
        fn replace(&self, _: &[u8], _: Option<u32>) -> Result<Replaced, Broken> {
            Ok(Replaced::Conflict)
        }
    }
    assert_eq!(spend(&Restless(crowded), &asked, RANDOM), Spent::Uncountable);
}

#[wasm_bindgen_test(unsupported = test)]
fn there_is_room_for_so_many_organizations() {
    let host = Host::default();
    let micro_usd_per_call = MicroUsd::new(1).unwrap();
    let cap = OpenWithCap { micro_usd_per_call, ..CAP };
    let asked = |at: usize| spend(&host, &Spend { org: at.to_string(), cap }, RANDOM);
    for at in 0..OPEN_ORGS_MAX {
        assert_eq!(asked(at), Spent::Counted);
    }
    assert_eq!(asked(OPEN_ORGS_MAX), Spent::CapReached);
    assert_eq!(asked(3), Spent::Counted);
}

/// Workers come before each other at any step, tell and are answered in between.
#[wasm_bindgen_test(unsupported = test)]
fn however_workers_interleave_the_cap_holds_and_nothing_is_forgotten() {
    for seed in 1..=300_u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut dice = |sides: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % sides
        };
        let host = Host::default();
        let (mut counted, mut booked) = (0, 0);
        for _ in 0..60 {
            let others: Vec<u8> = (0..3).map(|_| u8::try_from(dice(3)).unwrap()).collect();
            *host.before.borrow_mut() = others;
            if dice(4) > 0 {
                counted += u64::from(host.spend("acme") == Spent::Counted);
            } else if let Some(batch) = tell(&host, "gw-a")
                && dice(2) == 0
            {
                booked += batch.orgs.iter().map(|calls| calls.micro_usd.micros()).sum::<u64>();
                assert!(host.booked(&batch));
            }
            host.before.borrow_mut().clear();
            assert!(host.spent() <= 1_000_000, "seed {seed}: beyond the cap");
            let made = (counted + host.others.get()) * 100_000;
            assert_eq!(booked + host.spent(), made, "seed {seed}: {:?}", host.till());
        }
        assert!(counted + host.others.get() >= 10, "seed {seed}: the cap is used");
    }
}

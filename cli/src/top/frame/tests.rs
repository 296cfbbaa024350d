//! Frames, whole.

use kt_contract::snapshot::Tier;
use kt_contract::wire::admin::savings::{By, SavingsReply, SavingsSums};
use kt_contract::wire::admin::versions::ConfigStatus;
use kt_contract::wire::feed::{GatewayIdentity, Role};

use super::*;
use crate::failure::Failure;

fn gateway(id: &str, state: Presence, workers_behind: u64) -> GatewayStatus {
    let (egress, group) = ("/e".to_owned(), Some("demo".to_owned()));
    GatewayStatus {
        gateway: GatewayIdentity { id: id.to_owned(), role: Role::Fallback, group, egress },
        snapshot: None,
        config: Some("0c1d".to_owned()),
        workers: 1,
        workers_behind,
        state,
        last_seen_ms: 240,
    }
}

/// The `step`th look, a second after the one before, with so much of everything.
fn sample(step: u64) -> Sample {
    let text = format!(
        "llm_requests_total{{a=\"b\"}} {}\nkt_flight_followers 3\nkt_flight_leads_total {step}\n\
         llm_cost_usd_total{{model=\"a\"}} 0.0{step}\nkt_saved_usd_total 0.00{step}\n",
        8 * step
    );
    Sample {
        at: MonoMillis(1_000 * step),
        status: StatusReply {
            status: Condition::Ok,
            version: "0.1.0".to_owned(),
            epoch: "e1".to_owned(),
            config: ConfigStatus { version: "0c1d".to_owned(), live_ms: 0, refused: None },
            snapshot: String::new(),
            config_errors: Vec::new(),
            tenants: None,
            tenant_errors: Vec::new(),
            wallet_errors: Vec::new(),
            database_errors: Vec::new(),
            store_errors: Vec::new(),
            stores: Vec::new(),
            cache_enabled: true,
            tier: Tier::OrgShared,
            fabric_attached: false,
            entries: 0,
            entry_bytes: 0,
            gateways: vec![
                gateway("gw-a", Presence::Live, 0),
                gateway("gw-b", Presence::Live, 1),
                gateway("gw-c", Presence::Lost, 0),
            ],
        },
        cache: CacheStatsReply {
            entries: 7,
            entry_bytes: 4_096,
            evicted: 0,
            expired: 0,
            hits: 3 * step,
            misses: step,
            flights: 2,
            invalidated_tags: 0,
            generation: 0,
            orgs: Vec::new(),
        },
        metrics: Ok(Metrics::read(&text)),
    }
}

fn now(sample: Option<&Sample>) -> Now<'_> {
    let mono = MonoMillis(15_000);
    let savings = &Savings::Awaited;
    Now { socket: "s.sock", at: UnixMillis(1_000), mono, sample, lost: None, savings }
}

/// What the ledger told three seconds before the frame.
fn told() -> Savings {
    let total = SavingsSums {
        calls: 4,
        billed_micro_usd: 1_000_040,
        estimated_micro_usd: 0,
        charged_back_micro_usd: 0,
        hits: 4,
        coalesced: 0,
        saved_micro_usd: 80,
    };
    let reply = SavingsReply {
        since: "2026-11-01".to_owned(),
        until: "2026-11-30".to_owned(),
        time_zone: "UTC".to_owned(),
        own_time_zones: false,
        by: By::Org,
        rows: Vec::new(),
        total,
    };
    Savings::Told { reply, at: MonoMillis(12_000) }
}

#[test]
fn a_frame_has_rates_money_and_every_gateway() {
    let (old, new) = (sample(2), sample(4));
    assert_eq!(
        frame(Some(&old), Now { savings: &told(), ..now(Some(&new)) }, 100),
        "\
kt top  1970-01-01 00:00:01Z  s.sock
sidecar 0.1.0 is ok, config 0c1d

requests  8.0/s
hit ratio 75.0 % now, 75.0 % since the start (12 of 16 lookups)
entries   7 (4096 bytes)
flights   2 live with 3 followers; 1.0/s led, 0.0/s followed, 0.0/s taken over
spend     billed $1.00004, saved $0.00008 since 2026-11-01 (told 3 s ago)
just now  calls cost $0.020000, saved $0.002000

gateways  2 live, 1 lost, 1 behind
gateway  role      group  state   runs  last seen
gw-a     fallback  demo   live    0c1d  0.2 s ago
gw-b     fallback  demo   BEHIND  0c1d  0.2 s ago
gw-c     fallback  demo   LOST    0c1d  0.2 s ago"
    );
}

#[test]
fn the_first_frame_has_no_rates_and_one_without_metrics_or_money_says_so() {
    let first = sample(1);
    let text = frame(None, now(Some(&first)), 100);
    assert!(text.contains("requests  -\n") && text.contains("hit ratio - now, 75.0 %"), "{text}");
    assert!(!text.contains("just now"), "{text}");
    let strip = |sample| Sample { metrics: Err("nobody answers".to_owned()), ..sample };
    let (old, new) = (strip(sample(1)), strip(sample(2)));
    let text = frame(Some(&old), now(Some(&new)), 100);
    assert!(text.contains("lookups   4.0/s") && text.contains("2 live (nobody answers)"), "{text}");
    assert!(text.contains("spend     not known (the ledger has not answered yet)"), "{text}");
    let metrics = Metrics::read("llm_cost_usd_total{model=\"a\"} 0.25\nkt_saved_usd_total{} 1.5\n");
    let new = Sample { metrics: Ok(metrics), ..new };
    let text = frame(Some(&old), now(Some(&new)), 100);
    assert!(text.contains("calls cost $0.250000, saved $1.500000 since the start"), "{text}");
}

#[test]
fn no_rate_is_told_across_a_restart() {
    let (old, mut new) = (sample(9), sample(10));
    new.status.epoch = "e2".to_owned();
    assert!(frame(Some(&old), now(Some(&new)), 100).contains("requests  -\n"));
}

#[test]
fn what_the_ledger_told_once_stands_until_there_is_something_newer() {
    let (old, new) = (sample(2), sample(4));
    let of = |savings: &Savings| frame(Some(&old), Now { savings, ..now(Some(&new)) }, 200);
    let mut savings = Savings::default();
    let refused = || Err(Failure::new("this sidecar has no ledger: nothing is paid for"));
    savings.hear(refused(), MonoMillis(1));
    let text = of(&savings);
    assert!(text.contains("since the start (this sidecar has no ledger)\njust now"), "{text}");
    savings = told();
    savings.hear(refused(), MonoMillis(14_000));
    assert!(
        of(&savings).contains("billed $1.00004, saved $0.00008 since 2026-11-01 (told 3 s ago)")
    );
}

#[test]
fn a_lost_sidecar_is_told_above_what_it_said_last() {
    let lost = Some(("no sidecar answers at s.sock", 12_400));
    let last = sample(2);
    let text = frame(Some(&sample(1)), Now { lost, ..now(Some(&last)) }, 100);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[1], "SIDECAR LOST for 12 s, trying again: no sidecar answers at s.sock");
    assert_eq!(lines[2], "what follows is what it said last");
    assert!(text.contains("requests  -\n") && text.contains("gw-a"), "{text}");
    let never = frame(None, Now { lost, ..now(None) }, 100);
    assert_eq!(never.lines().count(), 2, "{never}");
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    let (old, new) = (sample(1), sample(2));
    let text = frame(Some(&old), now(Some(&new)), 40);
    assert!(text.lines().all(|line| line.chars().count() <= 40), "{text}");
    assert!(text.contains('…'), "{text}");
}

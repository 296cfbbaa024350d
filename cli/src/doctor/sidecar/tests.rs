//! Each fact of a sidecar, and what is said of it.

use kt_contract::snapshot::Tier;
use kt_contract::wire::admin::versions::ConfigStatus;
use kt_contract::wire::feed::{GatewayIdentity, Role};

use super::super::finding::State;
use super::*;

fn assert_found(finding: &Finding, state: State, told: &str) {
    assert!(finding.state == state && finding.seen.contains(told), "{finding:?}, not {told}");
    assert_eq!(finding.mend.is_some(), matches!(state, State::Warn | State::Fail), "{finding:?}");
}

pub(crate) fn gateway_of(id: &str, state: Presence, workers_behind: u64) -> GatewayStatus {
    let egress = "/run/egress.sock".to_owned();
    GatewayStatus {
        gateway: GatewayIdentity { id: id.to_owned(), role: Role::Primary, group: None, egress },
        snapshot: None,
        config: Some("aaaa".to_owned()),
        workers: 2,
        workers_behind,
        state,
        last_seen_ms: 1_500,
    }
}

pub(crate) fn status_of(gateways: Vec<GatewayStatus>) -> StatusReply {
    StatusReply {
        status: Condition::Ok,
        version: "0.1.0".to_owned(),
        epoch: "e1".to_owned(),
        config: ConfigStatus { version: "bbbb".to_owned(), live_ms: 60_000, refused: None },
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
        gateways,
    }
}

#[test]
fn a_sidecar_that_does_not_listen_is_told_with_the_command_that_starts_it() {
    let (path, file) = (Path::new("/run/s.sock"), Path::new("a.yaml"));
    let find = |fact| socket(path, &fact, &[], file);
    assert_found(&find(SocketFact::Open(0o600)), State::Ok, "one listens on /run/s.sock");
    for (fact, told) in [
        (SocketFact::Missing, "no socket at /run/s.sock"),
        (SocketFact::Dead("Connection refused".to_owned()), "it has ended"),
        (SocketFact::NoSocket, "is no socket"),
        (SocketFact::Denied("Permission denied".to_owned()), "may not open"),
    ] {
        assert_found(&find(fact), State::Fail, told);
    }
    let start = "start it: sidecar-cache --policy-config a.yaml --socket /run/s.sock --data-dir .kt/run/data";
    assert_eq!(find(SocketFact::Missing).mend.as_deref(), Some(start));
    let others = [PathBuf::from(".kt/run/gw-a/sidecar.sock")];
    let mend = socket(path, &SocketFact::Missing, &others, file).mend.unwrap();
    assert!(mend.contains("--sidecar (.kt/run/gw-a/sidecar.sock)"), "{mend}");
}

#[test]
fn a_socket_is_its_owners_alone() {
    let path = Path::new("/s");
    let find =
        |mode| permissions([(path, &SocketFact::Open(0o600)), (path, &SocketFact::Open(mode))]);
    assert_found(&find(0o600), State::Ok, "owner alone");
    for mode in [0o660, 0o666, 0o604] {
        assert_found(&find(mode), State::Fail, &format!("(0{mode:03o})"));
    }
    let alone = [(path, &SocketFact::Open(0o600)), (Path::new("/s.admin"), &SocketFact::Missing)];
    assert_found(&permissions(alone), State::Skipped, "/s.admin");
    let open = [(path, &SocketFact::Open(0o666)), (Path::new("/s.admin"), &SocketFact::Missing)];
    assert_found(&permissions(open), State::Fail, "(0666)");
}

#[test]
fn another_version_of_the_wire_or_another_program_is_found() {
    let ours = wire::VERSION.to_string();
    let says = |marker: &str| wire_version(&Ok(Some(marker.to_owned())));
    assert_found(&says(&ours), State::Ok, &ours);
    assert_found(&says("4711"), State::Fail, "speaks 4711");
    assert_found(&says("x"), State::Fail, "speaks x");
    assert_found(&wire_version(&Ok(None)), State::Fail, "does not say that it is a sidecar");
    let frozen = wire_version(&Err("it did not answer within 3 s".to_owned()));
    assert_found(&frozen, State::Fail, "does not answer: it did not answer within 3 s");
    assert_eq!(frozen.name, "sidecar");
    assert_found(&release("1.0.0", "1.0.0"), State::Ok, "1.0.0");
    assert_found(&release("1.0.0", "1.1.0"), State::Warn, "sidecar-cache is 1.0.0 and kt 1.1.0");
}

#[test]
fn a_clock_that_is_off_is_found_on_either_side() {
    let ours = UnixMillis(1_000_500_000);
    for (theirs, state, told) in [
        (1_000_500_000, State::Ok, "as this"),
        // The answer was made within the second that it names.
        (1_000_499_000, State::Ok, "as this"),
        (1_000_502_000, State::Ok, "as this"),
        (1_000_503_000, State::Warn, "3.0 s ahead of"),
        (1_000_490_000, State::Warn, "9.0 s behind"),
        (1_000_531_000, State::Fail, "31.0 s ahead of"),
        (999_000_000, State::Fail, "behind"),
    ] {
        assert_found(&clock("it", Some(UnixMillis(theirs)), ours), state, told);
    }
    assert_found(&clock("it", None, ours), State::Skipped, "no Date");
}

#[test]
fn what_a_sidecar_says_of_itself_is_a_finding_each() {
    let good = || status_of(vec![gateway_of("gw-a", Presence::Live, 0)]);
    assert!(status(&good()).iter().all(|it| it.state == State::Ok), "{:?}", status(&good()));
    let error = || vec!["it is so".to_owned()];
    let rows: Vec<(StatusReply, &str, State)> = vec![
        (StatusReply { config_errors: error(), ..good() }, "configuration in force", State::Fail),
        (StatusReply { store_errors: error(), ..good() }, "stores", State::Fail),
        (
            StatusReply { store_errors: error(), status: Condition::Degraded, ..good() },
            "stores",
            State::Fail,
        ),
        (StatusReply { status: Condition::Degraded, ..good() }, "condition", State::Warn),
        (StatusReply { database_errors: error(), ..good() }, "database", State::Fail),
        (StatusReply { wallet_errors: error(), ..good() }, "wallet", State::Fail),
        (StatusReply { tenant_errors: error(), ..good() }, "tenants", State::Fail),
        (StatusReply { status: Condition::Draining, ..good() }, "condition", State::Warn),
        (StatusReply { gateways: Vec::new(), ..good() }, "gateway", State::Warn),
    ];
    for (told, name, state) in rows {
        let found = status(&told);
        let bad: Vec<_> = found.iter().filter(|it| it.state != State::Ok).collect();
        assert!(bad.len() == 1 && bad[0].name == name && bad[0].state == state, "{found:?}");
        assert!(bad[0].mend.is_some(), "{found:?}");
    }
}

#[test]
fn a_gateway_that_is_behind_or_gone_is_found() {
    let find = |told: &StatusReply| gateways(told).remove(0);
    let of = |state, behind| status_of(vec![gateway_of("gw-a", state, behind)]);
    assert_found(&find(&of(Presence::Live, 0)), State::Ok, "runs aaaa");
    assert_found(&find(&of(Presence::Lost, 0)), State::Warn, "nothing for 1 s");
    let mut behind = of(Presence::Live, 1);
    assert_found(
        &find(&behind),
        State::Fail,
        "1 of its 2 workers are behind: it runs aaaa, and bbbb",
    );
    behind.config.live_ms = 2_000;
    assert_found(&find(&behind), State::Warn, "in force for 2 s");
    assert_eq!(find(&behind).of.as_deref(), Some("gw-a"));
}

#[test]
fn a_file_that_is_not_in_force_is_found() {
    let file = Path::new("a.yaml");
    assert_found(&same_file(file, "a: 1\n", "a: 1\n"), State::Ok, "what the sidecar runs");
    assert_found(&same_file(file, "a: 1\n", "a: 2\n"), State::Warn, "not what the sidecar runs");
    let mend = same_file(file, "a", "b").mend.unwrap();
    assert!(
        mend.contains("kt config diff a.yaml") && mend.contains("kt config apply a.yaml"),
        "{mend}"
    );
}

//! TLS: what of this binary goes through the code of connections, over servers that speak nothing else; and what is
//! told where a certificate, or who speaks what, is not as it should be.

use std::process::Command;

use kt_stores_redis::{Authority, FOLDER, Server, folder};

use crate::support::redis_at;

/// One Redis, Sentinels and a Cluster; commands, scripts, wake-ups; a server that is killed, one that is silent, and
/// the breaker. What a proxy does to the nth answer, or to some of its bytes, is about replies, which here it cannot tell.
const AGAIN: [&str; 16] = [
    "a_sentinel::",
    "a_cluster::",
    "entries::",
    "layered::",
    "leases::",
    "logs::",
    "backend::",
    "failover::a_promoted_replica_voids_what_its_master_granted",
    "failover::sentinels_lead_to_whoever_is_the_master",
    "faults::a_black_hole_costs_a_budget_each_and_then_nothing",
    "faults::a_drip_is_not_waited_for",
    "faults::a_shut_door_is_not_beaten_upon",
    "faults::a_slow_server_is_late_and_is_found_again",
    "faults::few_that_find_silence_get_another_connection",
    "flights::",
    "rates::",
];

/// Runs tests of this binary in a process that trusts an authority of its own, and whose servers have certificates of
/// it: which ones are trusted is read once in a process, as a sidecar does.
fn over_tls(tests: &[&str]) {
    let authority = Authority::new().unwrap();
    let mut process = Command::new(std::env::current_exe().unwrap());
    process.args(tests).args(["--test-threads", "2"]);
    process.env("SSL_CERT_FILE", authority.file()).env_remove("SSL_CERT_DIR");
    let output = process.env(FOLDER, authority.folder()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{told}");
    for test in tests {
        assert!(said.lines().any(|line| line.contains(test) && line.ends_with("ok")), "no {test}");
    }
}

async fn why(url: &str) -> String {
    redis_at(url).ping().await.unwrap_err().to_string()
}

#[test]
fn over_tls_the_stores_hold_what_they_hold_without() {
    over_tls(&AGAIN);
}

#[tokio::test]
async fn who_shows_a_certificate_that_nobody_vouches_for_is_refused_with_what_to_do() {
    let server = Server::start_encrypted(&Authority::new().unwrap(), &[]).unwrap();
    let port = server.port;
    for url in [
        format!("rediss://localhost:{port}"),
        format!("valkeys://127.0.0.1:{port}"),
        format!("rediss-sentinel://localhost:{port}/0#main"),
        format!("rediss-cluster://localhost:{port}"),
    ] {
        let why = why(&url).await;
        assert!(why.contains("by no authority that is trusted here"), "{url}: {why}");
        assert!(why.ends_with("name that authority's file with SSL_CERT_FILE"), "{url}: {why}");
    }
    let clients: String = server.run(&["CLIENT", "LIST"]).unwrap();
    assert_eq!(clients.lines().count(), 1, "nobody but who asks this has been let in: {clients}");
}

#[tokio::test]
async fn who_speaks_the_other_language_is_told_so() {
    let encrypted = Server::start_encrypted(&Authority::new().unwrap(), &[]).unwrap();
    let plain = why(&format!("redis://127.0.0.1:{}", encrypted.port)).await;
    assert!(plain.ends_with("(does it want TLS? Its address then begins with rediss)"), "{plain}");
    let plain = why(&format!("redis-cluster://127.0.0.1:{}", encrypted.port)).await;
    assert!(plain.contains("does it want TLS?"), "{plain}");
    let tls = why(&format!("rediss://127.0.0.1:{}", encrypted.control)).await;
    let is_told = tls.contains("is this its port for TLS?") || tls.contains("speaks no TLS");
    assert!(is_told, "{tls}");
}

#[tokio::test]
async fn a_name_that_is_not_in_the_certificate_is_not_who_was_asked_for() {
    if folder().is_none() {
        return over_tls(&["tls::a_name_that_is_not_in_the_certificate_is_not_who_was_asked_for"]);
    }
    // The authority is trusted; the certificate is for `localhost` and this address.
    let server = Server::start_with(&[("bind", "127.0.0.1 127.0.0.2")]).unwrap();
    for host in ["localhost", "127.0.0.1"] {
        redis_at(&format!("rediss://{host}:{}", server.port)).ping().await.unwrap();
    }
    let why = why(&format!("rediss://127.0.0.2:{}", server.port)).await;
    assert!(why.contains("its certificate is not for 127.0.0.2: address it by a name"), "{why}");
}

#[tokio::test]
async fn a_server_that_wants_certificates_of_its_clients_is_told() {
    if folder().is_none() {
        return over_tls(&["tls::a_server_that_wants_certificates_of_its_clients_is_told"]);
    }
    let server = Server::start_with(&[("tls-auth-clients", "yes")]).unwrap();
    let why = why(&server.url()).await;
    assert!(why.contains("it wants a certificate of its clients"), "{why}");
}

#[tokio::test]
async fn tls_1_2_is_spoken_where_a_server_knows_no_newer() {
    if folder().is_none() {
        return over_tls(&["tls::tls_1_2_is_spoken_where_a_server_knows_no_newer"]);
    }
    for version in ["TLSv1.2", "TLSv1.3"] {
        let server = Server::start_with(&[("tls-protocols", version)]).unwrap();
        redis_at(&server.url()).ping().await.unwrap();
    }
}

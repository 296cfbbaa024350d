//! A hosted gateway's worker that has seen ten thousand organizations holds no more than its bounds say.

use std::io::Write;

use kt_contract::gateway_key::GatewayKey;
use kt_contract::policy::{Chain, Check, Decision, Phase, Step, WordList};
use kt_contract::snapshot::Snapshot;
use kt_filter_host::Message;
use kt_filter_host::scanning::default_chain;
use kt_filter_host::world::{CHAT, principal, question};

use super::bombs::bound;
use super::{assert_clean, forwarded, world};

const TENANTS: usize = 10_000;
const MIB: usize = 1 << 20;
/// What the snapshot of these tests gives to L1.
const L1_BYTES: usize = 4 * MIB;
/// What the packs of a hosted gateway's tenants may take in a worker, beside all that any gateway's has.
const PACKS_BYTES: usize = 32 * MIB;

/// The key of a tenant. Of a random byte a key has one letter, so that only small ones are told apart.
fn key(tenant: usize) -> GatewayKey {
    let mut random = [3; 32];
    for (byte, digit) in random.iter_mut().zip(format!("{tenant:08}").bytes()) {
        *byte = digit - b'0';
    }
    GatewayKey::from_random(&random)
}

/// The pack of a tenant: the default chain, and some words of its own.
fn pack(host: &Snapshot, chain: &Chain, tenant: usize, words: usize) -> Snapshot {
    let mut snapshot = host.clone();
    snapshot.version = format!("tenant-{tenant}");
    snapshot.policy.digest.0[..8].copy_from_slice(&(tenant as u64).to_be_bytes());
    snapshot.policy.chain = chain.clone();
    let terms = (0..words).map(|word| format!("project {tenant} {word}")).collect();
    let check =
        Check::ContentPolicy(WordList { decision: Decision::Block, terms, patterns: Vec::new() });
    snapshot.policy.chain.steps.push(Step { phases: [Phase::Input].into(), check });
    snapshot
}

/// A request of each tenant, with a pack of so many words. The memory of the VM before, after half of them, and at the end.
fn ask_all(tenants: usize, words: usize) -> [usize; 3] {
    let mut world = world();
    let chain = default_chain().unwrap();
    let host = world.sidecar.snapshot.clone();
    let mut memory = [world.worker().memory_bytes(), 0, 0];
    for tenant in 0..tenants {
        let key = key(tenant);
        let whose = principal(&format!("gk_{tenant}"), &format!("org-{tenant}"));
        world.sidecar.knows_tenant(&key, whose, pack(&host, &chain, tenant, words));
        let bearer = format!("Bearer {}", key.reveal());
        let ask = Message::request("POST", CHAT).header("authorization", &bearer);
        let stream = world.send(ask.body(question("hi")));
        let _ = forwarded(&stream);
        stream.client_leaves();
        // A test holds no more of them than the worker does.
        world.sidecar.principals.clear();
        world.sidecar.admits.clear();
        memory[if tenant < tenants / 2 { 1 } else { 2 }] = world.worker().memory_bytes();
    }
    assert_eq!(world.sidecar.principals_asked, tenants);
    assert_clean(&world);
    memory
}

#[test]
fn ten_thousand_tenants_take_no_more_memory_than_a_vm_may_have() {
    let [before, _, memory] = ask_all(TENANTS, 2);
    // Past the test harness, which would swallow it.
    let _ = writeln!(
        std::io::stderr(),
        "{TENANTS} tenants, each with a pack of its own: {memory} bytes of linear memory, {before} before"
    );
    let most = bound(L1_BYTES, 0) + PACKS_BYTES;
    assert!(memory <= most, "{memory} bytes, and at most {most}");
}

#[test]
fn packs_that_fill_their_memory_make_room_for_others_and_take_no_more() {
    let [before, half, memory] = ask_all(6_000, 100);
    let most = bound(L1_BYTES, 0) + PACKS_BYTES;
    assert!(memory <= most, "{memory} bytes, and at most {most}; {before} before");
    let _ =
        writeln!(std::io::stderr(), "packs of a hundred words: {memory} bytes of linear memory");
    // The second half takes the place of the first, but for what an allocator cannot use again.
    assert!(memory - half <= 2 * MIB, "{half} bytes after half of them, {memory} at the end");
}

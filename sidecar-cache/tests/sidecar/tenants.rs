//! Hosted mode: one sidecar, many organizations, each decided by its own pack, with its own credential.

use std::path::Path;
use std::sync::Arc;

use kt_contract::config::{self, Config, SecretRef};
use kt_contract::policy::{Decision, ModelAllowlist};
use kt_contract::problem::Problem;
use kt_contract::snapshot::Snapshot;
use kt_contract::wire::VERSION;
use kt_contract::wire::admin::Condition;
use kt_contract::wire::admit::Admitted;
use kt_contract::wire::feed::{Event, FeedReply, FeedRequest};
use kt_contract::wire::principal::{PrincipalReply, PrincipalRequest};
use sidecar_cache::clock::Clock;
use sidecar_cache::service::settings::Settings;
use sidecar_cache::service::tenants::Tenants;
use sidecar_cache::service::{Parts, Sidecar};
use sidecar_cache::store::memory::MemoryEntries;

use crate::support::*;

const HOST: &str = "
gateway: {id: gw-a}
tenants: {folder: tenants}
providers:
  targets:
    - {id: openai-1, provider: openai, models: [gpt-4o-mini, gpt-4o]}
    - {id: azure-1, provider: azure, models: [mine], base_url: 'https://x.openai.azure.com'}
workflow_cache: {enabled: true, default_tier: org_shared_cache, org_shared_enabled: true}
";

fn pack(org: &str, more: &str) -> String {
    format!(
        "providers: {{targets: [{{id: openai-1, secret_key_ref: {{env: KEY_OF_{org}}}}}]}}\n{more}"
    )
}

fn host() -> Config {
    config::load("host.yaml", HOST).unwrap().config
}

/// Every variable but one has a value.
fn secrets(field: &str, secret: &SecretRef) -> Result<String, String> {
    match secret {
        SecretRef::Env(name) if name == "MISSING" => Err(format!("{field} needs MISSING")),
        SecretRef::Env(name) if name == "PANIC" => panic!("a fault in a file's check"),
        SecretRef::Env(name) => Ok(format!("sk-{name}")),
        // Another pack is being written meanwhile, and has no policies yet.
        SecretRef::File(path) if path.ends_with("globex.yaml") => {
            std::fs::write(path, pack("globex", "")).unwrap();
            Ok("sk-acme".to_owned())
        }
        SecretRef::File(path) => {
            std::fs::read_to_string(path).map_err(|_| format!("{field}: {path}"))
        }
    }
}

/// A sidecar with tenants.
struct Hosted {
    folder: tempfile::TempDir,
    group: Group,
}

// === impl Hosted ===

impl Hosted {
    async fn new(packs: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (org, more) in packs {
            write(folder.path(), org, &pack(org, more));
        }
        let provider = Arc::new(Provider::default());
        let (clock, settings) = (Clock::start(), Settings::of(&host(), false));
        let entries = Arc::new(MemoryEntries::new(clock, settings.memory));
        let sidecar = Sidecar::new(Parts {
            tenants: Some(Tenants::load(folder.path().to_owned(), host(), false, secrets)),
            ..parts(clock, settings, entries, &provider)
        });
        let group = Group { provider, ..Group::around(sidecar.unwrap()) };
        group.poll().await;
        Self { folder, group }
    }

    /// Saves a pack, and waits until it is taken or refused.
    async fn save(&self, org: &str, text: &str) {
        write(self.folder.path(), org, text);
        self.look().await;
    }

    async fn look(&self) {
        for _ in 0..2 {
            self.group.sidecar.look_at_tenants().await;
        }
    }

    async fn key(&self, org: &str) -> Key {
        self.group.key_with(|request| request.org = org.to_owned()).await
    }

    async fn principal(&self, key: &Key) -> PrincipalReply {
        let request = PrincipalRequest { version: VERSION, key: key.hash, identity: None };
        self.group.sidecar.principal(&request).await.unwrap()
    }

    /// By what a filter plans the requests of a key.
    async fn snapshot(&self, key: &Key) -> Snapshot {
        match self.principal(key).await {
            PrincipalReply::Tenant { snapshot, .. } => *snapshot,
            other @ (PrincipalReply::Known { .. }
            | PrincipalReply::NoTenant
            | PrincipalReply::Revoked
            | PrincipalReply::Unknown
            | PrincipalReply::Unavailable) => panic!("{other:?}"),
        }
    }

    async fn admit(&self, key: &Key) -> Admitted {
        let snapshot = self.snapshot(key).await;
        self.group.admit(ask_by(&snapshot, &gateway(), key, CHAT)).await
    }

    async fn fetch(&self, key: &Key) -> Seen {
        let Admitted::Lane { ticket, .. } = self.admit(key).await else { panic!("no lane") };
        read(self.group.lane(&ticket, CHAT).await.unwrap()).await
    }

    async fn feed(&self, after: Option<&FeedReply>) -> FeedReply {
        let poll = FeedRequest {
            version: VERSION,
            gateway: gateway(),
            worker: None,
            epoch: after.map(|reply| reply.epoch.clone()),
            seq: after.map_or(0, |reply| reply.seq),
            snapshot: None,
            hits: None,
        };
        self.group.sidecar.poll_feed(&poll).await.unwrap()
    }

    fn credentials_sent(&self) -> Vec<(String, String)> {
        let sent = self.group.provider.calls().into_iter().filter_map(|call| call.credential);
        sent.map(|it| (it.header.to_owned(), it.value.to_string())).collect()
    }
}

/// In one step, as an editor does: the file is another one by then.
fn write(folder: &Path, org: &str, text: &str) {
    let draft = folder.join(format!(".{org}.draft"));
    std::fs::write(&draft, text).unwrap();
    std::fs::rename(draft, folder.join(format!("{org}.yaml"))).unwrap();
}

const ALLOWS: &str =
    "policies: {chain: [model-allowlist], policy: {model-allowlist: {models: [gpt-4o]}}}";

/// A list of one model.
fn only(model: &str) -> ModelAllowlist {
    ModelAllowlist { decision: Decision::Block, models: set(&[model]) }
}

#[tokio::test]
async fn each_organization_has_its_own_policy_and_its_own_credential() {
    let hosted = Hosted::new(&[("acme", ""), ("globex", ALLOWS)]).await;
    let (acme, globex) = (hosted.key("acme").await, hosted.key("globex").await);
    let (ours, theirs) = (hosted.snapshot(&acme).await, hosted.snapshot(&globex).await);
    assert_eq!(ours.policy.model_allowlist, None);
    assert_eq!(theirs.policy.model_allowlist, Some(only("gpt-4o")));
    for key in [&acme, &globex] {
        hosted.fetch(key).await;
    }
    let bearer = |org: &str| ("authorization".to_owned(), format!("Bearer sk-KEY_OF_{org}"));
    assert_eq!(hosted.credentials_sent(), [bearer("acme"), bearer("globex")]);
}

#[tokio::test]
async fn a_call_to_a_target_that_the_organization_has_no_pack_for_is_not_made() {
    let hosted = Hosted::new(&[("acme", "")]).await;
    let acme = hosted.key("acme").await;
    let mut ask = ask_by(&hosted.snapshot(&acme).await, &gateway(), &acme, CHAT);
    ask.plan.target = "azure-1".to_owned();
    let (ticket, _) = hosted.group.ticket(ask).await;
    let refusal = hosted.group.lane(&ticket, CHAT).await.unwrap_err();
    assert_eq!(refusal.problem, Problem::Internal);
    assert_eq!(hosted.group.provider.count(), 0);
}

#[tokio::test]
async fn a_bad_file_keeps_the_last_good_one_of_its_tenant_and_touches_no_other() {
    let hosted = Hosted::new(&[("acme", ALLOWS), ("globex", "")]).await;
    let (acme, globex) = (hosted.key("acme").await, hosted.key("globex").await);
    let before = (hosted.snapshot(&acme).await, hosted.snapshot(&globex).await);
    let bad = pack("acme", "gateway: {id: x}\n");
    let missing = "providers: {targets: [{id: openai-1, secret_key_ref: {env: MISSING}}]}";
    for (text, why) in
        [(bad.as_str(), "gateway: is the host's"), (missing, "needs MISSING"), ("{", "acme.yaml:")]
    {
        hosted.save("acme", text).await;
        let status = hosted.group.sidecar.status();
        let said = &status.tenant_errors;
        assert!(said[0].contains("acme.yaml") && said[0].contains(why), "{said:?}");
        assert_eq!((status.status, status.tenants), (Condition::Degraded, Some(2)), "{why}");
        assert!(!said[0].contains("sk-"), "{said:?}");
        assert_eq!((hosted.snapshot(&acme).await, hosted.snapshot(&globex).await), before, "{why}");
        assert_eq!(hosted.group.metric("kt_tenants_refused"), "1");
    }
    hosted.save("acme", &pack("acme", "")).await;
    let status = hosted.group.sidecar.status();
    assert_eq!((status.status, status.tenant_errors), (Condition::Ok, vec![]));
    assert_eq!(hosted.snapshot(&acme).await.policy.model_allowlist, None);
}

#[tokio::test]
async fn a_tenant_comes_and_goes_and_gateways_are_told_whose_rules_have_changed() {
    let hosted = Hosted::new(&[("acme", "")]).await;
    let globex = hosted.key("globex").await;
    assert_eq!(hosted.principal(&globex).await, PrincipalReply::NoTenant);
    let heard = hosted.feed(None).await;
    hosted.save("globex", &pack("globex", "")).await;
    let of = |org: &str| Event::Tenant { org: org.to_owned() };
    let later = hosted.feed(Some(&heard)).await;
    assert_eq!(later.events, [of("globex")]);
    let snapshot = hosted.snapshot(&globex).await;
    let ask = || ask_by(&snapshot, &gateway(), &globex, CHAT);
    assert!(matches!(hosted.group.admit(ask()).await, Admitted::Lane { .. }));
    std::fs::remove_file(hosted.folder.path().join("globex.yaml")).unwrap();
    hosted.look().await;
    assert_eq!(hosted.feed(Some(&later)).await.events, [of("globex")]);
    assert_eq!(hosted.principal(&globex).await, PrincipalReply::NoTenant);
    assert_eq!(hosted.group.admit(ask()).await, Admitted::NoTenant);
    assert_eq!(hosted.group.sidecar.status().tenants, Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_pack_that_has_changed_decides_no_request_that_was_planned_by_the_one_before() {
    let hosted = Hosted::new(&[("acme", "workflow_cache: {enabled: true, ttl_seconds: 60}")]).await;
    let acme = hosted.key("acme").await;
    let before = hosted.snapshot(&acme).await;
    hosted.save("acme", &pack("acme", "policies: {chain: [pii-detector]}")).await;
    let after = hosted.snapshot(&acme).await;
    assert_ne!(before.version, after.version);
    let ask = |snapshot| ask_by(snapshot, &gateway(), &acme, CHAT);
    for snapshot in [&before, &after] {
        let (ticket, _) = hosted.group.ticket(ask(snapshot)).await;
        read(hosted.group.lane(&ticket, CHAT).await.unwrap()).await;
    }
    // Each is stored under its own policy: the one that was asked for under the older one, too.
    let again = hosted.group.admit(ask(&before)).await;
    assert!(matches!(again, Admitted::Hit { .. }), "{again:?}");
    tokio::time::advance(std::time::Duration::from_secs(61)).await;
    assert_eq!(hosted.group.admit(ask(&before)).await, Admitted::Draining, "nobody knows it");
    let other = hosted.group.admit(ask(&after)).await;
    assert!(matches!(other, Admitted::Hit { .. } | Admitted::Lane { .. }), "{other:?}");
}

#[tokio::test]
async fn half_a_file_and_a_draft_are_no_packs() {
    let hosted = Hosted::new(&[("acme", "")]).await;
    write(hosted.folder.path(), "globex", &pack("globex", ""));
    hosted.group.sidecar.look_at_tenants().await;
    assert_eq!(hosted.group.sidecar.status().tenants, Some(1), "seen once");
    std::fs::write(hosted.folder.path().join(".initech.yaml"), "x").unwrap();
    std::fs::write(hosted.folder.path().join("README.md"), "x").unwrap();
    hosted.look().await;
    let status = hosted.group.sidecar.status();
    assert_eq!((status.tenants, status.tenant_errors), (Some(2), vec![]));
}

#[tokio::test]
async fn a_folder_that_cannot_be_read_takes_nobodys_pack_away() {
    let hosted = Hosted::new(&[("acme", "")]).await;
    let acme = hosted.key("acme").await;
    let aside = hosted.folder.path().with_extension("aside");
    std::fs::rename(hosted.folder.path(), &aside).unwrap();
    hosted.look().await;
    assert_eq!(hosted.group.sidecar.status().tenant_errors.len(), 1);
    assert!(matches!(hosted.principal(&acme).await, PrincipalReply::Tenant { .. }));
    std::fs::rename(&aside, hosted.folder.path()).unwrap();
    hosted.look().await;
    assert_eq!(hosted.group.sidecar.status().tenant_errors, Vec::<String>::new());
}

#[tokio::test]
async fn what_the_host_says_holds_for_a_tenant_whose_file_is_bad() {
    let own = "policies: {chain: [pii-detector]}\n";
    let hosted = Hosted::new(&[("acme", own), ("globex", "")]).await;
    let (acme, globex) = (hosted.key("acme").await, hosted.key("globex").await);
    let before = hosted.snapshot(&acme).await;
    assert!(before.cache.l1_bytes_max > 0);
    for org in ["acme", "globex"] {
        hosted.save(org, "{").await;
    }
    let rebase = async |text: &str| {
        let host = config::load("host.yaml", text).unwrap().config;
        hosted.group.sidecar.rebase_tenants(host).await;
        hosted.look().await;
    };
    let limited = "policies: {chain: [rate-limit, secret-detector], \
                   policy: {rate-limit: {per_org: {requests_per_minute: 1}}}}\n";
    rebase(&format!("{}{limited}", HOST.replace(", gpt-4o]", "]"))).await;
    let (ours, theirs) = (hosted.snapshot(&acme).await, hosted.snapshot(&globex).await);
    for snapshot in [&ours, &theirs] {
        let models: Vec<_> = snapshot.models.routes.iter().map(|it| it.model.as_str()).collect();
        assert_eq!(models, ["gpt-4o-mini"], "the host has the other one no more");
        assert_eq!(snapshot.cache.l1_bytes_max, 0, "what is limited is counted");
    }
    assert_eq!(ours.policy, before.policy, "its own");
    assert_eq!(theirs.policy.chain.steps.len(), 1, "the host's");
    assert_eq!(hosted.group.sidecar.status().tenant_errors.len(), 2, "they are bad as ever");
    hosted.fetch(&acme).await;
    let mut ask = ask_by(&ours, &gateway(), &acme, CHAT);
    ask.plan.target = "azure-1".to_owned();
    let (ticket, _) = hosted.group.ticket(ask).await;
    let refusal = hosted.group.lane(&ticket, CHAT).await.unwrap_err();
    assert!(matches!(refusal.problem, Problem::RateLimited { .. }), "{:?}", refusal.problem);
    // Of a host without its targets, nothing is left for it; with them, its last good file holds again.
    let (head, tail) =
        (HOST.find("    - {id: openai-1").unwrap(), HOST.find("    - {id: azure").unwrap());
    rebase(&format!("{}{}", &HOST[..head], &HOST[tail..])).await;
    assert_eq!(hosted.principal(&acme).await, PrincipalReply::NoTenant);
    rebase(HOST).await;
    assert_eq!(hosted.snapshot(&acme).await, before);
}

#[tokio::test]
async fn a_pack_that_is_written_while_others_are_read_is_not_taken_before_it_is_steady() {
    let hosted = Hosted::new(&[("acme", ""), ("globex", ALLOWS)]).await;
    let globex = hosted.key("globex").await;
    let other = hosted.folder.path().join("globex.yaml");
    write(hosted.folder.path(), "globex", &pack("globex", &format!("{ALLOWS}# saved again\n")));
    let secret = format!("{{file: '{}'}}", other.display());
    let text = format!("providers: {{targets: [{{id: openai-1, secret_key_ref: {secret}}}]}}\n");
    hosted.save("acme", &text).await;
    assert_eq!(std::fs::read_to_string(&other).unwrap(), pack("globex", ""), "acme was read");
    assert_ne!(hosted.snapshot(&globex).await.policy.model_allowlist, None, "its policies hold");
    hosted.look().await;
    assert_eq!(hosted.snapshot(&globex).await.policy.model_allowlist, None, "now it is whole");
}

#[tokio::test]
async fn a_file_that_could_not_be_read_for_a_moment_is_read_again() {
    let hosted = Hosted::new(&[("acme", ALLOWS)]).await;
    let acme = hosted.key("acme").await;
    let secret = hosted.folder.path().join("secret");
    let text = format!(
        "providers: {{targets: [{{id: openai-1, secret_key_ref: {{file: '{}'}}}}]}}\n",
        secret.display()
    );
    hosted.save("acme", &text).await;
    assert_eq!(hosted.group.sidecar.status().tenant_errors.len(), 1);
    std::fs::write(&secret, "sk-late").unwrap();
    hosted.look().await;
    assert_eq!(hosted.group.sidecar.status().tenant_errors, Vec::<String>::new());
    assert_eq!(hosted.snapshot(&acme).await.policy.model_allowlist, None);
    // A link that leads in a circle: whether there is a file cannot be said.
    let file = hosted.folder.path().join("acme.yaml");
    std::fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("acme.yaml", &file).unwrap();
    hosted.look().await;
    assert_eq!(hosted.group.sidecar.status().tenant_errors.len(), 1);
    assert!(matches!(hosted.principal(&acme).await, PrincipalReply::Tenant { .. }));
    hosted.save("acme", &text).await;
    assert_eq!(hosted.group.sidecar.status().tenant_errors, Vec::<String>::new());
}

#[tokio::test]
async fn a_fault_of_ours_in_one_file_touches_no_other() {
    let hosted = Hosted::new(&[("globex", "")]).await;
    let panics = "providers: {targets: [{id: openai-1, secret_key_ref: {env: PANIC}}]}\n";
    write(hosted.folder.path(), "acme", panics);
    hosted.save("globex", &pack("globex", ALLOWS)).await;
    let globex = hosted.key("globex").await;
    assert_eq!(hosted.snapshot(&globex).await.policy.model_allowlist, Some(only("gpt-4o")));
    let said = hosted.group.sidecar.status().tenant_errors;
    assert!(said.len() == 1 && said[0].contains("acme.yaml: could not be checked"), "{said:?}");
    hosted.save("acme", &pack("acme", "")).await;
    assert_eq!(hosted.group.sidecar.status().tenants, Some(2));
}

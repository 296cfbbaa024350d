//! Live configuration: what is saved or applied is checked whole, goes live whole, and can be taken back; a request is
//! decided by one version.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kt_contract::money::MicroUsd;
use kt_contract::snapshot::RULES_CHARS;
use kt_contract::wire::admin::Condition;
use kt_contract::wire::admin::versions::{
    ApplyReply, ApplyRequest, RollbackRequest, Source, VersionEntry,
};
use kt_contract::wire::admit::Admitted;
use kt_contract::wire::feed::FeedRequest;
use sidecar_cache::clock::Clock;
use sidecar_cache::service::Failure;
use sidecar_cache::service::reload::Watched;
use sidecar_cache::service::settings::Settings;
use sidecar_cache::service::versions::Versions;
use sidecar_cache::service::{Parts, Sidecar};
use sidecar_cache::store::memory::MemoryEntries;
use sidecar_cache::store::versions::{MemoryVersions, VersionStore};

use crate::police::{REDACTS, WATCHES, policed, says};
use crate::support::*;

/// A sidecar that has its configuration from a file.
struct Filed {
    folder: tempfile::TempDir,
    group: Group,
    store: Arc<MemoryVersions>,
}

/// A configuration that differs from others in the status of a block.
fn config(block_status: u16) -> String {
    format!(
        "gateway: {{id: gw-a}}
providers:
  targets:
    - {{id: openai-1, provider: openai, models: [gpt-4o-mini, gpt-4o], secret_key_ref: {{env: KEY}}}}
workflow_cache: {{enabled: true, default_tier: org_shared_cache, org_shared_enabled: true}}
policies: {{block_status: {block_status}, chain: [model-allowlist], policy: {{model-allowlist: {{models: [gpt-4o-mini]}}}}}}
"
    )
}

const BAD: &str = "workflw_cache: {}\n";

// === impl Filed ===

impl Filed {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("policy-config.yaml"), config(409)).unwrap();
        let store = Arc::new(MemoryVersions::default());
        let group = sidecar_of(folder.path().join("policy-config.yaml"), Arc::clone(&store)).await;
        Self { folder, group, store }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("policy-config.yaml")
    }

    fn file(&self) -> String {
        std::fs::read_to_string(self.path()).unwrap()
    }

    /// Saves the file, and waits until it is taken or refused.
    async fn save(&self, text: &str) {
        std::fs::write(self.path(), text).unwrap();
        for _ in 0..2 {
            self.group.sidecar.look_at_file().await;
        }
    }

    async fn apply(&self, text: &str) -> Result<ApplyReply, Failure> {
        let (text, by) = (text.to_owned(), Some("ada".to_owned()));
        self.group.sidecar.apply_config(ApplyRequest { text, by, dry_run: false }).await
    }

    async fn rollback(&self, version: Option<&str>) -> Result<ApplyReply, Failure> {
        let request = RollbackRequest { version: version.map(str::to_owned), by: None };
        self.group.sidecar.rollback_config(request).await
    }

    /// The status of a block by the configuration in use.
    async fn live(&self) -> u16 {
        let (_, status) = self.version_and_status().await;
        status
    }

    async fn version_and_status(&self) -> (String, u16) {
        let poll = FeedRequest {
            version: kt_contract::wire::VERSION,
            gateway: gateway(),
            worker: None,
            epoch: None,
            seq: 0,
            snapshot: None,
            hits: None,
        };
        let told = self.group.sidecar.poll_feed(&poll).await.unwrap().snapshot.unwrap();
        let status = self.group.sidecar.status();
        let text = self.group.sidecar.render_metrics();
        let line = format!("kt_config_version_info{{version=\"{}\"}} 1", status.config.version);
        assert!(text.contains(&line), "{line}");
        (status.config.version, told.policy.block_status)
    }

    async fn history(&self) -> Vec<VersionEntry> {
        self.group.sidecar.config_versions().await.unwrap().versions
    }
}

async fn sidecar_of(path: PathBuf, store: Arc<MemoryVersions>) -> Group {
    let (watched, settings) = Watched::load(path, false).unwrap();
    let clock = Clock::start();
    let provider = Arc::new(Provider::default());
    let entries = Arc::new(MemoryEntries::new(clock, settings.memory));
    let sidecar = Sidecar::new(Parts {
        versions: Some(Versions::new(watched, store as Arc<dyn VersionStore>)),
        ..parts(clock, settings, entries, &provider)
    });
    let group = Group { provider, ..Group::around(sidecar.unwrap()) };
    group.sidecar.note_start().await;
    group
}

fn whys(failure: Failure) -> Vec<String> {
    let Failure::ConfigRefused(whys) = failure else { panic!("{failure}") };
    whys
}

#[tokio::test]
async fn a_saved_file_is_live_with_the_second_look_and_noted_once() {
    let filed = Filed::new().await;
    let (before, _) = filed.version_and_status().await;
    std::fs::write(filed.path(), config(451)).unwrap();
    filed.group.sidecar.look_at_file().await;
    assert_eq!(filed.live().await, 409, "whoever writes it may not have ended");
    for _ in 0..3 {
        filed.group.sidecar.look_at_file().await;
    }
    let (after, status) = filed.version_and_status().await;
    assert_eq!(status, 451);
    assert_ne!(before, after);
    let told: Vec<_> =
        filed.history().await.into_iter().map(|it| (it.source, it.version)).collect();
    assert_eq!(told, [(Source::File, Some(after)), (Source::Start, Some(before))]);
    assert_eq!(filed.group.metric("kt_config_changes_total{source=\"file\",result=\"live\"}"), "1");
}

/// What is on disk while an editor writes may be a whole configuration, without what stands at its end.
#[tokio::test]
async fn a_file_that_is_still_being_written_is_never_live() {
    let filed = Filed::new().await;
    let (whole, wrote) = (config(451), config(451).find("policies:").unwrap());
    for end in [0, 30, wrote, whole.len()] {
        std::fs::write(filed.path(), &whole[..end]).unwrap();
        filed.group.sidecar.look_at_file().await;
        let status = filed.group.sidecar.status();
        assert_eq!((filed.live().await, status.config_errors), (409, vec![]), "{end}");
    }
    filed.group.sidecar.look_at_file().await;
    assert_eq!(filed.live().await, 451);
}

#[tokio::test]
async fn a_bad_file_keeps_the_last_good_one_and_says_so_until_it_is_mended() {
    let filed = Filed::new().await;
    for (text, why) in [
        (format!("{}{BAD}", config(451)), "policy-config.yaml:7: workflw_cache: unknown field"),
        (config(451).replace("openai-1", "openai-2"), "providers.targets changed: restart"),
        (config(451).replace("{id: gw-a}", "{id: gw-a, port: 1}"), "gateway.port changed: restart"),
        ("\0".to_owned(), "policy-config.yaml"),
    ] {
        filed.save(&text).await;
        let status = filed.group.sidecar.status();
        assert_eq!((status.status, filed.live().await), (Condition::Degraded, 409), "{why}");
        assert!(status.config_errors[0].contains(why), "{:?}", status.config_errors);
        let refused = status.config.refused.unwrap();
        assert_eq!((&refused.errors, refused.source), (&status.config_errors, Source::File));
        assert_eq!(filed.group.metric("kt_degraded"), "1");
        filed.save(&config(409)).await;
        let status = filed.group.sidecar.status();
        assert_eq!((status.status, status.config_errors), (Condition::Ok, vec![]), "{why}");
        assert_eq!(status.config.refused.unwrap(), refused, "it is remembered");
    }
    let refused = "kt_config_changes_total{source=\"file\",result=\"refused\"}";
    assert_eq!(
        (filed.group.metric(refused), filed.group.metric("kt_reload_errors_total")),
        ("4".to_owned(), "4".to_owned())
    );
    assert_eq!(filed.history().await.len(), 5, "to have it back is no change");
    std::fs::remove_file(filed.path()).unwrap();
    for _ in 0..2 {
        filed.group.sidecar.look_at_file().await;
    }
    let refused = filed.group.sidecar.status().config.refused.unwrap();
    assert_eq!((refused.version, filed.live().await), (None, 409), "there is none to be read");
}

#[tokio::test]
async fn what_is_applied_is_in_the_file_and_live_when_it_is_answered() {
    let filed = Filed::new().await;
    let (before, _) = filed.version_and_status().await;
    let reply = filed.apply(&config(451)).await.unwrap();
    assert_eq!((reply.before, reply.set_aside), (before, None));
    assert_eq!(
        (filed.version_and_status().await, filed.file()),
        ((reply.version.clone(), 451), config(451))
    );
    filed.group.sidecar.look_at_file().await;
    let newest = &filed.history().await[0];
    assert_eq!(
        (newest.source, newest.by.as_deref(), newest.is_live),
        (Source::Apply, Some("ada"), true)
    );
    assert_eq!(newest.snapshot, Some(filed.group.sidecar.status().snapshot));
    let again = filed.apply(&config(451)).await.unwrap();
    assert_eq!((&again.version, &again.before), (&reply.version, &reply.version));
    assert_eq!(filed.history().await.len(), 2, "to apply it again is no change");
    for name in ["live", "file", "2", &reply.version[..8]] {
        let told = filed.group.sidecar.config_version(name).await.unwrap();
        assert_eq!((told.version, told.text), (reply.version.clone(), config(451)), "{name}");
    }
    for name in ["9", "", "nothing", "ffffffff"] {
        assert!(filed.group.sidecar.config_version(name).await.is_err(), "{name}");
    }
}

#[tokio::test]
async fn what_is_refused_changes_neither_the_file_nor_what_is_live_and_only_its_reasons_are_kept() {
    let filed = Filed::new().await;
    let secret = format!("{}# sk-secret\n{BAD}", config(451));
    let why = whys(filed.apply(&secret).await.unwrap_err());
    assert!(why[0].contains("workflw_cache"), "{why:?}");
    let moved = config(451).replace("openai-1", "openai-2");
    let why = whys(filed.apply(&moved).await.unwrap_err());
    assert!(why[0].contains("target 'openai-2' is new"), "{why:?}");
    assert_eq!((filed.live().await, filed.file()), (409, config(409)));
    let status = filed.group.sidecar.status();
    assert_eq!((status.status, status.config_errors), (Condition::Ok, vec![]), "the file is good");
    assert_eq!(status.config.refused.unwrap().errors, why);
    assert!(filed.group.sidecar.config_version("2").await.is_err());
    let told = format!("{:?}", filed.store);
    assert!(!told.contains("sk-secret") && told.contains("workflw_cache"), "{told}");
    for by in ["", "a\nb", &"x".repeat(65)] {
        let request = ApplyRequest { text: config(451), by: Some(by.to_owned()), dry_run: false };
        assert!(filed.group.sidecar.apply_config(request).await.is_err(), "{by:?}");
    }
    let asked = |text: String| ApplyRequest { text, by: None, dry_run: true };
    let would = filed.group.sidecar.apply_config(asked(config(451))).await.unwrap();
    assert_ne!(would.version, would.before);
    assert!(filed.group.sidecar.apply_config(asked(moved)).await.is_err());
    assert_eq!((filed.live().await, filed.history().await.len()), (409, 3), "only asked");
}

#[tokio::test]
async fn a_file_that_cannot_be_replaced_leaves_everything_as_it_is() {
    let filed = Filed::new().await;
    // Where the draft would be there is a folder, as nobody can take away from root.
    let draft = format!("policy-config.yaml.new-{}", std::process::id());
    std::fs::create_dir_all(filed.folder.path().join(draft).join("x")).unwrap();
    let refused = filed.apply(&config(451)).await.unwrap_err().to_string();
    assert!(refused.contains("policy-config.yaml cannot be replaced"), "{refused}");
    assert_eq!(
        (filed.live().await, filed.file(), filed.history().await.len()),
        (409, config(409), 1)
    );
}

#[tokio::test]
async fn a_rollback_takes_back_what_the_last_change_has_changed() {
    let filed = Filed::new().await;
    assert!(filed.rollback(None).await.is_err(), "there is nothing before");
    for status in [451, 403] {
        filed.apply(&config(status)).await.unwrap();
    }
    filed.rollback(None).await.unwrap();
    assert_eq!((filed.live().await, filed.file()), (451, config(451)));
    let newest = &filed.history().await[0];
    assert_eq!((newest.source, newest.number), (Source::Rollback, 4));
    filed.rollback(Some("1")).await.unwrap();
    assert_eq!(filed.live().await, 409);

    // A file that was refused gives way to what is live, and is nobody's lost work.
    let bad = format!("{}{BAD}", config(451));
    filed.save(&bad).await;
    let reply = filed.rollback(None).await.unwrap();
    assert_eq!((filed.live().await, filed.file()), (409, config(409)));
    assert_eq!(std::fs::read_to_string(reply.set_aside.unwrap()).unwrap(), bad);
    assert_eq!(filed.group.sidecar.status().status, Condition::Ok);
    let refused = filed.history().await.into_iter().find(|it| !it.errors.is_empty()).unwrap();
    let number = refused.number.to_string();
    let why = filed.rollback(Some(&number)).await.unwrap_err().to_string();
    assert!(why.contains("only the reasons are kept"), "{why}");
}

#[tokio::test]
async fn a_start_with_another_file_is_a_version_and_one_with_the_same_is_none() {
    let filed = Filed::new().await;
    filed.apply(&config(451)).await.unwrap();
    let again = sidecar_of(filed.path(), Arc::clone(&filed.store)).await;
    assert_eq!(again.sidecar.config_versions().await.unwrap().versions.len(), 2);
    std::fs::write(filed.path(), config(403)).unwrap();
    let other = sidecar_of(filed.path(), Arc::clone(&filed.store)).await;
    let newest = other.sidecar.config_versions().await.unwrap().versions.remove(0);
    assert_eq!((newest.number, newest.source, newest.is_live), (3, Source::Start, true));
}

#[tokio::test(start_paused = true)]
async fn the_status_says_which_version_each_gateway_runs_and_who_is_behind() {
    let filed = Filed::new().await;
    let poll = async |worker: &str, snapshot: &str| {
        let poll = FeedRequest {
            version: kt_contract::wire::VERSION,
            gateway: gateway(),
            worker: Some(worker.to_owned()),
            epoch: None,
            seq: 0,
            snapshot: Some(snapshot.to_owned()),
            hits: None,
        };
        filed.group.sidecar.poll_feed(&poll).await.unwrap();
    };
    let standing = || {
        let gateway = filed.group.sidecar.status().gateways.remove(0);
        (gateway.config, gateway.workers, gateway.workers_behind)
    };
    let old = filed.group.sidecar.status();
    let old_version = Some(old.config.version);
    for worker in ["one", "two"] {
        poll(worker, &old.snapshot).await;
    }
    assert_eq!(standing(), (old_version.clone(), 2, 0));
    filed.apply(&config(451)).await.unwrap();
    let new = filed.group.sidecar.status();
    tokio::time::advance(Duration::from_millis(700)).await;
    poll("one", &new.snapshot).await;
    assert_eq!(standing(), (old_version, 2, 1));
    assert_eq!(filed.group.metric("kt_gateways_behind"), "1");
    let age = || filed.group.metric("kt_gateway_snapshot_age_seconds{gateway=\"gw-a\"}");
    assert_eq!(age(), "0.7", "of the one that is behind");
    let member = "kt_gateway_info{gateway=\"gw-a\",role=\"primary\",group=\"coders\"}";
    assert_eq!(filed.group.metric(member), "1");
    poll("two", &new.snapshot).await;
    assert_eq!(standing(), (Some(new.config.version), 2, 0));
    assert_eq!(filed.group.metric("kt_gateways_behind"), "0");
    assert_eq!(age(), "0.0");
    // A comment changes nothing that a gateway has: it runs the new version without having heard of it.
    let commented = filed.apply(&format!("# a comment\n{}", config(451))).await.unwrap();
    assert_eq!(standing(), (Some(commented.version), 2, 0));
    poll("two", "of another life").await;
    assert_eq!(standing(), (None, 2, 1));
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(age(), "0", "there is no such line: it is lost");
    assert_eq!(filed.group.metric(member), "0", "nor this one");
}

/// The settings of a snapshot of its own, by which an answer of `JSON` costs so many micro-dollars for each of its
/// 12 tokens.
fn priced(block_status: u16, per_token: u32) -> Settings {
    settings_with(&format!(
        "policies: {{block_status: {block_status}}}
pricing: {{models: {{openai: {{gpt-4o-mini: {{input_usd_per_million: {per_token}, output_usd_per_million: {per_token}}}}}}}}}
"
    ))
}

#[tokio::test(start_paused = true)]
async fn a_request_is_decided_by_the_version_of_its_plan_to_its_end() {
    let group = group().await;
    let key = group.key().await;
    let (old, new) = (priced(409, 10), priced(451, 1_000));
    let (old_snapshot, new_snapshot) = (old.snapshot.version.clone(), new.snapshot.version.clone());
    group.sidecar.reconfigure(Ok(old)).await;
    let cost = async |snapshot: &str, nth: u32, change: Option<Settings>| {
        let body = CHAT.replace("hi", &format!("question {nth}"));
        let mut ask = group.ask(&key, &body);
        ask.plan.snapshot = snapshot.to_owned();
        let (ticket, _) = group.ticket(ask).await;
        if let Some(change) = change {
            group.sidecar.reconfigure(Ok(change)).await;
        }
        let seen = read(group.lane(&ticket, &body).await.unwrap()).await;
        seen.head.costs.cost
    };
    let micros = |amount| Some(MicroUsd::new(amount).unwrap());
    assert_eq!(cost(&old_snapshot, 1, None).await, micros(120));
    assert_eq!(cost(&old_snapshot, 2, Some(new)).await, micros(120), "overtaken on its way");
    assert_eq!(cost(&new_snapshot, 3, None).await, micros(12_000));
    assert_eq!(cost(&old_snapshot, 4, None).await, micros(120), "of a worker that has not heard");
    let unknown = format!("{}{}", &new_snapshot[..RULES_CHARS], "0".repeat(16));
    assert_eq!(cost(&unknown, 5, None).await, micros(12_000), "what is live decides");
    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!(cost(&old_snapshot, 6, None).await, micros(12_000), "a minute later, too");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_has_not_heard_of_a_stricter_policy_for_a_minute_is_shown_nothing_of_the_older_one()
 {
    let policed = policed(WATCHES).await;
    let answer = says("to jane@example.com");
    policed.group.provider.next(answers_json(&answer));
    policed.fetch(CHAT).await.unwrap();
    policed.group.sidecar.reconfigure(Ok(settings_with(REDACTS))).await;
    tokio::time::advance(Duration::from_secs(59)).await;
    assert_eq!(policed.group.hit(policed.ask(CHAT)).await, answer.as_bytes(), "by one version");
    tokio::time::advance(Duration::from_secs(2)).await;
    let other = CHAT.replace("hi", "another question");
    for body in [CHAT, &other] {
        assert_eq!(policed.group.admit(policed.ask(body)).await, Admitted::Draining);
    }
    assert_eq!(policed.metric("kt_outdated_plans_total"), "2");
}

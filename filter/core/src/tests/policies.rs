//! The policies that read requests: before everything else, and what is keyed is what is forwarded.

use std::collections::BTreeMap;

use kt_contract::hex::Digest;
use kt_contract::outcome::Reason;
use kt_contract::policy::{
    Chain, Check, Decision, Entities, Entity, ModelAllowlist, Phase, RequestShape, Step,
};
use kt_contract::snapshot::Snapshot;
use kt_contract::wire::admit::Admitted;
use kt_contract::wire::feed::{BlockCount, FeedReply, FeedRequest};

use super::rig::{BODY, Rig, feed_reply, only, snapshot};
use crate::action::{Action, Flow};
use crate::counter::Counter;

fn with_policies(decision: Decision) -> Snapshot {
    let of = |check| Step { phases: [Phase::Input].into(), check };
    let entities = BTreeMap::from([(Entity::Email, decision)]);
    let mut snapshot = snapshot();
    snapshot.policy.chain = Chain {
        steps: vec![
            of(Check::PiiDetector(Entities(entities))),
            of(Check::PromptInjection(Decision::Block)),
        ],
    };
    snapshot
}

fn rig(decision: Decision) -> Rig {
    let mut rig = Rig::with(with_policies(decision));
    rig.introduce();
    rig
}

fn asking(content: &str) -> String {
    BODY.replace("hi", content)
}

fn replaced(rig: &Rig) -> Option<String> {
    let mut bodies = rig.actions.iter().filter_map(|action| {
        if let Action::ReplaceBody(body) = action { Some(body) } else { None }
    });
    let only = bodies.next().map(|body| String::from_utf8(body.clone()).unwrap());
    assert!(bodies.next().is_none(), "replaced twice");
    only
}

#[test]
fn what_is_blocked_asks_nobody_and_says_why_and_not_what() {
    let mut rig = rig(Decision::Block);
    let _ = rig.chat(&[], &asking("to jane@example.com"));
    assert_eq!(rig.refusal(), (409, "policy_blocked".to_owned()));
    assert_eq!(rig.header("x-should-retry"), Some("false"));
    let body = String::from_utf8(rig.reply().body.to_vec()).unwrap();
    let words = "Refused by policy 'pii-detector': the request has what looks like: email.";
    assert!(body.contains(words) && !body.contains("jane"), "{body}");
    assert_eq!((rig.callout(), rig.forward(), replaced(&rig)), (None, None, None));
    assert_eq!(rig.logged("kt_guardrails").as_deref(), Some("pii-detector:email:block"));
    assert_eq!(rig.logged("kt_model").as_deref(), Some("gpt-4o"));
    assert_eq!(rig.counted(Counter::RefusedPolicy), 1);
    // The sidecar, which has not seen it, hears of it.
    let poll = rig.worker.poll(rig.now).unwrap();
    let batch = serde_json::from_slice::<FeedRequest>(&poll).unwrap().hits.unwrap();
    let expected = BlockCount { policy: "pii-detector".to_owned(), count: 1 };
    assert_eq!((batch.number, batch.counts.len(), batch.blocks), (1, 0, vec![expected]));
}

#[test]
fn what_is_redacted_is_keyed_and_forwarded_as_if_it_had_come_so() {
    let mut rig = rig(Decision::Redact);
    let sent = asking("to [EMAIL]");
    let _ = rig.chat(&[], &sent);
    let expected = rig.admit();
    assert_eq!((replaced(&rig), expected.plan.guardrails.len()), (None, 0));
    let _ = rig.chat(&[], &asking("to jane@example.com"));
    let admit = rig.admit();
    assert_eq!(replaced(&rig).as_ref(), Some(&sent));
    assert_eq!((admit.plan.key, admit.plan.check), (expected.plan.key, expected.plan.check));
    assert_eq!(admit.body, expected.body);
    assert_eq!(admit.body, Digest(*blake3::hash(sent.as_bytes()).as_bytes()));
    assert_eq!(admit.plan.guardrails, ["pii-detector:email:redact"]);
    let lane = Admitted::Lane { ticket: "t".to_owned(), reason: Reason::Request };
    assert_eq!(rig.answer_admit(&lane, b""), Flow::Continue);
    assert_eq!(rig.forward().unwrap().body_bytes, sent.len());
    assert_eq!(rig.logged("kt_guardrails").as_deref(), Some("pii-detector:email:redact"));
    assert_eq!(rig.counted(Counter::Redacted), 1);
}

#[test]
fn a_request_that_is_remembered_is_redacted_again() {
    let mut rig = rig(Decision::Redact);
    for _ in 0..3 {
        let _ = rig.chat(&[], &asking("to jane@example.com"));
        assert_eq!(replaced(&rig), Some(asking("to [EMAIL]")));
        assert_eq!(rig.counted(Counter::Redacted), 1);
    }
}

#[test]
fn what_is_only_watched_goes_on_as_it_came() {
    let mut rig = rig(Decision::Monitor);
    let body = asking("to jane@example.com");
    let _ = rig.chat(&[], &body);
    assert_eq!(rig.admit().body, Digest(*blake3::hash(body.as_bytes()).as_bytes()));
    assert_eq!(rig.admit().plan.guardrails, ["pii-detector:email:monitor"]);
    assert_eq!(replaced(&rig), None);
    assert_eq!(rig.counted(Counter::Monitored), 1);
}

#[test]
fn a_policy_that_becomes_stricter_holds_for_what_the_worker_remembers() {
    let mut rig = rig(Decision::Monitor);
    let body = asking("to jane@example.com");
    for _ in 0..2 {
        let _ = rig.chat(&[], &body);
        let _ = rig.hit(60_000);
    }
    let _ = rig.chat(&[], &body);
    assert_eq!(rig.counted(Counter::HitL1), 1);
    let stricter = Snapshot { version: "stricter".to_owned(), ..with_policies(Decision::Block) };
    rig.feed(FeedReply { snapshot: Some(stricter), ..feed_reply(1) });
    let _ = rig.chat(&[], &body);
    assert_eq!(rig.refusal().0, 409);
}

#[test]
fn a_request_that_asks_for_too_much_is_refused() {
    let mut snapshot = snapshot();
    let shape = RequestShape { output_tokens_max: Some(5), ..RequestShape::new(Decision::Block) };
    snapshot.policy.request_limits = Some(shape);
    let mut rig = Rig::with(snapshot);
    rig.introduce();
    let _ = rig.chat(&[], &BODY.replace(r#""model""#, r#""max_tokens":6,"model""#));
    assert_eq!(rig.refusal(), (409, "policy_blocked".to_owned()));
    let _ = rig.chat(&[], &BODY.replace(r#""model""#, r#""max_tokens":5,"model""#));
    assert!(rig.callout().is_some());
}

#[test]
fn where_several_refuse_the_list_of_models_is_named_first_then_bounds_then_who_reads() {
    let mut snapshot = with_policies(Decision::Block);
    snapshot.policy.model_allowlist = Some(only(&["gpt-4o"]));
    let bounds = RequestShape::new(Decision::Block);
    snapshot.policy.request_limits = Some(RequestShape { tools_max: Some(0), ..bounds });
    let mut rig = Rig::with(snapshot);
    rig.introduce();
    let reads = asking("to jane@example.com");
    let bounded = reads.replacen('{', r#"{"tools":[1],"#, 1);
    let listed = bounded.replace("gpt-4o", "gpt-4o-mini");
    for (body, policy, found) in [
        (&reads, "pii-detector", Some("pii-detector:email:block")),
        (&bounded, "request-limits", Some("request-limits:tools:block")),
        (&listed, "model-allowlist", None),
    ] {
        let _ = rig.chat(&[], body);
        assert_eq!(rig.refusal().0, 409);
        let told = String::from_utf8(rig.reply().body.to_vec()).unwrap();
        assert!(told.contains(&format!("'{policy}'")), "{told}");
        assert_eq!(rig.logged("kt_guardrails").as_deref(), found);
    }
}

#[test]
fn what_is_only_watched_of_a_whole_request_goes_on_and_is_told() {
    let mut snapshot = snapshot();
    let bounds = RequestShape::new(Decision::Monitor);
    snapshot.policy.request_limits = Some(RequestShape { input_tokens_max: Some(1), ..bounds });
    let list = ModelAllowlist { decision: Decision::Monitor, ..only(&["o1"]) };
    snapshot.policy.model_allowlist = Some(list);
    let mut rig = Rig::with(snapshot);
    rig.introduce();
    let _ = rig.chat(&[], BODY);
    let told = ["request-limits:input_tokens:monitor", "model-allowlist:request:monitor"];
    assert_eq!(rig.admit().plan.guardrails, told);
}

#[test]
fn a_snapshot_whose_policies_cannot_be_run_is_not_put_in_force() {
    use kt_contract::policy::WordList;
    let unusable = |version: &str| {
        let mut snapshot = snapshot();
        snapshot.version = version.to_owned();
        let words = WordList {
            decision: Decision::Block,
            terms: Vec::new(),
            patterns: vec!["(".to_owned()],
        };
        let check = Check::ContentPolicy(words);
        snapshot.policy.chain.steps.push(Step { phases: [Phase::Input].into(), check });
        FeedReply { snapshot: Some(snapshot), ..feed_reply(1) }
    };
    let mut rig = rig(Decision::Block);
    assert!(rig.feed(unusable("x")).contains(&Counter::WireError));
    let _ = rig.chat(&[], &asking("to jane@example.com"));
    assert_eq!(rig.refusal().0, 409, "the last good one stays");
    let mut rig = Rig::new("gw-a");
    rig.feed(unusable("x"));
    let _ = rig.chat(&[], BODY);
    assert_eq!(rig.refusal(), (503, "not_ready".to_owned()));
}

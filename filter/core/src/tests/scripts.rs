//! Every script of events up to a length, over an alphabet that has each event in its telling forms: what
//! must hold for all of them, whoever sends them in whatever order.

use kt_contract::wire::VERSION_TEXT;
use kt_contract::wire::admit::Admitted;
use kt_contract::wire::principal::PrincipalReply;

use super::rig::{ANSWER, BODY, Rig, principal};
use crate::action::{Action, Flow, LogLine};
use crate::event::{Answer, Event};
use crate::forward::{Forward, Lane as ForwardLane};

use crate::phase::Phase;

/// The longest script.
const LENGTH: usize = 5;
/// How many events follow once an exchange is over.
const AFTERMATH: usize = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Head,
    HeadAlone,
    HeadWithoutKey,
    HeadOnlyIfCached,
    Models,
    BodyGrows,
    BodyEnds,
    BodyTooLarge,
    Trailers,
    ReadGood,
    ReadBad,
    Lost,
    Garbage,
    Known,
    Unknown,
    Hit,
    Lane,
    NotCached,
    Draining,
    SidecarResponds,
    OtherResponds,
    HostRefused,
    Done,
}

use crate::peer::Peer;
use Step::{
    BodyEnds, BodyGrows, BodyTooLarge, Done, Draining, Garbage, Head, HeadAlone, HeadOnlyIfCached,
    HeadWithoutKey, Hit, HostRefused, Known, Lane, Lost, Models, NotCached, OtherResponds, ReadBad,
    ReadGood, SidecarResponds, Trailers, Unknown,
};

const ALPHABET: [Step; 23] = [
    Head,
    HeadAlone,
    HeadWithoutKey,
    HeadOnlyIfCached,
    Models,
    BodyGrows,
    BodyEnds,
    BodyTooLarge,
    Trailers,
    ReadGood,
    ReadBad,
    Lost,
    Garbage,
    Known,
    Unknown,
    Hit,
    Lane,
    NotCached,
    Draining,
    SidecarResponds,
    OtherResponds,
    HostRefused,
    Done,
];

/// A worker to start from, with its name.
type Start = (&'static str, fn() -> Rig);

const WORKERS: [Start; 4] = [
    ("no snapshot", || Rig::new("gw-a")),
    ("snapshot", Rig::ready),
    ("principal", Rig::knowing),
    ("entry in L1", || {
        let mut rig = Rig::knowing();
        rig.warm(60_000);
        rig.fresh();
        rig
    }),
];

/// What a script has led to, seen from outside.
struct Seen {
    flow: Flow,
    /// Actions of the last event.
    last: Vec<Action>,
    pending: i32,
    body_ended: bool,
    identified: bool,
    passed_policy: bool,
    only_if_cached: bool,
    replied_before: bool,
    forwarded_before: bool,
    over_before: bool,
}

fn play(rig: &mut Rig, step: Step) -> Flow {
    let lane =
        Admitted::Lane { ticket: "t".to_owned(), reason: kt_contract::outcome::Reason::Request };
    match step {
        Head => rig.head("POST", "/v1/chat/completions", &[], false),
        HeadAlone => rig.head("POST", "/v1/chat/completions", &[], true),
        HeadWithoutKey => {
            let fields: [(&[u8], &[u8]); 2] =
                [(b":method", b"POST"), (b":path", b"/v1/chat/completions")];
            let head = crate::head::Head::new(&fields);
            rig.turn(Event::RequestHeaders {
                head,
                end: false,
                random: [0; 16],
                peer: Peer::default(),
            })
        }
        HeadOnlyIfCached => {
            let more = [("cache-control", "only-if-cached")];
            rig.head("POST", "/v1/chat/completions", &more, false)
        }
        Models => rig.head("GET", "/v1/models", &[], true),
        BodyGrows => rig.turn(Event::RequestBody { bytes: 10, end: false }),
        BodyEnds => rig.turn(Event::RequestBody { bytes: 62, end: true }),
        BodyTooLarge => rig.turn(Event::RequestBody { bytes: 1_001, end: false }),
        Trailers => rig.turn(Event::RequestTrailers),
        ReadGood => rig.turn(Event::RequestRead { body: BODY.as_bytes() }),
        ReadBad => rig.turn(Event::RequestRead { body: b"{" }),
        Lost => rig.lose(),
        Garbage => {
            let fields: [(&[u8], &[u8]); 3] = [
                (b":status", b"200"),
                (b"x-kt-wire", VERSION_TEXT.as_bytes()),
                (b"x-kt-admit", b"\xff{"),
            ];
            let answer = Answer::Came { head: crate::head::Head::new(&fields), body: b"\xff" };
            rig.turn(Event::CalloutAnswered(answer))
        }
        Known => rig
            .answer_principal(&PrincipalReply::Known { principal: principal(), key_age_ms: None }),
        Unknown => rig.answer_principal(&PrincipalReply::Unknown),
        Hit => rig.hit(1_000),
        Lane => rig.answer_admit(&lane, b""),
        NotCached => {
            let reason = kt_contract::outcome::Reason::Expired;
            rig.answer_admit(&Admitted::NotCached { reason }, b"")
        }
        Draining => rig.answer_admit(&Admitted::Draining, ANSWER),
        SidecarResponds => rig.respond(&[(":status", "200"), ("x-kt-wire", VERSION_TEXT)]),
        OtherResponds => rig.respond(&[(":status", "503")]),
        HostRefused => rig.turn(Event::HostRefused),
        Done => rig.turn(Event::Done),
    }
}

const fn is_over(phase: &Phase) -> bool {
    matches!(phase, Phase::Replied | Phase::Done)
}

fn run(worker: usize, script: &[Step]) -> (Rig, Seen) {
    let (name, make) = WORKERS[worker];
    let mut rig = make();
    let mut seen = Seen {
        flow: Flow::Continue,
        last: Vec::new(),
        pending: 0,
        body_ended: false,
        identified: matches!(name, "principal" | "entry in L1"),
        passed_policy: false,
        only_if_cached: false,
        replied_before: false,
        forwarded_before: false,
        over_before: false,
    };
    for step in script {
        seen.replied_before |= seen.last.iter().any(|action| matches!(action, Action::Reply(_)));
        seen.forwarded_before |=
            seen.last.iter().any(|action| matches!(action, Action::Forward(_)));
        seen.only_if_cached |=
            *step == HeadOnlyIfCached && matches!(rig.exchange.phase, Phase::Start);
        seen.over_before = is_over(&rig.exchange.phase);
        let resolving = matches!(rig.exchange.phase, Phase::Resolving(_));
        let buffering = matches!(rig.exchange.phase, Phase::Buffering(_));
        seen.identified |= *step == Known && resolving;
        seen.passed_policy |= *step == ReadGood && buffering && seen.body_ended;
        seen.body_ended |= matches!(step, HeadAlone | BodyEnds | Trailers);
        if matches!(step, Lost | Garbage | Known | Unknown | Hit | Lane | NotCached | Draining) {
            seen.pending = 0;
        }
        let before = rig.actions.len();
        seen.flow = play(&mut rig, *step);
        seen.last = rig.actions[before..].to_vec();
        let asked = seen.last.iter().filter(|action| matches!(action, Action::Callout(_))).count();
        seen.pending += i32::try_from(asked).unwrap();
    }
    (rig, seen)
}

fn check(rig: &Rig, seen: &Seen, about: &str) {
    let is_quiet = |action: &Action| matches!(action, Action::Log(_) | Action::Count(_));
    let replies = rig.actions.iter().filter(|action| matches!(action, Action::Reply(_))).count();
    let forwards = rig.actions.iter().filter(|action| matches!(action, Action::Forward(_))).count();
    assert!(replies <= 1, "more than one reply: {about}");
    assert!(forwards <= 1, "forwarded twice: {about}");
    assert!(seen.pending <= 1, "two callouts under way: {about}");
    for action in &rig.actions {
        if let Action::Forward(Forward { lane: ForwardLane::Direct { .. }, .. }) = action {
            assert!(!seen.only_if_cached, "called for who wants a cached answer only: {about}");
        }
        if let Action::Log(LogLine { code: Some("not_cached"), .. }) = action {
            assert!(seen.only_if_cached, "refused who wants any answer: {about}");
        }
    }
    if seen.over_before || seen.replied_before {
        assert!(seen.last.iter().all(is_quiet), "acted after the end: {about}");
    }
    if let Some(at) = seen.last.iter().position(|action| matches!(action, Action::Reply(_))) {
        assert!(seen.last[at + 1..].iter().all(is_quiet), "acted after a reply: {about}");
    }
    if forwards > 0 {
        assert!(seen.identified, "forwarded without an identity: {about}");
        assert!(seen.passed_policy, "forwarded without a policy: {about}");
        assert!(rig.worker.snapshot().is_some(), "forwarded without a snapshot: {about}");
    }
    let held = matches!(
        rig.exchange.phase,
        Phase::Resolving(_) | Phase::Buffering(_) | Phase::Admitting(_)
    );
    match seen.flow {
        Flow::Pause if held => {
            let waits = seen.pending > 0 || !seen.body_ended;
            assert!(waits, "held for nothing: {about}");
        }
        Flow::ReadBody => {
            assert!(seen.body_ended, "half a body read: {about}");
            assert!(matches!(rig.exchange.phase, Phase::Buffering(_)), "{about}");
        }
        Flow::Continue => assert!(!held, "let through undecided: {about}"),
        Flow::Pause => {}
    }
}

fn extend(worker: usize, script: &mut Vec<Step>, over_for: usize, count: &mut usize) {
    for step in ALPHABET {
        script.push(step);
        let (rig, seen) = run(worker, script);
        check(&rig, &seen, &format!("{}: {script:?}", WORKERS[worker].0));
        *count += 1;
        let over_for = if is_over(&rig.exchange.phase) { over_for + 1 } else { 0 };
        if script.len() < LENGTH && over_for <= AFTERMATH {
            extend(worker, script, over_for, count);
        }
        script.pop();
    }
}

#[test]
fn no_script_of_events_breaks_a_promise() {
    let mut count = 0;
    for worker in 0..WORKERS.len() {
        extend(worker, &mut Vec::new(), 0, &mut count);
    }
    assert!(count > 10_000, "the search has become shallow: {count}");
}

#[test]
fn every_phase_is_reached_by_some_script() {
    let phase = |worker, script: &[Step]| run(worker, script).0.exchange.phase;
    assert!(matches!(phase(1, &[]), Phase::Start));
    assert!(matches!(phase(1, &[Head]), Phase::Resolving(_)));
    assert!(matches!(phase(1, &[Head, BodyEnds, Known]), Phase::Buffering(_)));
    assert!(matches!(phase(2, &[Head, BodyEnds, ReadGood]), Phase::Admitting(_)));
    assert!(matches!(phase(2, &[HeadAlone, ReadGood, Hit]), Phase::Replied));
    assert!(matches!(phase(2, &[Head, Trailers, ReadGood, Lane]), Phase::OnLane(_)));
    assert!(matches!(phase(2, &[Head, BodyEnds, ReadGood, Lost]), Phase::Direct(_)));
    let not_cached = [HeadOnlyIfCached, BodyEnds, ReadGood, NotCached];
    assert!(matches!(phase(2, &not_cached), Phase::Replied));
    assert!(matches!(phase(3, &[Head, BodyEnds, ReadGood]), Phase::Replied));
    assert!(matches!(phase(0, &[Done]), Phase::Done));
}

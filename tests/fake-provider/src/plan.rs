//! A directive and an answer, worked out into the steps of one response. Pure: `play.rs` performs it.

use std::time::Duration;

use bytes::Bytes;

use crate::answer::Answer;
use crate::dialect::Dialect;
use crate::directive::{Directive, Fault};
use crate::point::Point;
use crate::recordings::Recording;
use crate::render;
use crate::request::Ask;

/// One response, step by step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// What happens before the head.
    pub(crate) before: Before,
    /// The status.
    pub(crate) status: u16,
    /// The headers of the answer's own, the content type among them.
    pub(crate) headers: Vec<(String, String)>,
    /// Whether a provider's edge adds its usual headers.
    pub(crate) edge: bool,
    /// The length that the headers promise, where they do.
    pub(crate) content_length: Option<usize>,
    /// The body.
    pub(crate) steps: Vec<Step>,
    /// The time between two sends.
    pub(crate) pace: Duration,
    /// How it ends.
    pub(crate) end: End,
    /// Whether the body consists of events.
    streams: bool,
}

/// What happens before the head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Before {
    /// How long to wait.
    pub(crate) wait: Duration,
    /// The gates to wait at.
    pub(crate) gates: Vec<Option<String>>,
    /// Whether it never comes.
    pub(crate) never: Option<Never>,
}

/// Why a head never comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Never {
    /// Nothing happens.
    Hang,
    /// The connection is reset.
    Reset,
}

/// One step of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Send this.
    Send(Bytes),
    /// Wait at a gate.
    Wait(Option<String>),
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// As HTTP wants it.
    Clean,
    /// The connection is reset.
    Reset,
    /// It does not.
    Hang,
}

const DRIP_BYTES: usize = 8;
const JSON: &str = "application/json";
const HTML: &str = "<!DOCTYPE html>\n<html><body><h1>502 Bad Gateway</h1></body></html>\n";

// === impl Plan ===

impl Plan {
    /// The response to `ask` as `directive` wants it.
    #[must_use]
    pub(crate) fn new(ask: &Ask, directive: &Directive, answer: &Answer, pace: Duration) -> Self {
        let plan = match directive.fault {
            Some(Fault::Status(status)) => {
                Self::error(ask.dialect, status, "The fake was told to fail.")
            }
            Some(Fault::Html) => Self::whole(200, "text/html", Bytes::from_static(HTML.as_bytes())),
            Some(Fault::ErrorEvent) if !ask.stream => {
                let message = "The fake was told to fail inside a 200.";
                Self { status: 200, ..Self::error(ask.dialect, 500, message) }
            }
            _ if ask.stream => Self::stream(ask, directive, answer),
            _ => Self::whole(200, JSON, render::object(ask, answer)),
        };
        plan.told(directive, pace)
    }

    /// A recording as `directive` wants it; as it was, where that says nothing.
    #[must_use]
    pub(crate) fn recorded(recording: &Recording, directive: &Directive, pace: Duration) -> Self {
        let mut plan = Self::whole(recording.status, JSON, recording.body.clone());
        plan.headers.clone_from(&recording.headers);
        plan.edge = false;
        plan.become_steps(recording.pieces(), recording.streams());
        plan.told(directive, pace)
    }

    /// An error in the provider's shape.
    #[must_use]
    pub(crate) fn error(dialect: Dialect, status: u16, message: &str) -> Self {
        let body = render::error(dialect, status, message).to_string();
        Self::whole(status, JSON, Bytes::from(body))
    }

    fn whole(status: u16, content_type: &str, body: Bytes) -> Self {
        Self {
            before: Before::default(),
            status,
            headers: vec![("content-type".to_owned(), content_type.to_owned())],
            edge: true,
            content_length: Some(body.len()),
            steps: vec![Step::Send(body)],
            pace: Duration::ZERO,
            end: End::Clean,
            streams: false,
        }
    }

    fn stream(ask: &Ask, directive: &Directive, answer: &Answer) -> Self {
        let mut events = render::events(ask, answer);
        if directive.fault == Some(Fault::ErrorEvent) {
            events.truncate(events.len() / 2);
            let message = "The fake was told to fail inside a stream.";
            events.extend(render::error_events(ask.dialect, message));
        }
        if directive.fault == Some(Fault::NoDone) {
            events.pop();
        }
        if directive.crlf {
            events = events.iter().map(with_crlf).collect();
        }
        let mut plan = Self::whole(200, "text/event-stream; charset=utf-8", Bytes::new());
        plan.become_steps(events, true);
        plan
    }

    fn become_steps(&mut self, pieces: Vec<Bytes>, streams: bool) {
        self.streams = streams;
        self.content_length = (!streams).then(|| pieces.iter().map(Bytes::len).sum());
        self.steps = pieces.into_iter().map(Step::Send).collect();
    }

    fn told(mut self, directive: &Directive, pace: Duration) -> Self {
        self.pace = directive.delta_ms.map_or(pace, Duration::from_millis);
        self.before(directive);
        self.dress(directive);
        self.spoil(directive);
        self
    }

    /// What happens before the head.
    fn before(&mut self, directive: &Directive) {
        let at_head = directive.gates.iter().filter(|gate| gate.point == Point::Head);
        self.before = Before {
            wait: Duration::from_millis(directive.ttfb_ms),
            gates: at_head.map(|gate| gate.name.clone()).collect(),
            never: match directive.fault {
                Some(Fault::Reset) => Some(Never::Reset),
                Some(Fault::Hang(Point::Head)) => Some(Never::Hang),
                _ => None,
            },
        };
    }

    /// Headers and encoding.
    fn dress(&mut self, directive: &Directive) {
        let mut put = |name: &str, value: &str| {
            self.headers.push((name.to_owned(), value.to_owned()));
        };
        for (name, value) in &directive.advice {
            put(name, value);
        }
        if directive.no_store {
            put("cache-control", "no-store");
        }
        if directive.gzip {
            put("content-encoding", "gzip");
        }
        if directive.forge {
            put("x-cache-status", "hit");
            put("cache-status", "kt; hit; detail=forged");
            put("age", "12345");
            put("x-fabric-attached", "forged");
            put("x-kt-wire", "1");
            put("x-kt-admit", "{\"decision\":\"draining\"}");
            put("x-kt-served-by", "forged/forged");
            put("x-kt-details", "forged");
        }
        if let Some(content_type) = &directive.content_type {
            self.headers.retain(|(name, _)| name != "content-type");
            self.headers.push(("content-type".to_owned(), content_type.clone()));
        }
        if directive.gzip {
            let body = crate::gzip::stored(&self.bytes());
            self.become_steps(vec![Bytes::from(body)], false);
        }
    }

    /// Where the body waits, what breaks in it, and in which pieces it goes.
    fn spoil(&mut self, directive: &Directive) {
        // All offsets are those of the whole body, whatever is then cut off.
        let cut = self.cut_of(directive.fault);
        let gates = directive.gates.iter();
        let stops: Vec<(usize, Option<String>)> = gates
            .flat_map(|gate| self.offsets(gate.point).into_iter().map(|at| (at, gate.name.clone())))
            .collect();
        for (offset, name) in stops {
            let at = self.split(offset);
            self.steps.insert(at, Step::Wait(name));
        }
        if let Some((offset, end)) = cut {
            let at = self.split(offset);
            self.steps.truncate(at);
            self.end = end;
            match directive.fault {
                Some(Fault::Truncate(_) | Fault::TruncateAt(_) | Fault::EndAfter(_)) => {
                    self.content_length = self.content_length.map(|length| length.min(offset));
                }
                Some(Fault::TruncateChunked(_)) => self.content_length = None,
                _ => {}
            }
        }
        if directive.length_off != 0 {
            let length = self.content_length.unwrap_or_else(|| self.bytes().len());
            self.content_length = Some(length.saturating_add_signed(directive.length_off));
        }
        if directive.drip_ms.is_some() || directive.drip_bytes.is_some() {
            self.pace = Duration::from_millis(directive.drip_ms.unwrap_or_default());
            let bytes = directive.drip_bytes.unwrap_or(DRIP_BYTES).max(1);
            self.steps = self.steps.iter().flat_map(|step| dripped(step, bytes)).collect();
        }
    }

    /// Where the body stops short, and how.
    fn cut_of(&self, fault: Option<Fault>) -> Option<(usize, End)> {
        let first = |point| self.offsets(point).into_iter().next();
        let (offset, end) = match fault? {
            Fault::CutAfter(events) if self.streams => (first(Point::Event(events)), End::Reset),
            Fault::CutAfter(bytes) | Fault::CutAfterBytes(bytes) => (Some(bytes), End::Reset),
            Fault::CutAt(part) => (first(Point::Percent(part)), End::Reset),
            Fault::EndAfter(events) => (first(Point::Event(events)), End::Clean),
            Fault::Truncate(bytes) | Fault::TruncateChunked(bytes) => (Some(bytes), End::Clean),
            Fault::TruncateAt(part) => (first(Point::Percent(part)), End::Clean),
            Fault::Hang(point) => (first(point), End::Hang),
            Fault::Status(_) | Fault::Reset | Fault::NoDone | Fault::ErrorEvent | Fault::Html => {
                return None;
            }
        };
        Some((offset?, end))
    }

    /// How many bytes lie before a point. The head has none: it is not in the body.
    fn offsets(&self, point: Point) -> Vec<usize> {
        let whole = self.bytes().len();
        match point {
            Point::Head => Vec::new(),
            Point::Start => vec![0],
            Point::Bytes(bytes) => vec![bytes.min(whole)],
            Point::Percent(part) => vec![whole * part / 100],
            Point::Event(_) | Point::Each if !self.streams => vec![whole / 2],
            Point::Event(events) => vec![self.event_ends().take(events).last().unwrap_or(0)],
            Point::Each => self.event_ends().filter(|end| *end < whole).collect(),
        }
    }

    /// Where each event ends, while every step is one.
    fn event_ends(&self) -> impl Iterator<Item = usize> {
        self.steps.iter().filter_map(sent).scan(0, |end, bytes| {
            *end += bytes.len();
            Some(*end)
        })
    }

    fn bytes(&self) -> Vec<u8> {
        self.steps.iter().filter_map(sent).flat_map(|bytes| bytes.iter().copied()).collect()
    }

    /// The index behind the first `offset` bytes and all that waits there already.
    fn split(&mut self, offset: usize) -> usize {
        let mut left = offset;
        let mut at = 0;
        while let Some(step) = self.steps.get_mut(at) {
            match step {
                Step::Send(bytes) if bytes.len() > left => {
                    if left == 0 {
                        return at;
                    }
                    let head = bytes.split_to(left);
                    self.steps.insert(at, Step::Send(head));
                    return at + 1;
                }
                Step::Send(bytes) => left -= bytes.len(),
                Step::Wait(_) => {}
            }
            at += 1;
        }
        at
    }
}

fn sent(step: &Step) -> Option<&Bytes> {
    match step {
        Step::Send(bytes) => Some(bytes),
        Step::Wait(_) => None,
    }
}

fn with_crlf(event: &Bytes) -> Bytes {
    // Events hold no other line breaks: JSON escapes them.
    let mut bytes = b": a comment\r\n".to_vec();
    for byte in event {
        if *byte == b'\n' {
            bytes.push(b'\r');
        }
        bytes.push(*byte);
    }
    Bytes::from(bytes)
}

fn dripped(step: &Step, size: usize) -> Vec<Step> {
    match step {
        Step::Send(bytes) => {
            let pieces = bytes.chunks(size);
            pieces.map(|piece| Step::Send(Bytes::copy_from_slice(piece))).collect()
        }
        Step::Wait(name) => vec![Step::Wait(name.clone())],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plan_of(dialect: Dialect, stream: bool, directive: &str) -> Plan {
        let talk = json!([{"role": "user", "content": "hello"}]);
        let body = json!({"model": "m", "max_tokens": 99, "stream": stream,
            "messages": talk, "prompt": "hello", "input": "hello"});
        let ask = Ask::read(dialect, None, body.to_string().as_bytes()).unwrap();
        let directive = Directive::in_prompt(directive).unwrap();
        let answer = Answer::new(&ask, &directive, 1, 0);
        Plan::new(&ask, &directive, &answer, Duration::from_millis(5))
    }

    fn plan(stream: bool, directive: &str) -> Plan {
        plan_of(Dialect::Chat, stream, directive)
    }

    fn events(plan: &Plan) -> usize {
        String::from_utf8(plan.bytes()).unwrap().matches("\n\n").count()
    }

    #[test]
    fn a_good_stream_ends_with_done_and_a_good_object_has_its_length() {
        let stream = plan(true, "");
        assert!(stream.bytes().ends_with(b"data: [DONE]\n\n"));
        assert_eq!((stream.content_length, stream.end), (None, End::Clean));
        let object = plan(false, "");
        assert_eq!(object.content_length, Some(object.bytes().len()));
    }

    #[test]
    fn a_stream_is_cut_after_events_and_an_object_after_bytes() {
        let stream = plan(true, "[[fake: cut_after=3]]");
        assert_eq!((events(&stream), stream.end), (3, End::Reset));
        let object = plan(false, "[[fake: cut_after=3]]");
        assert_eq!((object.bytes().len(), object.end), (3, End::Reset));
        assert!(object.content_length.unwrap() > 3);
    }

    #[test]
    fn a_part_is_a_part_of_the_bytes_in_every_dialect() {
        for dialect in [Dialect::Chat, Dialect::Completions, Dialect::Responses, Dialect::Messages]
        {
            for stream in [false, true] {
                let whole = plan_of(dialect, stream, "").bytes();
                for (directive, end) in
                    [("cut_at=40%", End::Reset), ("truncate_at=40%", End::Clean)]
                {
                    let cut = plan_of(dialect, stream, &format!("[[fake: {directive}]]"));
                    assert_eq!(cut.bytes(), whole[..whole.len() * 2 / 5], "{dialect:?}");
                    assert_eq!(cut.end, end, "{dialect:?}");
                }
            }
        }
    }

    #[test]
    fn a_truncated_body_tells_its_own_length() {
        let object = plan(false, "[[fake: truncate=10]]");
        assert_eq!((object.content_length, object.bytes().len()), (Some(10), 10));
        let chunked = plan(false, "[[fake: truncate_chunked=10]]");
        assert_eq!((chunked.content_length, chunked.bytes().len()), (None, 10));
        assert_eq!(chunked.end, End::Clean);
    }

    #[test]
    fn a_wrong_length_is_wrong_by_as_much_as_was_asked_for() {
        for (directive, off) in [("length=10", 10), ("length=-10", -10)] {
            for stream in [false, true] {
                let plan = plan(stream, &format!("[[fake: {directive}]]"));
                let promised = plan.bytes().len().saturating_add_signed(off);
                assert_eq!(plan.content_length, Some(promised), "{directive}");
            }
        }
    }

    #[test]
    fn a_stream_without_its_end_lacks_nothing_else() {
        for dialect in [Dialect::Chat, Dialect::Completions, Dialect::Responses, Dialect::Messages]
        {
            let whole = plan_of(dialect, true, "");
            let without = plan_of(dialect, true, "[[fake: no_done]]");
            assert_eq!(events(&without) + 1, events(&whole), "{dialect:?}");
            assert!(whole.bytes().starts_with(&without.bytes()), "{dialect:?}");
        }
    }

    #[test]
    fn gates_and_drips_change_no_byte() {
        for stream in [false, true] {
            let whole = plan(stream, "").bytes();
            for directive in [
                "hold=body",
                "gate=a@event:2",
                "gate=a@each",
                "gate=a@37%, gate=b@37%",
                "drip_ms=1",
                "drip_bytes=1",
            ] {
                let plan = plan(stream, &format!("[[fake: {directive}]]"));
                assert_eq!(plan.bytes(), whole, "{directive}");
            }
        }
    }

    #[test]
    fn a_gate_stands_where_it_was_put() {
        let stream =
            plan(true, "[[fake: gate=b@event:3, gate=a@start, gate=c@event:3, cut_after=3]]");
        let named = |name: &str| Step::Wait(Some(name.to_owned()));
        assert_eq!(stream.steps.first(), Some(&named("a")));
        assert_eq!(stream.steps[4..], [named("b"), named("c")]);
        let head = plan(false, "[[fake: gate=a@head]]");
        assert_eq!(head.before.gates, [Some("a".to_owned())]);
        let each = plan(true, "[[fake: gate=a@each]]");
        let waits = each.steps.iter().filter(|step| sent(step).is_none()).count();
        assert_eq!(waits + 1, events(&each));
    }

    #[test]
    fn an_error_inside_a_stream_comes_as_its_dialect_tells_it() {
        for (dialect, error) in [
            (Dialect::Chat, "data: {\"error\":"),
            (Dialect::Responses, "event: error\ndata: {\"type\":\"error\""),
            (Dialect::Messages, "event: error\ndata: {\"type\":\"error\""),
        ] {
            let bytes = plan_of(dialect, true, "[[fake: error_event]]").bytes();
            let text = String::from_utf8(bytes).unwrap();
            assert!(text.contains(error), "{text}");
        }
        assert!(plan(true, "[[fake: error_event]]").bytes().ends_with(b"data: [DONE]\n\n"));
    }

    #[test]
    fn a_recording_is_played_to_the_byte() {
        let headers = vec![("content-type".to_owned(), "text/event-stream".to_owned())];
        let body = Bytes::from_static(b"data: a\n\n: x\n\ndata: b\n\n");
        let recording = Recording { status: 207, headers: headers.clone(), body: body.clone() };
        let played = |directive: &str| {
            let directive = Directive::in_prompt(directive).unwrap();
            Plan::recorded(&recording, &directive, Duration::ZERO)
        };
        let whole = played("");
        assert_eq!((whole.status, whole.bytes(), whole.headers), (207, body.to_vec(), headers));
        assert_eq!(played("[[fake: drip_bytes=1]]").steps.len(), body.len());
        let cut = played("[[fake: cut_after=2]]");
        assert_eq!((cut.bytes(), cut.end), (b"data: a\n\n: x\n\n".to_vec(), End::Reset));
    }
}

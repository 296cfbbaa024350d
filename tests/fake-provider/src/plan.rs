//! A directive and an answer, worked out into the steps of one response. Pure: `play.rs` performs it.

use std::time::Duration;

use bytes::Bytes;

use crate::answer::Answer;
use crate::directive::{Directive, Fault, Place};
use crate::render;
use crate::request::ChatRequest;

/// One response, step by step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// What happens before the headers.
    pub(crate) before: Before,
    /// The status.
    pub(crate) status: u16,
    /// The content type.
    pub(crate) content_type: String,
    /// Beside the usual headers.
    pub(crate) headers: Vec<(&'static str, String)>,
    /// The length that the headers promise, where they do.
    pub(crate) content_length: Option<usize>,
    /// The body.
    pub(crate) steps: Vec<Step>,
    /// The time between two sends.
    pub(crate) pace: Duration,
    /// How it ends.
    pub(crate) end: End,
}

/// What happens before the headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Before {
    /// How long to wait.
    pub(crate) wait: Duration,
    /// Whether to wait for the release.
    pub(crate) hold: bool,
    /// Whether they never come.
    pub(crate) never: Option<Never>,
}

/// Why headers never come.
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
    /// Wait for the release.
    Hold,
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
const HTML: &str = "<!DOCTYPE html>\n<html><body><h1>502 Bad Gateway</h1></body></html>\n";

// === impl Plan ===

impl Plan {
    /// The response to `request` as `directive` wants it.
    #[must_use]
    pub(crate) fn new(
        request: &ChatRequest,
        directive: &Directive,
        answer: &Answer,
        pace: Duration,
    ) -> Self {
        let mut plan = match directive.fault {
            Some(Fault::Status(status)) => Self::error(status, "The fake was told to fail."),
            Some(Fault::Html) => Self::whole(200, "text/html", Bytes::from_static(HTML.as_bytes())),
            Some(Fault::ErrorEvent) if !request.streams() => {
                let error = render::error(500, "The fake was told to fail inside a 200.");
                Self::whole(200, "application/json", Bytes::from(error.to_string()))
            }
            _ if request.streams() => Self::stream(request, directive, answer),
            _ => Self::whole(200, "application/json", render::object(answer)),
        };
        plan.pace = directive.delta_ms.map_or(pace, Duration::from_millis);
        plan.dress(directive);
        plan.spoil(directive, request.streams());
        plan
    }

    /// An error in the provider's shape.
    #[must_use]
    pub(crate) fn error(status: u16, message: &str) -> Self {
        let body = render::error(status, message).to_string();
        Self::whole(status, "application/json", Bytes::from(body))
    }

    /// One body, sent at once.
    #[must_use]
    pub(crate) fn whole(status: u16, content_type: &str, body: Bytes) -> Self {
        Self {
            before: Before { wait: Duration::ZERO, hold: false, never: None },
            status,
            content_type: content_type.to_owned(),
            headers: Vec::new(),
            content_length: Some(body.len()),
            steps: vec![Step::Send(body)],
            pace: Duration::ZERO,
            end: End::Clean,
        }
    }

    fn stream(request: &ChatRequest, directive: &Directive, answer: &Answer) -> Self {
        let mut events = render::events(answer, request.includes_usage());
        if directive.fault == Some(Fault::ErrorEvent) {
            let error = render::error(500, "The fake was told to fail inside a stream.");
            events.truncate(events.len() / 2);
            events.push(Bytes::from(render::event(&error.to_string())));
        }
        if directive.fault != Some(Fault::NoDone) {
            events.push(Bytes::from(render::event("[DONE]")));
        }
        if directive.crlf {
            events = events.iter().map(with_crlf).collect();
        }
        let mut plan = Self::whole(200, "text/event-stream; charset=utf-8", Bytes::new());
        plan.content_length = None;
        plan.steps = events.into_iter().map(Step::Send).collect();
        plan
    }

    /// Headers, encoding, and what happens before the headers.
    fn dress(&mut self, directive: &Directive) {
        self.before = Before {
            wait: Duration::from_millis(directive.ttfb_ms),
            hold: directive.hold == Some(Place::Headers),
            never: match directive.fault {
                Some(Fault::Reset) => Some(Never::Reset),
                Some(Fault::Hang(Place::Headers)) => Some(Never::Hang),
                _ => None,
            },
        };
        if let Some(content_type) = &directive.content_type {
            self.content_type.clone_from(content_type);
        }
        if let Some(seconds) = directive.retry_after_s {
            self.headers.push(("retry-after", seconds.to_string()));
        }
        if directive.gzip {
            self.headers.push(("content-encoding", "gzip".to_owned()));
            let body = crate::gzip::stored(&self.bytes());
            self.content_length = Some(body.len());
            self.steps = vec![Step::Send(Bytes::from(body))];
        }
        if directive.forge {
            let forged = [
                ("x-cache-status", "hit"),
                ("cache-status", "kt; hit; detail=forged"),
                ("age", "12345"),
                ("x-fabric-attached", "forged"),
                ("x-kt-wire", "1"),
                ("x-kt-admit", "{\"decision\":\"draining\"}"),
                ("x-kt-served-by", "forged/forged"),
                ("x-kt-details", "forged"),
            ];
            self.headers.extend(forged.map(|(name, value)| (name, value.to_owned())));
        }
    }

    /// What breaks in the body, and where it waits.
    fn spoil(&mut self, directive: &Directive, streams: bool) {
        match directive.fault {
            Some(Fault::CutAfter(events)) if streams => {
                self.steps.truncate(events);
                self.end = End::Reset;
            }
            Some(Fault::CutAfter(bytes) | Fault::CutAfterBytes(bytes)) => {
                self.cut(bytes);
                self.end = End::Reset;
            }
            Some(Fault::Truncate(bytes)) => {
                self.cut(bytes);
                self.content_length = self.content_length.map(|length| length.min(bytes));
            }
            Some(Fault::TruncateChunked(bytes)) => {
                self.cut(bytes);
                self.content_length = None;
            }
            Some(Fault::Hang(Place::Body)) => {
                self.cut(self.bytes().len() / 2);
                self.end = End::Hang;
            }
            _ => {}
        }
        if directive.hold == Some(Place::Body) {
            let half = self.bytes().len() / 2;
            self.insert_at(half, Step::Hold);
        }
        if let Some(ms) = directive.drip_ms {
            self.pace = Duration::from_millis(ms);
            self.steps = self.steps.iter().flat_map(dripped).collect();
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let sent = self.steps.iter().filter_map(|step| match step {
            Step::Send(bytes) => Some(bytes),
            Step::Hold => None,
        });
        sent.flat_map(|bytes| bytes.iter().copied()).collect()
    }

    /// Only the first `keep` bytes of the body are sent.
    fn cut(&mut self, keep: usize) {
        self.insert_at(keep, Step::Hold);
        let at = self.steps.iter().position(|step| *step == Step::Hold);
        self.steps.truncate(at.unwrap_or(self.steps.len()));
    }

    /// Puts `step` behind the first `offset` bytes.
    fn insert_at(&mut self, offset: usize, step: Step) {
        let mut left = offset;
        let mut steps = Vec::with_capacity(self.steps.len() + 2);
        let mut step = Some(step);
        for old in self.steps.drain(..) {
            match old {
                Step::Send(mut bytes) if step.is_some() && bytes.len() > left => {
                    let head = bytes.split_to(left);
                    steps.extend((!head.is_empty()).then_some(Step::Send(head)));
                    steps.extend(step.take());
                    steps.push(Step::Send(bytes));
                }
                Step::Send(bytes) => {
                    left = left.saturating_sub(bytes.len());
                    steps.push(Step::Send(bytes));
                }
                Step::Hold => steps.push(Step::Hold),
            }
        }
        self.steps = steps;
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

fn dripped(step: &Step) -> Vec<Step> {
    match step {
        Step::Send(bytes) => {
            let pieces = bytes.chunks(DRIP_BYTES);
            pieces.map(|piece| Step::Send(Bytes::copy_from_slice(piece))).collect()
        }
        Step::Hold => vec![Step::Hold],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plan(stream: bool, directive: &str) -> Plan {
        let body = json!({"model": "m", "stream": stream, "messages": [{"role": "user", "content": "hello"}]});
        let request: ChatRequest = serde_json::from_value(body).unwrap();
        let directive = Directive::in_prompt(directive).unwrap();
        let answer = Answer::new(&request, &directive, 1, 0);
        Plan::new(&request, &directive, &answer, Duration::from_millis(5))
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
        assert_eq!((stream.steps.len(), stream.end), (3, End::Reset));
        let object = plan(false, "[[fake: cut_after=3]]");
        assert_eq!((object.bytes().len(), object.end), (3, End::Reset));
        assert!(object.content_length.unwrap() > 3);
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
    fn a_stream_without_terminator_lacks_nothing_else() {
        let whole = plan(true, "").bytes();
        let without = plan(true, "[[fake: no_done]]").bytes();
        assert_eq!(whole.strip_suffix(b"data: [DONE]\n\n".as_slice()), Some(without.as_slice()));
    }

    #[test]
    fn a_hold_and_a_drip_change_no_byte() {
        for stream in [false, true] {
            let whole = plan(stream, "").bytes();
            for directive in ["[[fake: hold=body]]", "[[fake: drip_ms=1]]"] {
                assert_eq!(plan(stream, directive).bytes(), whole, "{directive}");
            }
        }
        assert!(plan(false, "[[fake: hold=body]]").steps.contains(&Step::Hold));
    }

    #[test]
    fn an_error_inside_a_stream_is_followed_by_done() {
        let bytes = plan(true, "[[fake: error_event]]").bytes();
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains("data: {\"error\":"));
        assert!(text.ends_with("data: [DONE]\n\n"));
    }
}

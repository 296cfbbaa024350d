//! Scripts of events for the filter's core, in any order: two exchanges of one worker, its feed and its clock.
//! A script is text, an event a line: a letter, and what the event carries.
//!
//! Whatever comes, nothing panics; an exchange replies at most once and forwards at most once, has at most one
//! callout under way, does nothing but count and log after its end, and forwards nothing that was not read
//! whole for a caller who is known. No line end gets into a head, no body is kept, and a worker holds no more
//! than its bounds.

pub(crate) mod play;
mod script;

use kt_contract::wire::PATH_ADMIT;
use kt_filter_core::action::{Action, Flow};

use self::play::Player;
use self::script::Step;

/// What an exchange has done so far, seen from outside.
#[derive(Debug, Default)]
struct Seen {
    replies: usize,
    forwards: usize,
    /// Callouts under way.
    pending: usize,
    body_ended: bool,
    was_read: bool,
    /// The end has come: a reply, or [`Step::Done`].
    is_over: bool,
    /// Envoy or somebody behind it has answered.
    has_response: bool,
}

/// Takes any script.
pub fn check(script: &[u8]) {
    let mut player = Player::new();
    for line in script.split(|byte| *byte == b'\n') {
        if let Some(step) = Step::read(line) {
            player.play(step);
        }
    }
    player.check_worker();
}

// === impl Seen ===

impl Seen {
    /// Takes in what an exchange has asked for after `step`.
    fn turn(&mut self, step: Step<'_>, actions: &[Action], flow: Flow) {
        self.before(step);
        for action in actions {
            assert!(!self.is_over || is_quiet(action), "acted after the end: {action:?}");
            match action {
                Action::Reply(_) => {
                    self.replies += 1;
                    self.is_over = true;
                }
                Action::Forward(_) => {
                    self.forwards += 1;
                    assert!(self.was_read, "forwarded unread");
                }
                Action::Callout(callout) => {
                    self.pending += 1;
                    let is_decided = callout.path != PATH_ADMIT || self.was_read;
                    assert!(is_decided, "asked about half a body");
                }
                Action::ReplaceBody(body) => {
                    assert!(self.was_read && !body.is_empty(), "replaced unread");
                }
                Action::ClearTrailers
                | Action::Spend(_)
                | Action::SetResponseHeader(..)
                | Action::RemoveResponseHeader(_)
                | Action::Log(_)
                | Action::Count(_) => {}
            }
        }
        assert!(self.replies <= 1, "replied twice");
        assert!(self.forwards <= 1, "forwarded twice");
        assert!(self.pending <= 1, "two callouts under way");
        self.is_over |= matches!(step, Step::Done);
        match flow {
            Flow::ReadBody => assert!(self.body_ended, "half a body read"),
            Flow::Continue => {
                let is_decided = self.forwards > 0 || self.is_over || self.has_response;
                assert!(is_decided, "let through undecided");
            }
            Flow::Pause => {}
        }
    }

    fn before(&mut self, step: Step<'_>) {
        match step {
            Step::Head { end, .. } | Step::RawHead { end, .. } => self.body_ended |= end,
            Step::Body { end, .. } => self.body_ended |= end,
            Step::Trailers => self.body_ended = true,
            Step::Read(_) => self.was_read |= self.body_ended,
            Step::Response { .. } => self.has_response = true,
            Step::Lost
            | Step::Admit { .. }
            | Step::Came { .. }
            | Step::Known
            | Step::Hit { .. }
            | Step::Decided(_) => self.pending = 0,
            Step::New
            | Step::Other
            | Step::HostRefused
            | Step::Done
            | Step::Wait { .. }
            | Step::Feed(_) => {}
        }
    }
}

fn is_quiet(action: &Action) -> bool {
    matches!(action, Action::Log(_) | Action::Count(_))
}

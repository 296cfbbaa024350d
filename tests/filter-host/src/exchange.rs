//! One exchange as Envoy's filter manager sees it: what each direction holds, what the filter may still
//! touch, and what went past it. Data only; `filter_manager` moves it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::headers::HeaderMap;
use crate::message::Passed;

/// Where a message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Request,
    Response,
}

/// How far the filter lets a direction go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Iteration {
    /// What comes passes.
    #[default]
    Flowing,
    /// Held, but the filter is still shown what comes (`StopIteration`).
    Stopped,
    /// Held, and the filter is shown nothing until it resumes (`StopAllIterationAndWatermark`).
    StoppedAll,
}

/// What came while a direction was stopped altogether.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) data: Vec<u8>,
    pub(crate) end: bool,
    pub(crate) trailers: Option<HeaderMap>,
}

/// One direction of an exchange.
#[derive(Debug, Default)]
pub(crate) struct Half {
    /// The headers as the filter has left them.
    pub(crate) headers: HeaderMap,
    /// Whether Envoy still gives the filter access to them.
    pub(crate) headers_open: bool,
    /// The trailers, once they are there.
    pub(crate) trailers: HeaderMap,
    /// Whether Envoy gives the filter access to them.
    pub(crate) trailers_open: bool,
    /// The body that is held back.
    pub(crate) buffered: Vec<u8>,
    /// Whether the body is being held back.
    pub(crate) buffering: bool,
    /// The piece of body in the callback that runs, where nothing is held back.
    pub(crate) piece: Option<Vec<u8>>,
    /// How far it may go on.
    pub(crate) iteration: Iteration,
    /// What the filter has not been shown.
    pub(crate) held: Held,
    /// Whether headers have come.
    pub(crate) started: bool,
    /// Whether the end has come.
    pub(crate) ended: bool,
    /// What went past the filter.
    pub(crate) passed: Option<Passed>,
}

/// How an exchange ended for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// With a whole answer.
    Complete,
    /// With a broken connection.
    Cut,
}

/// One exchange.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    pub(crate) request: Half,
    pub(crate) response: Half,
    /// What `get_property` finds, by path with zero bytes between segments.
    pub(crate) properties: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What the filter set, by the same.
    pub(crate) filter_state: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Whether a local reply ended the request, and whose words the details are.
    pub(crate) local_reply: Option<String>,
    /// Whether the filter has asked for a local reply: a second one is ignored.
    pub(crate) reply_asked: bool,
    /// Whether the access log runs.
    pub(crate) logging: bool,
    pub(crate) over: Option<Over>,
    /// Whether `on_log`, `on_done` and `on_delete` have run.
    pub(crate) deleted: bool,
}

/// An exchange that the VM's state and a test's handle share.
pub(crate) type SharedExchange = Rc<RefCell<Exchange>>;

// === impl Half ===

impl Half {
    /// The body that the filter may read and write.
    pub(crate) fn body(&mut self) -> Option<&mut Vec<u8>> {
        if self.buffering { Some(&mut self.buffered) } else { self.piece.as_mut() }
    }

    /// Lets everything pass that is held back: the headers if they have not yet, the body, the trailers.
    pub(crate) fn release(&mut self) {
        self.iteration = Iteration::Flowing;
        let passed = self.passed.get_or_insert_with(|| Passed::of(self.headers.clone()));
        passed.body.append(&mut self.buffered);
        self.buffering = false;
        if self.ended {
            passed.trailers.clone_from(&self.trailers);
            passed.complete = true;
        }
    }

    /// Envoy is done with this direction: what comes later reaches nobody.
    pub(crate) fn abort(&mut self) {
        self.ended = true;
        self.headers_open = false;
        self.trailers_open = false;
        self.buffered = Vec::new();
        self.buffering = false;
        self.held = Held::default();
    }
}

// === impl Exchange ===

impl Exchange {
    pub(crate) fn half(&mut self, direction: Direction) -> &mut Half {
        match direction {
            Direction::Request => &mut self.request,
            Direction::Response => &mut self.response,
        }
    }

    /// Whether the client has its whole answer.
    pub(crate) fn is_answered(&self) -> bool {
        self.response.passed.as_ref().is_some_and(|passed| passed.complete)
    }

    /// Ends it for the client as it stands.
    pub(crate) fn cut(&mut self) {
        if self.over.is_none() {
            self.over = Some(Over::Cut);
        }
        self.request.abort();
        self.response.abort();
    }
}

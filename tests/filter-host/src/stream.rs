//! One exchange in the hands of a test: the client's side, the upstream's side, and what each has seen.

use crate::exchange::{Direction, Over, SharedExchange};
use crate::filter_manager::{self, Here};
use crate::headers::HeaderMap;
use crate::instance::{Instance, Trap};
use crate::message::{Message, Passed};
use crate::state::LocalReply;
use crate::vm::Vm;

/// A handle on an exchange. Whatever is sent on one that is over goes nowhere, as on a closed connection.
#[derive(Clone, Debug)]
pub struct Stream {
    pub(crate) vm: Vm,
    pub(crate) incarnation: u64,
    pub(crate) context: u32,
    pub(crate) exchange: SharedExchange,
}

// === impl Stream ===

impl Stream {
    /// The client sends a piece of body.
    pub fn body(&self, piece: impl AsRef<[u8]>) {
        self.request_body(piece.as_ref(), false);
    }

    /// The client's body ends: Envoy says so with an empty piece.
    pub fn end(&self) {
        self.request_body(&[], true);
    }

    /// The client sends the last piece of its body, marked as the last.
    pub fn last(&self, piece: impl AsRef<[u8]>) {
        self.request_body(piece.as_ref(), true);
    }

    /// The client ends with trailers; no piece of its body is marked as the last.
    pub fn trailers(&self, trailers: HeaderMap) {
        if self.exchange.borrow().request.ended {
            return;
        }
        self.run(|instance, here| {
            filter_manager::trailers(instance, here, Direction::Request, trailers)
        });
    }

    /// The client goes away.
    pub fn client_leaves(&self) {
        let details = b"downstream_remote_disconnect".to_vec();
        self.run(|_, here| {
            let mut exchange = here.exchange.borrow_mut();
            exchange.properties.insert(b"response\0code_details".to_vec(), details);
            exchange.cut();
            Ok(())
        });
    }

    /// The upstream answers. Nothing happens unless the request's headers have passed.
    pub fn upstream_answers(&self, response: Message) {
        let Message { headers, chunks, trailers } = response;
        let ends = chunks.is_empty() && trailers.is_none();
        self.upstream_headers(headers, ends);
        for chunk in chunks {
            self.upstream_body(&chunk, false);
        }
        match trailers {
            Some(trailers) if self.is_upstream_open() => {
                self.run(|instance, here| {
                    filter_manager::trailers(instance, here, Direction::Response, trailers)
                });
            }
            None if !ends => self.upstream_body(&[], true),
            Some(_) | None => {}
        }
    }

    /// The upstream sends headers.
    pub fn upstream_headers(&self, headers: HeaderMap, end: bool) {
        if self.forwarded().is_none() || self.exchange.borrow().response.started {
            return;
        }
        self.run(|instance, here| {
            let path = b"response\0code_details".to_vec();
            here.exchange.borrow_mut().properties.insert(path, b"via_upstream".to_vec());
            filter_manager::headers(instance, here, Direction::Response, headers, end)
        });
    }

    /// The upstream sends a piece of body.
    pub fn upstream_body(&self, piece: &[u8], end: bool) {
        if self.is_upstream_open() {
            self.run(|instance, here| {
                filter_manager::body(instance, here, Direction::Response, piece, end)
            });
        }
    }

    /// The upstream's connection breaks: a 503 that Envoy makes, or a cut where headers have passed.
    pub fn upstream_breaks(&self) {
        if self.forwarded().is_none() || self.exchange.borrow().is_answered() {
            return;
        }
        self.run(|instance, here| {
            if here.exchange.borrow().response.started {
                let mut exchange = here.exchange.borrow_mut();
                let details = b"upstream_reset_after_response_started{protocol_error}".to_vec();
                exchange.properties.insert(b"response\0code_details".to_vec(), details);
                exchange.cut();
                return Ok(());
            }
            let reply = LocalReply {
                status: 503,
                body: b"upstream connect error or disconnect/reset before headers".to_vec(),
                details: "upstream_reset_before_response_started{connection_termination}".into(),
                ..LocalReply::default()
            };
            filter_manager::local_reply(instance, here, reply)
        });
    }

    /// What went on to the upstream; `None` while the filter holds the headers.
    #[must_use]
    pub fn forwarded(&self) -> Option<Passed> {
        self.exchange.borrow().request.passed.clone()
    }

    /// What the client has; `None` before the headers of an answer.
    #[must_use]
    pub fn answer(&self) -> Option<Passed> {
        self.exchange.borrow().response.passed.clone()
    }

    /// Whether Envoy or the filter answered, and not an upstream.
    #[must_use]
    pub fn is_local_reply(&self) -> bool {
        self.exchange.borrow().local_reply.is_some()
    }

    /// Whether it waits for the filter.
    #[must_use]
    pub fn is_held(&self) -> bool {
        let exchange = self.exchange.borrow();
        exchange.over.is_none() && exchange.request.passed.is_none()
    }

    /// Whether the client has its whole answer.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.exchange.borrow().over == Some(Over::Complete)
    }

    /// Whether the connection was cut under the client.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.exchange.borrow().over == Some(Over::Cut)
    }

    /// What the filter left for the access log.
    #[must_use]
    pub fn filter_state(&self, name: &str) -> Option<String> {
        let exchange = self.exchange.borrow();
        exchange
            .filter_state
            .get(name.as_bytes())
            .map(|value| String::from_utf8_lossy(value).into_owned())
    }

    fn request_body(&self, piece: &[u8], end: bool) {
        if self.exchange.borrow().request.ended {
            return;
        }
        self.run(|instance, here| {
            filter_manager::body(instance, here, Direction::Request, piece, end)
        });
    }

    fn is_upstream_open(&self) -> bool {
        let exchange = self.exchange.borrow();
        exchange.response.started && !exchange.response.ended && exchange.local_reply.is_none()
    }

    fn run(&self, what: impl FnOnce(&mut Instance, &Here) -> Result<(), Trap>) {
        if self.exchange.borrow().over.is_some() {
            return;
        }
        let here = Here { context: self.context, exchange: self.exchange.clone() };
        self.vm.run(self.incarnation, |instance| what(instance, &here));
    }
}

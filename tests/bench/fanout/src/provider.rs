//! A provider that answers when it is told to.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Channel, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::tokens;

/// How it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// One JSON object.
    Json,
    /// All tokens at once.
    Burst,
    /// A token every [`tokens::EVERY`].
    Steady,
    /// Some tokens at once, the end when released.
    Held,
}

/// The provider.
#[derive(Debug)]
pub(crate) struct Provider {
    pace: Pace,
    calls: AtomicUsize,
    waiting: watch::Sender<usize>,
    held: watch::Sender<usize>,
    released: watch::Sender<bool>,
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

impl Provider {
    pub(crate) fn new(pace: Pace) -> Self {
        Self {
            pace,
            calls: AtomicUsize::new(0),
            waiting: watch::Sender::new(0),
            held: watch::Sender::new(0),
            released: watch::Sender::new(false),
        }
    }

    /// How many calls have come.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// Waits until `count` calls wait for their answers.
    pub(crate) async fn until_waiting(&self, count: usize, patience: Duration) -> io::Result<()> {
        until(&self.waiting, count, patience).await
    }

    /// Waits until `count` answers stand still in the middle.
    pub(crate) async fn until_held(&self, count: usize, patience: Duration) -> io::Result<()> {
        until(&self.held, count, patience).await
    }

    /// Lets every answer go, and says when that was.
    pub(crate) fn release(&self) -> Instant {
        let now = crate::clock::now();
        self.released.send_replace(true);
        now
    }

    /// Serves until the process ends.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let provider = Arc::clone(&self);
            let service = service_fn(move |request| {
                let provider = Arc::clone(&provider);
                async move { Ok::<_, Infallible>(provider.answer(request).await) }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    }

    async fn until_released(&self) {
        let _ = self.released.subscribe().wait_for(|released| *released).await;
    }

    async fn answer(self: &Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let _ = request.into_body().collect().await;
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.waiting.send_modify(|waiting| *waiting += 1);
        if self.pace != Pace::Held {
            self.until_released().await;
        }
        let (content_type, body) = match self.pace {
            Pace::Json => ("application/json", Full::from(tokens::json()).boxed_unsync()),
            Pace::Burst => {
                let all: String = (0..tokens::TOKENS).map(tokens::event).collect();
                ("text/event-stream", Full::from(all + &tokens::ending()).boxed_unsync())
            }
            Pace::Steady => ("text/event-stream", steady()),
            Pace::Held => ("text/event-stream", held(Arc::clone(self))),
        };
        let mut response = Response::new(body);
        let value = hyper::header::HeaderValue::from_static(content_type);
        response.headers_mut().insert(hyper::header::CONTENT_TYPE, value);
        response
    }
}

async fn until(what: &watch::Sender<usize>, count: usize, patience: Duration) -> io::Result<()> {
    let mut what = what.subscribe();
    let enough = what.wait_for(|now| *now >= count);
    tokio::time::timeout(patience, enough)
        .await
        .map_err(io::Error::other)?
        .map_err(io::Error::other)?;
    Ok(())
}

fn held(provider: Arc<Provider>) -> Body {
    let (mut to, body) = Channel::new(1);
    tokio::spawn(async move {
        let start: String = (0..tokens::HELD_AFTER).map(tokens::event).collect();
        // Two pieces, so that the first has been taken when there is room for the second.
        let (first, second) = start.split_at(start.len() / 2);
        for part in [first, second, "\n"] {
            if to.send_data(part.to_owned().into()).await.is_err() {
                return;
            }
        }
        provider.held.send_modify(|held| *held += 1);
        provider.until_released().await;
        let _ = to.send_data(tokens::ending().into()).await;
    });
    body.boxed_unsync()
}

fn steady() -> Body {
    let (mut to, body) = Channel::new(8);
    tokio::spawn(async move {
        let mut due = tokio::time::interval(tokens::EVERY);
        for number in 0..tokens::TOKENS {
            due.tick().await;
            if to.send_data(tokens::event(number).into()).await.is_err() {
                return;
            }
        }
        let _ = to.send_data(tokens::ending().into()).await;
    });
    body.boxed_unsync()
}

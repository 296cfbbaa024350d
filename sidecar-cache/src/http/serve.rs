//! Listeners and connections. A connection that fails is its own business; a listener that fails for a
//! moment goes on. Connections are watched, so that an orderly end waits until all is written.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::closing::Open;
use super::socket::Listening;
use super::{Answer, admin, data, public};
use crate::service::Sidecar;

/// After a failed accept, most often for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a client may take for a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Waiters of a flight hold their streams; Envoy's circuit breakers bound them, not we.
const STREAMS_MAX: u32 = 65_536;
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// Serves the data socket, HTTP/1.1 and HTTP/2 alike.
pub async fn data(sidecar: Arc<Sidecar>, listening: Listening, open: Open) {
    loop {
        let Some((stream, peer)) = accepted(listening.accept().await).await else { continue };
        let sidecar = Arc::clone(&sidecar);
        let handle = move |request| data::answer(Arc::clone(&sidecar), peer, request);
        connection(stream, Trusted::Yes, open.clone(), handle);
    }
}

/// Serves the admin socket.
pub async fn admin(sidecar: Arc<Sidecar>, listening: Listening, open: Open) {
    loop {
        let Some((stream, _)) = accepted(listening.accept().await).await else { continue };
        let sidecar = Arc::clone(&sidecar);
        let handle = move |request| admin::answer(Arc::clone(&sidecar), request);
        connection(stream, Trusted::Yes, open.clone(), handle);
    }
}

/// Whether anybody is served but for health and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The ledger is counted first, which may take long: who waits is told that it is no fault.
    Starting,
    /// The sockets are there.
    Serving,
}

/// Serves health and metrics.
pub async fn public(
    sidecar: Arc<Sidecar>,
    listener: TcpListener,
    open: Open,
    stage: watch::Receiver<Stage>,
) {
    loop {
        let Some((stream, _)) = accepted(listener.accept().await).await else { continue };
        let (sidecar, stage) = (Arc::clone(&sidecar), stage.clone());
        let handle = move |request: Request<Incoming>| {
            let now = *stage.borrow();
            std::future::ready(public::answer(&sidecar, now, &request))
        };
        connection(stream, Trusted::No, open.clone(), handle);
    }
}

/// Whether the other end may keep a connection open without saying anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trusted {
    /// A pool of Envoy's: closing an idle connection would race with its next request.
    Yes,
    /// Anybody.
    No,
}

async fn accepted<T>(result: io::Result<T>) -> Option<T> {
    match result {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            tracing::warn!(%error, "accept failed");
            tokio::time::sleep(PAUSE).await;
            None
        }
    }
}

fn connection<S, H, F>(stream: S, trusted: Trusted, mut open: Open, handle: H)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    tokio::spawn(async move {
        let builder = auto::Builder::new(TokioExecutor::new());
        // Which version a connection speaks is waited for without end: anybody has but the one that has a timeout.
        let mut builder = if trusted == Trusted::No { builder.http1_only() } else { builder };
        let head_timeout = (trusted == Trusted::No).then_some(HEAD_TIMEOUT);
        builder.http1().timer(TokioTimer::new()).header_read_timeout(head_timeout);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        let service = service_fn(|request| {
            // Boxed, so that an answer on its way holds nothing of how it was made.
            let answer = Box::pin(handle(request));
            async move { Ok::<_, Infallible>(answer.await) }
        });
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = open.closing() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        // What the other end did wrong is the other end's business.
        if let Err(error) = ended {
            tracing::debug!(error, "a connection failed");
        }
    });
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::timeout;

    use super::super::closing::Closing;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_is_not_trusted_and_does_not_ask_is_hung_up_on_whatever_they_begin_with() {
        for begun in ["", "PRI * HTTP/2.0\r\n", "GET /healthz HTTP/1.1\r\nhost: a\r\n"] {
            for (trusted, hangs_up) in [(Trusted::No, true), (Trusted::Yes, false)] {
                let (here, mut there) = duplex(1024);
                let closing = Closing::default();
                let handle = |_| std::future::pending();
                connection(here, trusted, closing.open(), handle);
                there.write_all(begun.as_bytes()).await.unwrap();
                let mut told = Vec::new();
                let end = timeout(HEAD_TIMEOUT * 2, there.read_to_end(&mut told)).await;
                assert_eq!(end.is_ok(), hangs_up, "{begun:?}, {trusted:?}");
            }
        }
    }
}

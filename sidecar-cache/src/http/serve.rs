//! Listeners and connections. A connection that fails is its own business; a listener that fails for a
//! moment goes on.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;

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
pub async fn data(sidecar: Arc<Sidecar>, listening: Listening) {
    loop {
        let Some((stream, peer)) = accepted(listening.accept().await).await else { continue };
        let sidecar = Arc::clone(&sidecar);
        connection(stream, move |request| data::answer(Arc::clone(&sidecar), peer, request));
    }
}

/// Serves the admin socket.
pub async fn admin(sidecar: Arc<Sidecar>, listening: Listening) {
    loop {
        let Some((stream, _)) = accepted(listening.accept().await).await else { continue };
        let sidecar = Arc::clone(&sidecar);
        connection(stream, move |request| admin::answer(Arc::clone(&sidecar), request));
    }
}

/// Serves health and metrics.
pub async fn public(sidecar: Arc<Sidecar>, listener: TcpListener) {
    loop {
        let Some((stream, _)) = accepted(listener.accept().await).await else { continue };
        let sidecar = Arc::clone(&sidecar);
        connection(stream, move |request| std::future::ready(public::answer(&sidecar, &request)));
    }
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

fn connection<S, H, F>(stream: S, handle: H)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    tokio::spawn(async move {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        let service = service_fn(|request| {
            let answer = handle(request);
            async move { Ok::<_, Infallible>(answer.await) }
        });
        // What the other end did wrong is the other end's business.
        if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
            tracing::debug!(error, "a connection failed");
        }
    });
}

//! The way to providers: through a gateway's egress listener, a Unix socket of its Envoy, which has the
//! credentials, TLS and the retries of connections. Requests and answers pass by allow-lists of headers.
//!
//! HTTP/1.1 with a pool per socket: a cancelled call closes its own connection and nobody else's, and a cut
//! answer cannot be taken for a whole one.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use kt_contract::wire::headers;
use tokio::net::UnixStream;

use super::external::Asking;
use super::text;
use crate::random::to_hex;
use crate::service::tenants::Credential;
use crate::service::upstream::{
    Advice, Answered, AskFailed, Broken, Call, CallFailed, Coming, Pieces, Question, Upstream,
};

/// The header in which the egress listener says whether the provider spoke.
const DETAILS: &str = "x-kt-details";
pub(super) const USER_AGENT: &str = concat!("kt/", env!("CARGO_PKG_VERSION"));
/// An egress socket is on this machine.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
const IDLE_CONNECTION: Duration = Duration::from_secs(60);
const IDLE_CONNECTIONS_MAX: usize = 256;
/// How much is read at once. It would grow with what comes, and a thousand calls have a thousand of it.
const READ_BYTES: usize = 8 << 10;

/// Calls through egress listeners; and, past them, questions to the services that policies ask.
#[derive(Clone, Debug)]
pub struct Egress {
    client: Client<Connector, Full<Bytes>>,
    asking: Asking,
}

/// Connects to the socket whose path is the authority's hexadecimal digits.
#[derive(Clone, Copy, Debug)]
struct Connector;

/// A connection to an egress listener.
struct Socket(TokioIo<UnixStream>);

// === impl Egress ===

impl Default for Egress {
    fn default() -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_CONNECTION)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .http1_read_buf_exact_size(READ_BYTES)
            .build(Connector);
        Self { client, asking: Asking::default() }
    }
}

impl Upstream for Egress {
    fn call(&self, call: Call) -> Coming<'_, Result<Answered, CallFailed>> {
        Box::pin(async move {
            for socket in &call.egress {
                let request = request(socket, &call).ok_or(CallFailed::NoEgress)?;
                match self.client.request(request).await {
                    Ok(response) => return Ok(answered(response)),
                    // Nothing was sent, so another gateway may try.
                    Err(error) if error.is_connect() => {
                        tracing::warn!(socket, %error, "an egress takes no connections");
                    }
                    Err(error) => return Err(broken(socket, &error)),
                }
            }
            Err(CallFailed::NoEgress)
        })
    }

    fn ask(&self, question: Question) -> Coming<'_, Result<Bytes, AskFailed>> {
        Box::pin(self.asking.ask(question))
    }
}

fn broken(socket: &str, error: &Error) -> CallFailed {
    tracing::warn!(socket, %error, "an egress broke off");
    CallFailed::Broken
}

fn request(socket: &str, call: &Call) -> Option<Request<Full<Bytes>>> {
    let mut request = Request::new(Full::new(call.body.clone()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() =
        format!("http://{}{}", to_hex(socket.as_bytes()), call.path).parse().ok()?;
    let map = request.headers_mut();
    map.insert(header::HOST, HeaderValue::from_static("egress"));
    map.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    map.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    map.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    map.insert(headers::TARGET, HeaderValue::from_str(&call.target).ok()?);
    map.insert(headers::REQUEST_ID, HeaderValue::from_str(&call.request_id).ok()?);
    if let Some(trace) = &call.trace {
        map.insert(headers::TRACE_PARENT, HeaderValue::from_str(&trace.to_string()).ok()?);
    }
    for (name, value) in &call.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        map.append(name, HeaderValue::from_bytes(value).ok()?);
    }
    if let Some(Credential { header, value }) = &call.credential {
        let mut value = HeaderValue::from_str(value).ok()?;
        value.set_sensitive(true);
        // In the place of whatever stands there.
        map.insert(HeaderName::from_static(header), value);
    }
    Some(request)
}

fn answered(response: Response<Incoming>) -> Answered {
    let (head, body) = response.into_parts();
    let one = |name: &str| text(&head.headers, name).map(str::to_owned);
    let [content_type, content_encoding, after, after_ms, should] = headers::FROM_PROVIDER.map(one);
    Answered {
        status: head.status.as_u16(),
        details: one(DETAILS),
        content_type,
        content_encoding,
        advice: Arc::new(Advice { after, after_ms, should }),
        cache_control: one(header::CACHE_CONTROL.as_str()),
        body: Box::pin(body),
    }
}

impl Pieces for Incoming {
    fn next(mut self: Pin<&mut Self>) -> Coming<'_, Option<Result<Bytes, Broken>>> {
        Box::pin(async move {
            loop {
                match self.frame().await {
                    None => return None,
                    Some(Err(_)) => return Some(Err(Broken)),
                    // Trailers say nothing that a client of a provider could use.
                    Some(Ok(frame)) => {
                        if let Ok(bytes) = frame.into_data() {
                            return Some(Ok(bytes));
                        }
                    }
                }
            }
        })
    }
}

// === impl Connector ===

impl tower_service::Service<Uri> for Connector {
    type Response = Socket;
    type Error = io::Error;
    type Future = Coming<'static, io::Result<Socket>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(async move {
            let path = uri.host().and_then(path_of).ok_or(io::ErrorKind::InvalidInput)?;
            let stream = tokio::time::timeout(CONNECT_TIMEOUT, UnixStream::connect(path)).await??;
            Ok(Socket(TokioIo::new(stream)))
        })
    }
}

fn path_of(digits: &str) -> Option<String> {
    let bytes = digits
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect::<Option<Vec<u8>>>()?;
    String::from_utf8(bytes).ok()
}

// === impl Socket ===

impl Connection for Socket {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl hyper::rt::Read for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl hyper::rt::Write for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_survives_the_authority() {
        for path in ["/run/kt/egress-gw-a.sock", "/tmp/ä b/%/é.sock"] {
            let uri: Uri = format!("http://{}/v1", to_hex(path.as_bytes())).parse().unwrap();
            assert_eq!(path_of(uri.host().unwrap()).as_deref(), Some(path));
        }
        assert_eq!(path_of("0"), Some("\0".to_owned()));
        assert_eq!(path_of("zz"), None);
    }
}

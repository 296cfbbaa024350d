//! Small HTTP/1.1 questions: to admin sockets, and to a gateway's own port for its health.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use jiff::fmt::rfc2822;
use kt_contract::time::UnixMillis;
use kt_contract::wire::admin::wallet::IDEMPOTENCY_KEY;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// Whoever does not answer a question of this kind by then is as good as gone.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// No answer that is read here comes near.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// A question.
#[derive(Clone, Debug)]
pub(crate) struct Question<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    pub(crate) body: Vec<u8>,
    /// What tells it from another one that is the same otherwise.
    pub(crate) idempotency_key: Option<&'a str>,
    /// How long an answer may take.
    pub(crate) patience: Duration,
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unanswered {
    #[error("{0}")]
    Connect(std::io::Error),
    #[error("it accepted the connection and did not answer properly: {0}")]
    Broken(String),
    #[error("it did not answer within {} s", .0.as_secs())]
    TooLate(Duration),
}

/// How long what reads a whole ledger may take.
pub(crate) const AUDIT_TIMEOUT: Duration = Duration::from_secs(600);

// === impl Answer ===

impl Answer {
    /// The header of this name, if it is one line of plain text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The moment that it says it was made at, to the second.
    pub(crate) fn date(&self) -> Option<UnixMillis> {
        let moment = rfc2822::parse(self.header("date")?).ok()?;
        u64::try_from(moment.timestamp().as_millisecond()).ok().map(UnixMillis)
    }
}

// === impl Question ===

impl<'a> Question<'a> {
    pub(crate) const fn get(path: &'a str) -> Self {
        Self {
            method: Method::GET,
            path,
            body: Vec::new(),
            idempotency_key: None,
            patience: ANSWER_TIMEOUT,
        }
    }

    pub(crate) const fn post(path: &'a str, body: Vec<u8>) -> Self {
        Self { method: Method::POST, path, body, idempotency_key: None, patience: ANSWER_TIMEOUT }
    }

    /// Asks at a Unix socket.
    pub(crate) async fn ask(self, socket: &Path) -> Result<Answer, Unanswered> {
        let patience = self.patience;
        let exchange = async {
            self.ask_over(UnixStream::connect(socket).await.map_err(Unanswered::Connect)?).await
        };
        timeout(patience, exchange).await.map_err(|_late| Unanswered::TooLate(patience))?
    }

    /// Asks at a TCP port.
    pub(crate) async fn ask_tcp(self, address: SocketAddr) -> Result<Answer, Unanswered> {
        let patience = self.patience;
        let exchange = async {
            self.ask_over(TcpStream::connect(address).await.map_err(Unanswered::Connect)?).await
        };
        timeout(patience, exchange).await.map_err(|_late| Unanswered::TooLate(patience))?
    }

    async fn ask_over<S>(self, stream: S) -> Result<Answer, Unanswered>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let broken = |error: &dyn std::fmt::Display| Unanswered::Broken(error.to_string());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(&error))?;
        // Ends with the answer; what goes wrong with it goes wrong with the answer too.
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(self.method)
            .uri(self.path)
            .header(header::HOST, "kt")
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(key) = self.idempotency_key {
            request = request.header(IDEMPOTENCY_KEY, key);
        }
        let request =
            request.body(Full::new(Bytes::from(self.body))).map_err(|error| broken(&error))?;
        let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| broken(&error))?
            .to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_when_it_was_made() {
        let of = |date: &str| {
            let headers = HeaderMap::from_iter([(header::DATE, date.parse().unwrap())]);
            Answer { status: StatusCode::OK, headers, body: Bytes::new() }.date()
        };
        assert_eq!(of("Sun, 29 Nov 2026 22:54:13 GMT"), Some(UnixMillis(1_795_992_853_000)));
        assert_eq!(of("yesterday"), None);
    }
}

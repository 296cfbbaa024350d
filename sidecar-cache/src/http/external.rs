//! Questions to the services that policies ask: plain HTTP/1.1, one POST each, over connections that are kept.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kt_contract::config::SecretRef;
use kt_contract::wire::headers;
use std::time::Duration;

use super::egress::USER_AGENT;
use crate::config_file;
use crate::service::upstream::{AskFailed, Question};

const IDLE_CONNECTION: Duration = Duration::from_secs(30);
const IDLE_CONNECTIONS_MAX: usize = 64;

/// The way to the services.
#[derive(Clone, Debug)]
pub(super) struct Asking {
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Default for Asking {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_CONNECTION)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build(connector);
        Self { client }
    }
}

// === impl Asking ===

impl Asking {
    /// The body of a whole answer of status 200. How long it may take, the caller decides.
    pub(super) async fn ask(&self, question: Question) -> Result<Bytes, AskFailed> {
        let answer_bytes_max = question.answer_bytes_max;
        let request = request(question).await?;
        // Of what is wrong with the connection nothing is told that names the address, whose path may be a secret.
        let answer = self.client.request(request).await.map_err(|_| AskFailed::Unreachable)?;
        if answer.status() != StatusCode::OK {
            return Err(AskFailed::Status(answer.status().as_u16()));
        }
        let body = Limited::new(answer.into_body(), answer_bytes_max);
        match body.collect().await {
            Ok(whole) => Ok(whole.to_bytes()),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(AskFailed::TooLong),
            Err(_) => Err(AskFailed::Unreachable),
        }
    }
}

async fn request(question: Question) -> Result<Request<Full<Bytes>>, AskFailed> {
    let Question { url, secret, request_id, body, answer_bytes_max: _ } = question;
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = url.to_string().parse().map_err(|_| AskFailed::Unreachable)?;
    let map = request.headers_mut();
    map.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    map.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    map.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        map.insert(headers::REQUEST_ID, id);
    }
    if let Some(secret) = secret {
        let token = read(secret).await.ok_or(AskFailed::NoToken)?;
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
            .map_err(|_| AskFailed::NoToken)?;
        bearer.set_sensitive(true);
        map.insert(header::AUTHORIZATION, bearer);
    }
    Ok(request)
}

/// Read for each question, so that a token that is changed needs no restart.
async fn read(secret: SecretRef) -> Option<String> {
    match secret {
        #[expect(
            clippy::disallowed_methods,
            reason = "where a secret of the configuration is read"
        )]
        SecretRef::Env(name) => std::env::var(name).ok(),
        SecretRef::File(path) => {
            let read =
                move || config_file::read_within(path.as_ref(), config_file::SECRET_BYTES_MAX);
            tokio::task::spawn_blocking(read).await.ok()?.ok()
        }
    }
}

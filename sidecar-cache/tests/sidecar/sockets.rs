//! The same over real sockets: HTTP/1.1 and HTTP/2 in front, a gateway's egress behind. No clock is paused
//! and nothing waits for a while: every step waits for the one before it.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use kt_contract::outcome::Reason;
use kt_contract::wire::VERSION;
use kt_contract::wire::admin::audit_log::{AuditHeads, AuditRecord, AuditVerified};
use kt_contract::wire::admin::{CacheStatsReply, ErrorReply, InvalidateReply, KeyCreated, KeyList};
use kt_contract::wire::admit::{AdmitRequest, Admitted};
use kt_contract::wire::feed::{FeedReply, FeedRequest, GatewayIdentity};
use kt_contract::wire::headers;
use kt_contract::wire::principal::{PrincipalReply, PrincipalRequest};
use sidecar_cache::clock::Clock;
use sidecar_cache::http::closing::Closing;
use sidecar_cache::http::egress::Egress;
use sidecar_cache::http::serve;
use sidecar_cache::http::socket::Listening;
use sidecar_cache::service::generations::Generations;
use sidecar_cache::service::settings::Settings;
use sidecar_cache::service::upstream::Timeouts;
use sidecar_cache::service::{Parts, Sidecar};
use sidecar_cache::store::audit_log::AuditStore as _;
use sidecar_cache::store::memory::MemoryEntries;
use sidecar_cache::store::sqlite::{SqliteAuditLog, SqliteKeys, SqliteReplies};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use crate::support::*;

/// A sidecar that listens, and a gateway with an egress.
struct Wired {
    group: Group,
    data: PathBuf,
    admin: PathBuf,
    egress: Calls,
    connections: Closing,
    listeners: tokio::task::JoinSet<()>,
    _folder: tempfile::TempDir,
}

/// Requests that arrived at the egress, each waiting for its answer.
struct Calls(mpsc::UnboundedReceiver<ArrivedCall>);

struct ArrivedCall {
    path: String,
    headers: HeaderMap,
    body: Bytes,
    answer: tokio::sync::oneshot::Sender<Response<Acting>>,
}

/// A body that is fed from the test. Dropping the sender without an end breaks it off, once what came
/// before has been written.
struct Acting {
    steps: mpsc::UnboundedReceiver<Option<Bytes>>,
    is_written: bool,
}

impl http_body::Body for Acting {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        match self.steps.poll_recv(context) {
            Poll::Ready(Some(Some(bytes))) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Poll::Ready(Some(None)) => Poll::Ready(None),
            Poll::Ready(None) if std::mem::replace(&mut self.is_written, true) => {
                Poll::Ready(Some(Err(std::io::ErrorKind::ConnectionReset.into())))
            }
            Poll::Ready(None) => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

type Feeding = mpsc::UnboundedSender<Option<Bytes>>;

fn provider_head(content_type: &str) -> http::response::Builder {
    Response::builder()
        .header("content-type", content_type)
        .header("x-kt-details", "via_upstream")
        .header("set-cookie", "tracks=you")
        .header("x-request-id", "req_provider")
        .header("openai-organization", "org-secret")
        .header("x-ratelimit-remaining-requests", "9")
}

/// How every reply of a sidecar is marked.
fn version() -> String {
    VERSION.to_string()
}

// === impl ArrivedCall ===

impl ArrivedCall {
    fn answer_with(self, head: http::response::Builder) -> Feeding {
        let (feeding, steps) = mpsc::unbounded_channel();
        self.answer.send(head.body(Acting { steps, is_written: false }).unwrap()).ok();
        feeding
    }

    fn answer_whole(self, head: http::response::Builder, body: &str) {
        let feeding = self.answer_with(head);
        feeding.send(Some(Bytes::copy_from_slice(body.as_bytes()))).unwrap();
        feeding.send(None).unwrap();
    }
}

/// A body that does not tell its length.
struct Untold(Full<Bytes>);

impl http_body::Body for Untold {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.0).poll_frame(context)
    }
}

fn listen_as_egress(path: &Path) -> Calls {
    let (arrived, calls) = mpsc::unbounded_channel();
    let listener = UnixListener::bind(path).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let arrived = arrived.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let arrived = arrived.clone();
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.unwrap().to_bytes();
                    let (answer, answered) = tokio::sync::oneshot::channel();
                    let path = head.uri.path().to_owned();
                    arrived.send(ArrivedCall { path, headers: head.headers, body, answer }).ok();
                    answered.await
                }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    });
    Calls(calls)
}

async fn wired() -> Wired {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::start();
    let (data, admin) = (folder.path().join("s.sock"), folder.path().join("s.sock.admin"));
    let sidecar = Sidecar::new(Parts {
        tenants: None,
        versions: None,
        clock,
        settings: settings(),
        entries: Arc::new(MemoryEntries::new(clock, settings().memory)),
        shared: None,
        generations: Generations::in_memory(),
        keys: Arc::new(SqliteKeys::open(&folder.path().join("data")).unwrap()),
        ledger: None,
        spool: None,
        replies: Arc::new(SqliteReplies::open(&folder.path().join("data"), clock).unwrap()),
        savings: None,
        upstream: Arc::new(Egress::default()),
        audit_log: Some(Arc::new(SqliteAuditLog::open(&folder.path().join("data")).unwrap())),
        timeouts: Timeouts::default(),
    })
    .unwrap();
    let connections = Closing::default();
    let listening = Listening::on(&data).await.unwrap();
    let mut listeners = tokio::task::JoinSet::new();
    listeners.spawn(serve::data(Arc::clone(&sidecar), listening, connections.open()));
    let listening = Listening::on(&admin).await.unwrap();
    listeners.spawn(serve::admin(Arc::clone(&sidecar), listening, connections.open()));
    let socket = folder.path().join("egress.sock");
    let egress = listen_as_egress(&socket);
    let wired = Wired {
        group: Group::around(sidecar),
        data,
        admin,
        egress,
        connections,
        listeners,
        _folder: folder,
    };
    wired.poll(&identity(&socket)).await;
    wired
}

fn identity(egress: &Path) -> GatewayIdentity {
    GatewayIdentity { egress: egress.to_string_lossy().into_owned(), ..gateway() }
}

/// Sends one request on a connection of its own, as Envoy's clusters do: HTTP/2 with prior knowledge.
async fn send<B>(socket: &Path, request: Request<B>) -> Response<Incoming>
where
    B: http_body::Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
{
    let stream = TokioIo::new(UnixStream::connect(socket).await.unwrap());
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    sender.send_request(request).await.unwrap()
}

async fn send_http1(socket: &Path, request: Request<Full<Bytes>>) -> Response<Incoming> {
    let stream = TokioIo::new(UnixStream::connect(socket).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender.send_request(request).await.unwrap()
}

fn post(path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post(format!("http://sidecar{path}")).body(Full::new(body.into())).unwrap()
}

async fn json<T: serde::de::DeserializeOwned>(response: Response<Incoming>) -> T {
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

fn header<'a>(response: &'a Response<Incoming>, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

// === impl Wired ===

impl Wired {
    async fn poll(&self, gateway: &GatewayIdentity) -> FeedReply {
        let poll = FeedRequest {
            version: VERSION,
            worker: None,
            gateway: gateway.clone(),
            epoch: None,
            seq: 0,
            snapshot: None,
            hits: None,
        };
        json(send(&self.data, post("/v1/feed", serde_json::to_vec(&poll).unwrap())).await).await
    }

    async fn admit(&self, ask: &AdmitRequest) -> (Admitted, Response<Incoming>) {
        let response = send(&self.data, post("/v1/admit", serde_json::to_vec(ask).unwrap())).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(header(&response, headers::MARKER), Some(version().as_str()));
        let decision = serde_json::from_str(header(&response, headers::ADMIT).unwrap()).unwrap();
        (decision, response)
    }

    async fn ticket(&self, ask: &AdmitRequest) -> String {
        let (decision, _) = self.admit(ask).await;
        let Admitted::Lane { ticket, .. } = decision else { panic!("no lane: {decision:?}") };
        ticket
    }

    fn lane_request(ticket: &str, body: &str) -> Request<Full<Bytes>> {
        let mut request = post("/v1/chat/completions", Bytes::copy_from_slice(body.as_bytes()));
        let map = request.headers_mut();
        map.insert(headers::TICKET, ticket.parse().unwrap());
        map.insert(headers::REQUEST_ID, REQUEST_ID.parse().unwrap());
        map.insert("openai-beta", "assistants=v2".parse().unwrap());
        map.insert("authorization", "Bearer kt_gk_secret".parse().unwrap());
        map.insert("x-anything", "else".parse().unwrap());
        request
    }

    async fn lane(&self, ticket: &str, body: &str) -> Response<Incoming> {
        send(&self.data, Self::lane_request(ticket, body)).await
    }
}

#[tokio::test]
async fn a_request_walks_the_whole_way_and_its_answer_is_a_hit() {
    let mut wired = wired().await;
    let key = wired.group.key().await;
    let ask = wired.group.ask(&key, CHAT);
    let ticket = wired.ticket(&ask).await;
    let provider = async {
        let call = wired.egress.0.recv().await.unwrap();
        let sent = (call.path.clone(), call.headers.clone(), call.body.clone());
        call.answer_whole(provider_head("application/json"), JSON);
        sent
    };
    let request = send(&wired.data, Wired::lane_request(&ticket, CHAT));
    let (response, (path, sent, body)) = tokio::join!(request, provider);

    assert_eq!((path.as_str(), body.as_ref()), ("/v1/chat/completions", CHAT.as_bytes()));
    let mut names: Vec<_> = sent.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    let allowed = [
        "accept-encoding",
        "content-length",
        "content-type",
        "host",
        "openai-beta",
        "user-agent",
        "x-kt-target",
        "x-request-id",
    ];
    assert_eq!(names, allowed, "nothing else goes upstream");
    assert_eq!(sent["x-kt-target"], "openai-1");
    assert_eq!(sent["accept-encoding"], "identity");

    let mut names: Vec<_> = response.headers().keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    let allowed = [
        "cache-status",
        "content-length",
        "content-type",
        "date",
        "x-cache-status",
        "x-fabric-attached",
        "x-kt-cost-usd",
        "x-kt-served-by",
        "x-kt-wire",
        "x-request-id",
    ];
    assert_eq!(names, allowed, "nothing else comes down");
    assert_eq!(header(&response, "x-cache-status"), Some("miss"));
    assert_eq!(header(&response, "cache-status"), Some("kt; fwd=miss; detail=request"));
    assert_eq!(header(&response, "x-request-id"), Some(REQUEST_ID));
    assert_eq!(header(&response, "x-kt-served-by"), Some("openai/gpt-4o-mini"));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), JSON);

    let (decision, response) = wired.admit(&ask).await;
    assert!(matches!(decision, Admitted::Hit { .. }), "{decision:?}");
    assert_eq!(header(&response, "content-type"), Some("application/json"));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), JSON);
}

#[tokio::test]
async fn a_key_goes_to_no_provider_and_its_answer_comes_again() {
    let mut wired = wired().await;
    let key = wired.group.key().await;
    let ask = AdmitRequest { is_keyed: true, ..wired.group.ask(&key, CHAT) };
    let keyed = |ticket: &str, idempotency: &str| {
        let mut request = Wired::lane_request(ticket, CHAT);
        request.headers_mut().insert("idempotency-key", idempotency.parse().unwrap());
        request
    };
    let ticket = wired.ticket(&ask).await;
    let provider = async {
        let call = wired.egress.0.recv().await.unwrap();
        let headers = call.headers.clone();
        call.answer_whole(provider_head("application/json"), JSON);
        headers
    };
    let first = send(&wired.data, keyed(&ticket, "order-7"));
    let (first, sent) = tokio::join!(first, provider);
    assert!(!sent.contains_key("idempotency-key"), "{sent:?}");
    assert_eq!(header(&first, "idempotent-replayed"), None);
    assert_eq!(header(&first, "x-cache-status"), Some("miss"));
    let first = first.into_body().collect().await.unwrap().to_bytes();

    let ticket = wired.ticket(&ask).await;
    let again = send(&wired.data, keyed(&ticket, "order-7")).await;
    assert_eq!(again.status(), 200);
    assert_eq!(header(&again, "idempotent-replayed"), Some("true"));
    assert_eq!(header(&again, "cache-status"), Some("kt; hit; detail=replayed"));
    assert_eq!(header(&again, "content-type"), Some("application/json"));
    assert_eq!(header(&again, "x-kt-served-by"), Some("openai/gpt-4o-mini"));
    assert_eq!(again.into_body().collect().await.unwrap().to_bytes(), first);

    let ticket = wired.ticket(&ask).await;
    let too_long = send(&wired.data, keyed(&ticket, &"k".repeat(256))).await;
    assert_eq!(too_long.status(), 400);
}

#[tokio::test]
async fn a_stream_is_live_and_a_broken_one_ends_with_an_error_and_a_reset() {
    let mut wired = wired().await;
    let key = wired.group.key().await;
    for (is_http1, name) in [(false, "HTTP/2"), (true, "HTTP/1.1")] {
        let ticket = wired.ticket(&wired.group.ask(&key, CHAT_STREAM)).await;
        let request = Wired::lane_request(&ticket, CHAT_STREAM);
        let data = wired.data.clone();
        let response = tokio::spawn(async move {
            if is_http1 { send_http1(&data, request).await } else { send(&data, request).await }
        });
        let call = wired.egress.0.recv().await.unwrap();
        let feeding = call.answer_with(provider_head("text/event-stream"));
        let (first, second) = CHUNKS.split_at(CHUNKS.find("\n\n").unwrap() + 2);
        feeding.send(Some(first.to_owned().into())).unwrap();
        let mut body = response.await.unwrap().into_body();
        // The client has the first event while the provider is still silent about the second.
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), first, "{name}");
        feeding.send(Some(second.to_owned().into())).unwrap();
        drop(feeding);
        let mut rest = Vec::new();
        let end = loop {
            match body.frame().await {
                Some(Ok(frame)) => rest.extend_from_slice(&frame.into_data().unwrap()),
                Some(Err(error)) => break Some(error),
                None => break None,
            }
        };
        let rest = String::from_utf8(rest).unwrap();
        assert!(rest.starts_with(second) && rest.contains("upstream_cut_short"), "{name}: {rest}");
        assert!(end.is_some(), "{name}: never a clean end");
    }
    assert!(!wired.group.is_cached(&key, CHAT_STREAM).await);
}

#[tokio::test]
async fn a_client_that_resets_its_stream_cancels_the_call_upstream() {
    let mut wired = wired().await;
    let key = wired.group.key().await;
    let ticket = wired.ticket(&wired.group.ask(&key, CHAT_STREAM)).await;
    let data = wired.data.clone();
    let request = Wired::lane_request(&ticket, CHAT_STREAM);
    let response = tokio::spawn(async move { send(&data, request).await });
    let call = wired.egress.0.recv().await.unwrap();
    let feeding = call.answer_with(provider_head("text/event-stream"));
    feeding.send(Some(CHUNKS.into())).unwrap();
    drop(response.await.unwrap());
    feeding.closed().await;
    wired.group.sidecar.drained().await;
    assert_eq!(wired.group.metric("kt_flights"), "0");
}

#[tokio::test]
async fn a_cut_json_answer_is_a_clean_error_in_the_dialect() {
    let mut wired = wired().await;
    let key = wired.group.key().await;
    let ticket = wired.ticket(&wired.group.ask(&key, CHAT)).await;
    let data = wired.data.clone();
    let request = Wired::lane_request(&ticket, CHAT);
    let response = tokio::spawn(async move { send(&data, request).await });
    let feeding =
        wired.egress.0.recv().await.unwrap().answer_with(provider_head("application/json"));
    feeding.send(Some(JSON[..100].to_owned().into())).unwrap();
    drop(feeding);
    let response = response.await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(header(&response, "retry-after"), Some("1"));
    assert_eq!(header(&response, "x-cache-status"), Some("miss"));
    assert_eq!(header(&response, headers::MARKER), Some(version().as_str()));
    let body: serde_json::Value = json(response).await;
    assert_eq!(body["error"]["code"], "upstream_cut_short");
}

#[tokio::test]
async fn an_errors_status_body_and_advice_are_the_providers() {
    let mut wired = wired().await;
    let key = wired.group.key().await;
    let ticket = wired.ticket(&wired.group.ask(&key, CHAT)).await;
    let error =
        r#"{"error":{"message":"Rate limit","type":"requests","code":"rate_limit_exceeded"}}"#;
    let provider = async {
        let head = provider_head("application/json")
            .status(429)
            .header("retry-after", "20")
            .header("retry-after-ms", "19500")
            .header("x-should-retry", "false");
        wired.egress.0.recv().await.unwrap().answer_whole(head, error);
    };
    let (response, ()) =
        tokio::join!(send(&wired.data, Wired::lane_request(&ticket, CHAT)), provider);
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    for (name, said) in
        [("retry-after", "20"), ("retry-after-ms", "19500"), ("x-should-retry", "false")]
    {
        assert_eq!(header(&response, name), Some(said));
    }
    assert_eq!(header(&response, "set-cookie"), None);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), error);
}

#[tokio::test]
async fn another_gateways_egress_is_used_where_the_first_is_gone() {
    let mut wired = wired().await;
    let key = wired.group.key().await;
    let gone = GatewayIdentity { id: "gw-b".to_owned(), ..identity(Path::new("/nowhere.sock")) };
    wired.poll(&gone).await;
    let ask = wired.group.ask_at(&gone, &key, CHAT);
    let ticket = wired.ticket(&ask).await;
    let provider = async {
        wired.egress.0.recv().await.unwrap().answer_whole(provider_head("application/json"), JSON);
    };
    let (response, ()) =
        tokio::join!(send(&wired.data, Wired::lane_request(&ticket, CHAT)), provider);
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn without_any_egress_the_answer_is_503() {
    let wired = wired().await;
    let key = wired.group.key().await;
    let gone = identity(Path::new("/nowhere.sock"));
    wired.poll(&gone).await;
    let ticket = wired.ticket(&wired.group.ask(&key, CHAT)).await;
    let response = wired.lane(&ticket, CHAT).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(header(&response, "retry-after"), Some("1"));
}

#[tokio::test]
async fn a_made_up_ticket_is_refused_whatever_the_path() {
    let wired = wired().await;
    for path in ["/v1/chat/completions", "/v1/admit", "/"] {
        let mut request = post(path, "{}");
        request.headers_mut().insert(headers::TICKET, "0".repeat(32).parse().unwrap());
        let response = send(&wired.data, request).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
        let body: serde_json::Value = json(response).await;
        assert_eq!(body["error"]["code"], "ticket_refused", "{path}");
    }
}

#[tokio::test]
async fn a_body_beyond_the_bound_is_413() {
    let wired = wired().await;
    let key = wired.group.key().await;
    let ticket = wired.ticket(&wired.group.ask(&key, CHAT)).await;
    let response = wired.lane(&ticket, &"x".repeat((32 << 20) + 1)).await;
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_body_for_which_there_is_no_room_is_refused_until_another_one_has_gone() {
    let mut wired = wired().await;
    let key = wired.group.key().await;
    let [first, second] = [1, 2].map(|number| CHAT.replace("hi", &format!("hi {number}")));
    let bodies_bytes_max = first.len() as u64 + 10;
    wired.group.sidecar.reconfigure(Ok(Settings { bodies_bytes_max, ..settings() })).await;

    let ticket = wired.ticket(&wired.group.ask(&key, &first)).await;
    let (data, request) = (wired.data.clone(), Wired::lane_request(&ticket, &first));
    let response = tokio::spawn(async move { send(&data, request).await });
    let call = wired.egress.0.recv().await.unwrap();
    assert_eq!(wired.group.metric("kt_request_body_bytes"), first.len().to_string());

    for is_length_told in [true, false] {
        let ticket = wired.ticket(&wired.group.ask(&key, &second)).await;
        let request = Wired::lane_request(&ticket, &second);
        let asking = async {
            match is_length_told {
                true => send(&wired.data, request).await,
                false => send(&wired.data, request.map(Untold)).await,
            }
        };
        let refused = tokio::select! {
            refused = asking => refused,
            _ = wired.egress.0.recv() => panic!("a call is made: {is_length_told}"),
        };
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE, "{is_length_told}");
        assert_eq!(header(&refused, "retry-after"), Some("1"));
        let body: serde_json::Value = json(refused).await;
        assert_eq!(body["error"]["code"], "bodies_full");
    }

    call.answer_whole(provider_head("application/json"), JSON);
    let _ = response.await.unwrap().into_body().collect().await.unwrap();
    while wired.group.metric("kt_request_body_bytes") != "0" {
        tokio::task::yield_now().await;
    }
    let ticket = wired.ticket(&wired.group.ask(&key, &second)).await;
    let (data, request) = (wired.data.clone(), Wired::lane_request(&ticket, &second));
    let response = tokio::spawn(async move { send(&data, request).await });
    let call = wired.egress.0.recv().await.unwrap();
    call.answer_whole(provider_head("application/json"), JSON);
    assert_eq!(response.await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn the_wire_refuses_what_is_no_message() {
    let wired = wired().await;
    for (what, request, status, code) in [
        ("no JSON", post("/v1/admit", "{"), 400, "invalid_message"),
        (
            "an unknown field",
            post("/v1/principal", r#"{"version":1,"x":2}"#),
            400,
            "invalid_message",
        ),
        ("no such path", post("/v1/nothing", "{}"), 404, "unknown_path"),
        ("the admin API", post("/v1/keys", "{}"), 404, "unknown_path"),
        (
            "GET",
            Request::get("http://sidecar/v1/feed").body(Full::default()).unwrap(),
            405,
            "method_not_allowed",
        ),
    ] {
        let response = send(&wired.data, request).await;
        assert_eq!(response.status(), status, "{what}");
        assert_eq!(header(&response, headers::MARKER), Some(version().as_str()), "{what}");
        assert_eq!(json::<ErrorReply>(response).await.error.code, code, "{what}");
    }
}

#[tokio::test]
async fn keys_are_made_looked_up_and_revoked_over_the_admin_socket() {
    let wired = wired().await;
    let request = post("/v1/keys", r#"{"org":"acme","codebases":["acme/web"]}"#);
    let response = send_http1(&wired.admin, request).await;
    assert_eq!(response.status(), StatusCode::CREATED);
    let created: KeyCreated = json(response).await;
    let hash = kt_contract::gateway_key::GatewayKey::parse(&created.key).unwrap().hash();
    let ask = serde_json::to_vec(&PrincipalRequest { version: VERSION, key: hash, identity: None })
        .unwrap();
    let reply = json(send(&wired.data, post("/v1/principal", ask.clone())).await).await;
    assert!(
        matches!(reply, PrincipalReply::Known { principal, key_age_ms: Some(_) } if principal.org == "acme")
    );

    let list = Request::get("http://sidecar/v1/keys").body(Full::default()).unwrap();
    let list: KeyList = json(send_http1(&wired.admin, list).await).await;
    assert_eq!(list.keys.len(), 1);
    let path = format!("/v1/keys/{}/revoke", created.key_id);
    assert_eq!(send_http1(&wired.admin, post(&path, "")).await.status(), StatusCode::OK);
    let reply: PrincipalReply = json(send(&wired.data, post("/v1/principal", ask)).await).await;
    assert_eq!(reply, PrincipalReply::Revoked);

    for (request, status) in [
        (post("/v1/keys", r#"{"org":""}"#), StatusCode::BAD_REQUEST),
        (post("/v1/keys", r#"{"org":"bad org!"}"#), StatusCode::BAD_REQUEST),
        (post("/v1/keys", r#"{"org":"acme","codebases":["a b"]}"#), StatusCode::BAD_REQUEST),
        (post("/v1/keys/gk_nobody/revoke", ""), StatusCode::NOT_FOUND),
        (post("/v1/status", ""), StatusCode::METHOD_NOT_ALLOWED),
        (post("/v1/admit", "{}"), StatusCode::NOT_FOUND),
    ] {
        assert_eq!(send_http1(&wired.admin, request).await.status(), status);
    }
}

#[tokio::test]
async fn the_cache_is_looked_into_and_invalidated_over_the_admin_socket_only() {
    let wired = wired().await;
    let get = || Request::get("http://sidecar/v1/cache").body(Full::default()).unwrap();
    let stats: CacheStatsReply = json(send_http1(&wired.admin, get()).await).await;
    assert_eq!((stats.entries, stats.generation), (0, 0));
    let request = || post("/v1/invalidate", r#"{"org":"acme","model":"gpt-4o"}"#);
    let done: InvalidateReply = json(send_http1(&wired.admin, request()).await).await;
    assert_eq!((done.kind.as_str(), done.generation), ("model", 1));
    let stats: CacheStatsReply = json(send_http1(&wired.admin, get()).await).await;
    assert_eq!((stats.invalidated_tags, stats.generation), (1, 1));

    let nobody = "00".repeat(32);
    for (request, status, named) in [
        (post("/v1/invalidate", r#"{"org":"acme"}"#), StatusCode::BAD_REQUEST, "'all'"),
        (post("/v1/invalidate", r#"{"all":true}"#), StatusCode::BAD_REQUEST, "`org`"),
        (post("/v1/invalidate", r#"{"org":"a","al":1}"#), StatusCode::BAD_REQUEST, "`al`"),
        (
            post("/v1/invalidate", r#"{"org":"a","policy":"x"}"#),
            StatusCode::BAD_REQUEST,
            "'policy'",
        ),
        (post("/v1/cache", ""), StatusCode::METHOD_NOT_ALLOWED, "method"),
        (
            post("/v1/cache/entry", format!(r#"{{"org":"acme","key":"{nobody}"}}"#)),
            StatusCode::NOT_FOUND,
            "entry of 'acme'",
        ),
    ] {
        let response = send_http1(&wired.admin, request).await;
        assert_eq!(response.status(), status, "{named}");
        let message = json::<ErrorReply>(response).await.error.message;
        assert!(message.contains(named), "{message}");
    }
    assert_eq!(send(&wired.data, request()).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_audit_log_is_looked_at_over_the_admin_socket_only() {
    let wired = wired().await;
    let log = SqliteAuditLog::open(&wired._folder.path().join("data")).unwrap();
    let facts = [("", 1), ("two words", 2), ("two words", 3), ("two words", 4)];
    log.append(facts.map(|(org, number)| crate::audit_suite::fact(org, number)).to_vec())
        .await
        .unwrap();
    let get = |path: &str| {
        Request::get(format!("http://sidecar/v1/audit-log{path}")).body(Full::default()).unwrap()
    };
    let heads: AuditHeads = json(send_http1(&wired.admin, get("")).await).await;
    let orgs: Vec<_> = heads.chains.iter().map(|head| (head.org.as_str(), head.seq)).collect();
    assert_eq!(orgs, [("", 1), ("two words", 3)]);
    let verify = post(
        "/v1/audit-log/verify",
        serde_json::to_vec(&serde_json::json!({"heads": heads.chains})).unwrap(),
    );
    let found: AuditVerified = json(send_http1(&wired.admin, verify).await).await;
    assert_eq!((found.verified.len(), found.broken.len()), (2, 0));
    for (query, expected) in [
        ("org=", &[1][..]),
        ("org=two%20words", &[1, 2, 3]),
        ("org=two%20words&after=1&count=1", &[2]),
        ("org=two%20words&until=1970-01-02", &[1, 2, 3]),
        ("org=two%20words&since=1970-01-02", &[]),
        ("org=nobody", &[]),
    ] {
        let answer = send_http1(&wired.admin, get(&format!("/records?{query}"))).await;
        assert_eq!(answer.headers()["content-type"], "application/x-ndjson", "{query}");
        let lines = answer.into_body().collect().await.unwrap().to_bytes();
        let lines = std::str::from_utf8(&lines).unwrap().lines();
        let numbers: Vec<u64> =
            lines.map(|line| serde_json::from_str::<AuditRecord>(line).unwrap().seq).collect();
        assert_eq!(numbers, expected, "{query}");
    }
    for (request, status, named) in [
        (get("/records"), StatusCode::BAD_REQUEST, "'org'"),
        (get("/records?org=a&after=x"), StatusCode::BAD_REQUEST, "'after'"),
        (get("/records?org=a&since=never"), StatusCode::BAD_REQUEST, "'since'"),
        (post("/v1/audit-log/verify", r#"{"org":"nobody"}"#), StatusCode::NOT_FOUND, "'nobody'"),
    ] {
        let response = send_http1(&wired.admin, request).await;
        assert_eq!(response.status(), status, "{named}");
        let message = json::<ErrorReply>(response).await.error.message;
        assert!(message.contains(named), "{message}");
    }
    assert_eq!(send(&wired.data, get("")).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_public_listener_has_health_and_metrics_and_nothing_else() {
    let wired = wired().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stage, stages) = tokio::sync::watch::channel(serve::Stage::Starting);
    tokio::spawn(serve::public(
        Arc::clone(&wired.group.sidecar),
        listener,
        wired.connections.open(),
        stages,
    ));
    let ask = async |path: &str| {
        let stream = TokioIo::new(tokio::net::TcpStream::connect(address).await.unwrap());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let request =
            Request::get(path).header("host", "x").body(Full::<Bytes>::default()).unwrap();
        sender.send_request(request).await.unwrap()
    };
    let starting = ask("/health").await;
    assert_eq!(starting.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(json::<serde_json::Value>(starting).await["status"], "starting");
    assert_eq!(ask("/metrics").await.status(), StatusCode::OK);
    stage.send_replace(serve::Stage::Serving);
    let health: serde_json::Value = json(ask("/health").await).await;
    assert_eq!(health["status"], "ok");
    assert_eq!(ask("/metrics").await.status(), StatusCode::OK);
    for path in ["/", "/v1/keys", "/v1/status", "/v1/admit", "/v1/cache"] {
        assert_eq!(ask(path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn a_ticket_is_good_for_its_process_only() {
    let wired = wired().await;
    let key = wired.group.key().await;
    // Given to process 41, used by this one.
    let (ticket, reason) = wired.group.ticket(wired.group.ask(&key, CHAT)).await;
    assert_eq!(reason, Reason::Request);
    let response = wired.lane(&ticket, CHAT).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(wired.group.metric("kt_tickets_refused_total{reason=\"other-holder\"}"), "1");
}

#[tokio::test]
async fn an_orderly_end_waits_until_all_is_written() {
    let mut wired = wired().await;
    let key = wired.group.key().await;
    let ticket = wired.ticket(&wired.group.ask(&key, CHAT_STREAM)).await;
    let data = wired.data.clone();
    let request = Wired::lane_request(&ticket, CHAT_STREAM);
    let response = tokio::spawn(async move { send(&data, request).await });
    let call = wired.egress.0.recv().await.unwrap();
    let feeding = call.answer_with(provider_head("text/event-stream"));
    feeding.send(Some(CHUNKS.into())).unwrap();
    let body = response.await.unwrap().into_body();
    let end = async {
        wired.group.sidecar.drained().await;
        wired.listeners.shutdown().await;
        wired.connections.close().await;
    };
    let provider = async {
        feeding.send(Some(format!("{USAGE_CHUNK}{DONE}").into())).unwrap();
        feeding.send(None).unwrap();
    };
    let ((), body, ()) = tokio::join!(end, body.collect(), provider);
    assert_eq!(body.unwrap().to_bytes(), sse_without_usage());
}

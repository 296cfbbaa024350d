//! A reader: one connection, one request, and the moment of everything that came.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::{Body, Incoming};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// What to ask, and where.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) gateway: SocketAddr,
    pub(crate) key: String,
    pub(crate) seed: String,
    pub(crate) stream: bool,
}

/// What a reader has seen.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) asked: Instant,
    pub(crate) ended: Instant,
    pub(crate) bytes: usize,
    /// When each token came.
    pub(crate) tokens: Vec<Instant>,
}

/// Asks once and reads to the end.
pub(crate) async fn read(ask: Ask) -> io::Result<Seen> {
    let asked = crate::clock::now();
    let text = format!(
        r#"{{"model":"gpt-4o","stream":{},"messages":[{{"role":"system","content":"{}"}},{{"role":"user","content":"{}"}}]}}"#,
        ask.stream,
        "You are a careful engineer. ".repeat(60),
        ask.seed
    );
    let request = Request::post("/v1/chat/completions")
        .header("host", "bench")
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {}", ask.key))
        .body(Full::from(text))
        .map_err(io::Error::other)?;
    let mut body = answered(ask.gateway, request).await?.into_body();
    let (mut bytes, mut tokens, mut rest) = (0, Vec::new(), Vec::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(io::Error::other)?;
        let Ok(data) = frame.into_data() else { continue };
        bytes += data.len();
        if ask.stream {
            let now = crate::clock::now();
            rest.extend_from_slice(&data);
            take_events(&mut rest, |event| {
                if event.windows(2).any(|pair| pair == b"\"#") {
                    tokens.push(now);
                }
            });
        }
    }
    Ok(Seen { asked, ended: crate::clock::now(), bytes, tokens })
}

/// Waits until the sidecars say that so many requests, in all, follow another one's flight.
pub(crate) async fn until_following(
    sidecars: &[SocketAddr],
    count: usize,
    patience: Duration,
) -> io::Result<()> {
    let until = crate::clock::now() + patience;
    while crate::clock::now() < until {
        let mut now = 0;
        for at in sidecars {
            now += gauge(*at, "kt_flight_followers").await?;
        }
        if now == count {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(io::Error::other(format!("there were never {count} followers")))
}

/// What a sidecar's metric without labels says.
pub(crate) async fn gauge(at: SocketAddr, name: &str) -> io::Result<usize> {
    let request = Request::get("/metrics").header("host", "bench").body(Empty::<Bytes>::new());
    let answer = answered(at, request.map_err(io::Error::other)?).await?;
    let page = answer.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
    let page = String::from_utf8_lossy(&page);
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value
        .and_then(|value| value.trim().parse().ok())
        .ok_or_else(|| io::Error::other(format!("{at} does not tell {name}")))
}

async fn answered<B>(at: SocketAddr, request: Request<B>) -> io::Result<Response<Incoming>>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    let stream = TcpStream::connect(at).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    if response.status() == StatusCode::OK {
        Ok(response)
    } else {
        Err(io::Error::other(format!("{at} answered {}", response.status())))
    }
}

/// Hands over every whole event and keeps the rest.
fn take_events(bytes: &mut Vec<u8>, mut each: impl FnMut(&[u8])) {
    while let Some(end) = bytes.windows(2).position(|pair| pair == b"\n\n") {
        let event: Vec<u8> = bytes.drain(..end + 2).collect();
        each(&event);
    }
}

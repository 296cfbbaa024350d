//! A TCP proxy between us and a service, that does to its connections what networks do: delays, silence in one
//! direction, resets, cuts after so many bytes, a slow drip, bytes that are not those that were sent. What it
//! does can be changed at any time, for connections that are open too.

mod line;
mod loss;
mod port;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

pub use port::free_port;

/// How much is read at once.
const PIECE_BYTES: usize = 16 << 10;

/// What happens to the bytes of one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// They pass.
    #[default]
    None,
    /// They pass after a while.
    Delay(Duration),
    /// They are taken, and never arrive. The connection looks open.
    Drop,
    /// One byte arrives, then nothing for a while, then the next.
    Drip(Duration),
    /// The connection is reset once so many more bytes have arrived.
    ResetAfter(u64),
    /// The connection is closed, politely, once so many more bytes have arrived.
    CloseAfter(u64),
    /// The connection is reset instead of passing on every so-manyth piece, counted over all connections. With
    /// a service that answers each request in one piece: every so-manyth answer.
    ResetEvery(u64),
    /// What a network that loses packets does to a stream: nothing of it is missing, and it comes late.
    Lossy(Loss),
    /// Other bytes arrive, once, in place of the first ones.
    Replace(Vec<u8>),
}

/// A narrow line that loses packets, as far as TCP lets anybody see it. No packet is lost here: each is sent again as
/// far as the ends can tell, which is a pause for its connection and for whatever it says behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Every so-manyth packet is lost, counted over all connections.
    pub every: u64,
    /// After so long it is sent again. Linux waits 200 ms at least.
    pub again_after: Duration,
    /// How many bytes pass in a second, in each direction, on all connections together.
    pub bytes_per_second: u64,
}

/// What happens to new connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Door {
    /// They are connected to the service.
    #[default]
    Open,
    /// They are accepted, and reset at once.
    Reset,
}

/// All that is done at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// To new connections.
    pub door: Door,
    /// To what the client sends.
    pub requests: Fault,
    /// To what the service sends.
    pub answers: Fault,
}

/// A running proxy; it ends when dropped, and its connections with it.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    faults: watch::Sender<Faults>,
    target: watch::Sender<SocketAddr>,
    counted: Arc<Counted>,
    task: AbortHandle,
}

#[derive(Debug, Default)]
struct Counted {
    connections: AtomicU64,
    pieces: AtomicU64,
    resets: AtomicU64,
    narrow: loss::Narrow,
}

/// How a direction has ended.
enum Ended {
    /// Who sends has nothing more to say.
    Quiet,
    /// The connection is to be reset.
    Reset,
}

// === impl Faults ===

impl Faults {
    /// A fault of what the service sends alone.
    #[must_use]
    pub fn of_answers(answers: Fault) -> Self {
        Self { answers, ..Self::default() }
    }

    /// A fault of what the client sends alone.
    #[must_use]
    pub fn of_requests(requests: Fault) -> Self {
        Self { requests, ..Self::default() }
    }

    /// Nothing arrives any more, in either direction.
    #[must_use]
    pub fn blackhole() -> Self {
        Self { requests: Fault::Drop, answers: Fault::Drop, ..Self::default() }
    }
}

// === impl Proxy ===

impl Proxy {
    /// Begins to listen, on a port of its own of 127.0.0.1, before a service on a port of 127.0.0.1.
    ///
    /// # Errors
    /// Where there is no port to listen on.
    pub async fn start(service: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let (faults, target) =
            (watch::Sender::new(Faults::default()), watch::Sender::new(local(service)));
        let counted = Arc::new(Counted::default());
        let serving = serve(listener, faults.subscribe(), target.subscribe(), Arc::clone(&counted));
        let task = tokio::spawn(serving).abort_handle();
        Ok(Self { port, faults, target, counted, task })
    }

    /// Where it listens, on 127.0.0.1.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// What it does from now on.
    pub fn set(&self, faults: Faults) {
        self.faults.send_replace(faults);
    }

    /// It does nothing any more.
    pub fn heal(&self) {
        self.set(Faults::default());
    }

    /// Where new connections lead from now on.
    pub fn lead_to(&self, service: u16) {
        self.target.send_replace(local(service));
    }

    /// How many connections were accepted.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.counted.connections.load(Ordering::Relaxed)
    }

    /// How many connections were reset.
    #[must_use]
    pub fn resets(&self) -> u64 {
        self.counted.resets.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

async fn serve(
    listener: TcpListener,
    faults: watch::Receiver<Faults>,
    target: watch::Receiver<SocketAddr>,
    counted: Arc<Counted>,
) {
    // Dropped with this task, and the connections with it.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        counted.connections.fetch_add(1, Ordering::Relaxed);
        let at = *target.borrow();
        connections.spawn(connection(client, at, faults.clone(), Arc::clone(&counted)));
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(
    client: TcpStream,
    at: SocketAddr,
    faults: watch::Receiver<Faults>,
    counted: Arc<Counted>,
) {
    let is_refused = faults.borrow().door == Door::Reset;
    let Some(service) = (if is_refused { None } else { TcpStream::connect(at).await.ok() }) else {
        counted.resets.fetch_add(1, Ordering::Relaxed);
        reset(&client);
        return;
    };
    let _ = (client.set_nodelay(true), service.set_nodelay(true));
    let (from_client, mut to_client) = client.into_split();
    let (from_service, mut to_service) = service.into_split();
    let ended = {
        let requests = pump(from_client, &mut to_service, faults.clone(), Way::Requests, &counted);
        let answers = pump(from_service, &mut to_client, faults, Way::Answers, &counted);
        tokio::pin!(requests, answers);
        tokio::select! {
            ended = &mut requests => match ended {
                // Answers may still come to who has nothing more to ask.
                Ended::Quiet => answers.await,
                Ended::Reset => Ended::Reset,
            },
            ended = &mut answers => ended,
        }
    };
    match ended {
        Ended::Quiet => {
            let _ = to_client.shutdown().await;
        }
        Ended::Reset => {
            counted.resets.fetch_add(1, Ordering::Relaxed);
            for half in [to_client, to_service] {
                reset(half.as_ref());
                // Dropped otherwise it would say goodbye first.
                half.forget();
            }
        }
    }
}

/// Has the connection reset when it is dropped.
fn reset(stream: &TcpStream) {
    let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}

#[derive(Clone, Copy)]
enum Way {
    Requests,
    Answers,
}

/// Passes on what one side sends, or does not.
async fn pump(
    mut from: OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    mut faults: watch::Receiver<Faults>,
    way: Way,
    counted: &Counted,
) -> Ended {
    let mut buffer = vec![0; PIECE_BYTES];
    // Since the fault was set.
    let mut passed = 0;
    let mut is_replaced = false;
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            changed = faults.changed() => {
                if changed.is_err() {
                    return Ended::Reset;
                }
                (passed, is_replaced) = (0, false);
                continue;
            }
        };
        let count = match read {
            Ok(0) => {
                let _ = to.shutdown().await;
                return Ended::Quiet;
            }
            Ok(count) => count,
            Err(_) => return Ended::Reset,
        };
        let piece = buffer.get(..count).unwrap_or_default();
        let fault = match way {
            Way::Requests => faults.borrow().requests.clone(),
            Way::Answers => faults.borrow().answers.clone(),
        };
        let (sent, ended) = match fault {
            Fault::None => (to.write_all(piece).await, None),
            Fault::Delay(time) => {
                sleep(time).await;
                (to.write_all(piece).await, None)
            }
            Fault::Drop => (Ok(()), None),
            Fault::Drip(pause) => (drip(to, piece, pause).await, None),
            Fault::Lossy(loss) => (counted.narrow.pass(to, piece, loss, way).await, None),
            Fault::ResetAfter(bytes) => cut(to, piece, &mut passed, bytes, Ended::Reset).await,
            Fault::CloseAfter(bytes) => cut(to, piece, &mut passed, bytes, Ended::Quiet).await,
            Fault::ResetEvery(nth) => {
                let number = counted.pieces.fetch_add(1, Ordering::Relaxed) + 1;
                let is_cut = number.is_multiple_of(nth);
                let sent = if is_cut { Ok(()) } else { to.write_all(piece).await };
                (sent, is_cut.then_some(Ended::Reset))
            }
            Fault::Replace(_) if is_replaced => (Ok(()), None),
            Fault::Replace(other) => {
                is_replaced = true;
                (to.write_all(&other).await, None)
            }
        };
        match (sent, ended) {
            (Err(_), _) => return Ended::Reset,
            (Ok(()), Some(ended)) => return ended,
            (Ok(()), None) => {}
        }
    }
}

/// Passes on what is still allowed, and says how it ends where that is all.
async fn cut(
    to: &mut OwnedWriteHalf,
    piece: &[u8],
    passed: &mut u64,
    bytes: u64,
    ended: Ended,
) -> (io::Result<()>, Option<Ended>) {
    let left = usize::try_from(bytes.saturating_sub(*passed)).unwrap_or(usize::MAX);
    let allowed = piece.get(..left.min(piece.len())).unwrap_or_default();
    *passed += allowed.len() as u64;
    let sent = to.write_all(allowed).await;
    (sent, (allowed.len() < piece.len() || *passed >= bytes).then_some(ended))
}

async fn drip(to: &mut OwnedWriteHalf, piece: &[u8], pause: Duration) -> io::Result<()> {
    for byte in piece {
        to.write_all(&[*byte]).await?;
        sleep(pause).await;
    }
    Ok(())
}

//! The bench's client and provider in one process, on one clock: many readers of one answer, through whatever
//! gateways stand between. Prints its figures as one JSON object; `bench.py` starts the gateways.

mod clock;
mod provider;
mod reader;
mod tokens;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use serde::Serialize;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::{JoinError, JoinSet};

use provider::{Pace, Provider};
use reader::{Ask, Seen};

/// How long a run may take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, Parser)]
struct Args {
    /// What to measure.
    #[arg(long)]
    work: Work,
    /// Where the provider listens: the address that the gateways call.
    #[arg(long)]
    provider: SocketAddr,
    /// The gateways; readers are dealt to them in turn.
    #[arg(long, value_delimiter = ',', required = true)]
    gateways: Vec<SocketAddr>,
    /// The gateway key.
    #[arg(long, default_value = "none")]
    key: String,
    /// How many readers.
    #[arg(long)]
    readers: usize,
    /// A gateway whose sidecar is none of the others': the first reader asks it, and leads before anybody else asks.
    /// It is not among those whose lag counts.
    #[arg(long)]
    leader: Option<SocketAddr>,
    /// Where each sidecar tells how many follow. Without it, every reader must reach the provider itself.
    #[arg(long, value_delimiter = ',')]
    metrics: Vec<SocketAddr>,
    /// Whose memory to read.
    #[arg(long)]
    sidecar_pid: Option<u32>,
    /// Makes the request another one than the last run's.
    #[arg(long)]
    seed: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Work {
    /// One JSON answer, held until everybody waits.
    Json,
    /// One streamed answer, held until everybody waits, then sent at once.
    Burst,
    /// One streamed answer, a token every 20 ms; half of the readers join on the way.
    Lag,
    /// As many streamed answers as readers, all held after 16 KB: what the sidecar needs for its flights.
    Hold,
}

/// What came of a run, in microseconds since the provider was allowed to answer.
#[derive(Debug, Serialize)]
struct Fanned {
    readers: usize,
    provider_calls: usize,
    answer_bytes: usize,
    first_us: u128,
    p50_us: u128,
    last_us: u128,
}

/// Microseconds behind the leader, token by token, each reader's from its joining on.
#[derive(Debug, Serialize)]
struct Lag {
    readers: usize,
    provider_calls: usize,
    tokens: usize,
    p50_us: u128,
    p99_us: u128,
    max_us: u128,
    joiners_caught_up_p50_us: u128,
    joiners_caught_up_max_us: u128,
}

/// The resident memory of the sidecar, in bytes.
#[derive(Debug, Serialize)]
struct Memory {
    flights: usize,
    bytes_each: usize,
    idle: u64,
    in_flight: u64,
    after: u64,
}

fn main() {
    let args = Args::parse();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let done = runtime.and_then(|runtime| runtime.block_on(run(args)));
    match done {
        Ok(figures) => {
            use io::Write as _;
            let _ = writeln!(io::stdout(), "{figures}");
        }
        Err(error) => {
            use io::Write as _;
            let _ = writeln!(io::stderr(), "fanout: {error}");
            std::process::exit(1);
        }
    }
}

async fn run(args: Args) -> io::Result<String> {
    let pace = match args.work {
        Work::Json => Pace::Json,
        Work::Burst => Pace::Burst,
        Work::Lag => Pace::Steady,
        Work::Hold => Pace::Held,
    };
    let provider = Arc::new(Provider::new(pace));
    let listener = listen(args.provider)?;
    tokio::spawn(Arc::clone(&provider).serve(listener));
    let figures = match args.work {
        Work::Json | Work::Burst => serde_json::to_string(&stampede(&args, &provider).await?),
        Work::Lag => serde_json::to_string(&lag(&args, &provider).await?),
        Work::Hold => serde_json::to_string(&memory(&args, &provider).await?),
    };
    figures.map_err(io::Error::other)
}

/// With room for everybody at once: a connection that is refused would be no figure.
fn listen(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    socket.listen(4_096)
}

/// Everybody asks, the provider answers once all wait; how long until the last one has it all?
async fn stampede(args: &Args, provider: &Provider) -> io::Result<Fanned> {
    let mut readers = JoinSet::new();
    for at in 0..args.readers {
        readers.spawn(reader::read(ask(args, at)));
    }
    let all_wait = async {
        if args.metrics.is_empty() {
            provider.until_waiting(args.readers, PATIENCE).await
        } else {
            until_following(args, args.readers).await
        }
    };
    tokio::select! {
        waiting = all_wait => waiting?,
        Some(early) = readers.join_next() => {
            early.map_err(io::Error::other)??;
            return Err(io::Error::other("a reader was answered before all waited"));
        }
    }
    let released = provider.release();
    let seen = all(readers).await?;
    let mut took: Vec<u128> = seen.iter().map(|seen| since(seen.ended, released)).collect();
    took.sort_unstable();
    let bytes = same_length(&seen)?;
    Ok(Fanned {
        readers: args.readers,
        provider_calls: provider.calls(),
        answer_bytes: bytes,
        first_us: at(&took, 0, 100),
        p50_us: at(&took, 50, 100),
        last_us: at(&took, 100, 100),
    })
}

/// Half of the readers from the start, the others one by one while the tokens flow.
async fn lag(args: &Args, provider: &Provider) -> io::Result<Lag> {
    let mut readers = JoinSet::new();
    let early = args.readers / 2;
    readers.spawn(reader::read(ask(args, 0)));
    if args.leader.is_some() {
        provider.until_waiting(1, PATIENCE).await?;
    }
    for at in 1..=early {
        readers.spawn(reader::read(ask(args, at)));
    }
    if !args.metrics.is_empty() {
        until_following(args, early + 1).await?;
    }
    provider.release();
    let between = tokens::STEADY_FOR / u32::try_from(args.readers + 1).unwrap_or(u32::MAX);
    for at in early + 1..=args.readers {
        tokio::time::sleep(between).await;
        readers.spawn(reader::read(ask(args, at)));
    }
    let mut seen = all(readers).await?;
    seen.sort_by_key(|seen| seen.asked);
    same_length(&seen)?;
    let elsewhere = usize::from(args.leader.is_some());
    Ok(behind(args.readers, provider.calls(), &seen, elsewhere))
}

/// Every reader has a flight of its own, and all of them stand still at the same time.
async fn memory(args: &Args, provider: &Provider) -> io::Result<Memory> {
    let pid = args.sidecar_pid.ok_or_else(|| io::Error::other("--sidecar-pid is missing"))?;
    let idle = resident(pid)?;
    let mut readers = JoinSet::new();
    for at in 0..args.readers {
        let ask = ask(args, at);
        let seed = format!("{}-{at}", ask.seed);
        readers.spawn(reader::read(Ask { seed, ..ask }));
    }
    tokio::select! {
        held = provider.until_held(args.readers, PATIENCE) => held?,
        ended = readers.join_next() => return Err(too_early(ended)),
    }
    // A request that went past the sidecar takes none of its memory.
    let mut flights = 0;
    for sidecar in &args.metrics {
        flights += reader::gauge(*sidecar, "kt_flights").await?;
    }
    if flights != args.readers {
        return Err(io::Error::other(format!("{flights} flights of {} readers", args.readers)));
    }
    // What the provider has handed over is on its way through two proxies.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let in_flight = resident(pid)?;
    provider.release();
    all(readers).await?;
    let bytes_each = tokens::HELD_AFTER * tokens::event(0).len();
    Ok(Memory { flights: args.readers, bytes_each, idle, in_flight, after: resident(pid)? })
}

/// Why a reader has ended that was to wait.
fn too_early(ended: Option<Result<io::Result<Seen>, JoinError>>) -> io::Error {
    match ended {
        Some(Ok(Err(error))) => error,
        Some(Err(error)) => io::Error::other(error),
        Some(Ok(Ok(_))) | None => io::Error::other("a reader has ended before its answer was held"),
    }
}

fn resident(pid: u32) -> io::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: Option<u64> = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    kib.map(|kib| kib << 10).ok_or_else(|| io::Error::other("no VmRSS"))
}

/// Waits until all of so many readers follow, but for the first one at each sidecar, which leads there.
async fn until_following(args: &Args, asked: usize) -> io::Result<()> {
    let follow = asked.saturating_sub(args.metrics.len());
    reader::until_following(&args.metrics, follow, PATIENCE).await
}

/// A token is "there" when its first reader has it, whoever that is. The lags of those that asked first, `elsewhere`
/// of them, are not counted.
fn behind(readers: usize, provider_calls: usize, seen: &[Seen], elsewhere: usize) -> Lag {
    let tokens = seen.iter().map(|seen| seen.tokens.len()).max().unwrap_or(0);
    let first: Vec<Option<Instant>> = (0..tokens)
        .map(|token| seen.iter().filter_map(|seen| seen.tokens.get(token).copied()).min())
        .collect();
    let (mut lags, mut caught_up) = (Vec::new(), Vec::new());
    for reader in seen.iter().skip(elsewhere) {
        let mut missed = None;
        for (came, first) in reader.tokens.iter().zip(&first) {
            match *first {
                Some(first) if first >= reader.asked => lags.push(since(*came, first)),
                Some(_) => missed = Some(*came),
                None => {}
            }
        }
        caught_up.extend(missed.map(|last| since(last, reader.asked)));
    }
    lags.sort_unstable();
    caught_up.sort_unstable();
    Lag {
        readers,
        provider_calls,
        tokens,
        p50_us: at(&lags, 50, 100),
        p99_us: at(&lags, 99, 100),
        max_us: at(&lags, 100, 100),
        joiners_caught_up_p50_us: at(&caught_up, 50, 100),
        joiners_caught_up_max_us: at(&caught_up, 100, 100),
    }
}

fn ask(args: &Args, at: usize) -> Ask {
    let dealt = |at: usize| args.gateways.get(at % args.gateways.len()).copied();
    let gateway = match (args.leader, at.checked_sub(1)) {
        (Some(leader), None) => Some(leader),
        (Some(_), Some(follower)) => dealt(follower),
        (None, _) => dealt(at),
    };
    Ask {
        gateway: gateway.unwrap_or(args.provider),
        key: args.key.clone(),
        seed: args.seed.clone(),
        stream: args.work != Work::Json,
    }
}

async fn all(mut readers: JoinSet<io::Result<Seen>>) -> io::Result<Vec<Seen>> {
    let work = async {
        let mut seen = Vec::new();
        while let Some(done) = readers.join_next().await {
            seen.push(done.map_err(io::Error::other)??);
        }
        Ok(seen)
    };
    tokio::time::timeout(PATIENCE, work).await.map_err(io::Error::other)?
}

fn same_length(seen: &[Seen]) -> io::Result<usize> {
    let lengths = || seen.iter().map(|seen| seen.bytes);
    let (least, most) = (lengths().min().unwrap_or(0), lengths().max().unwrap_or(0));
    if least == most {
        Ok(least)
    } else {
        Err(io::Error::other(format!("answers of {least} to {most} bytes")))
    }
}

fn since(later: Instant, earlier: Instant) -> u128 {
    later.saturating_duration_since(earlier).as_micros()
}

/// The value at `part` of `whole` in sorted figures.
fn at(sorted: &[u128], part: usize, whole: usize) -> u128 {
    let last = sorted.len().saturating_sub(1);
    sorted.get(last * part / whole).copied().unwrap_or_default()
}

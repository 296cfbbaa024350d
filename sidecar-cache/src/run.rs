//! From flags to a running sidecar and back: claim, open, listen, serve, drain.

use std::sync::Arc;
use std::time::Duration;

use sidecar_cache::clock::Clock;
use sidecar_cache::http::closing::Closing;
use sidecar_cache::http::serve::{self, Stage};
use sidecar_cache::http::socket::{Claim, Listening, with_ending};
use sidecar_cache::http::traces;
use sidecar_cache::service::audit::First;
use sidecar_cache::service::reload::Watched;
use sidecar_cache::service::traces::Traces;
use sidecar_cache::service::{Failure, Sidecar};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::args::{Args, Listen, Tracing};
use crate::open::open;

/// How long running answers may take after the signal to stop.
const DRAIN_MAX: Duration = Duration::from_secs(30);

/// How long calls may then take to be accounted for at what has come of them.
const GIVE_UP_MAX: Duration = Duration::from_secs(5);

/// How long a store may then take to be told what was saved, and a database which keys are claimed no longer.
const NOTE_MAX: Duration = Duration::from_secs(3);

/// How long a ledger may then take to be told what it has not taken yet. What it does not take lies in the spool.
const TELL_MAX: Duration = Duration::from_secs(2);

/// How long the audit log may then take to be written.
const RECORD_MAX: Duration = Duration::from_secs(5);

/// How long the last spans may take to be sent.
const FLUSH_MAX: Duration = Duration::from_secs(2);

/// How long connections may then take to write what they have and close.
const CLOSE_MAX: Duration = Duration::from_secs(2);

/// What is wrong, for the person who started it; most often one line.
pub(crate) type Faults = Vec<String>;

pub(crate) fn run(args: Args) -> Result<(), Faults> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(one)?
        .block_on(serve_until_told(args))
}

/// What asks a sidecar to end, at any moment of its life: the signal of supervisors, and Ctrl-C.
struct Stops {
    terminate: Signal,
    interrupt: Signal,
}

impl Stops {
    fn new() -> std::io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn serve_until_told(args: Args) -> Result<(), Faults> {
    let mut stops = Stops::new().map_err(one)?;
    let _socket = Claim::take(&args.socket).map_err(one)?;
    let _data = Claim::take(&args.data_dir.join("keys.db")).map_err(|_| {
        vec![format!("another sidecar uses the data folder {}", args.data_dir.display())]
    })?;
    let (watched, settings) = Watched::load(args.policy_config.clone(), args.local)?;
    let clock = Clock::start();
    if args.local {
        let tier = settings.snapshot.cache.tier;
        tracing::info!(?tier, "local: this sidecar belongs to one gateway and shares nothing");
    }
    let sidecar = open(&args, watched, settings, clock).await?;
    trace(&sidecar, &args);
    // Also while the ledger is counted, which may take long: what is known must not be old when it is over.
    let looking = Arc::clone(&sidecar);
    tokio::spawn(async move { looking.keep_looking().await });
    let claiming = Arc::clone(&sidecar);
    tokio::spawn(async move { claiming.keep_claims().await });
    let connections = Closing::default();
    let (stage, stages) = watch::channel(Stage::Starting);
    let mut listeners = Vec::from_iter(public(&sidecar, args.listen, &connections, stages).await?);
    // Before anything is closed that has ended.
    if !told(&sidecar, &mut stops).await {
        return Ok(());
    }
    if !audited(&sidecar, &mut stops).await? {
        return Ok(());
    }

    let data = Listening::on(&args.socket).await.map_err(one)?;
    let admin = Listening::on(&with_ending(&args.socket, ".admin")).await.map_err(one)?;
    keep(&sidecar);
    listeners.push(tokio::spawn(serve::data(Arc::clone(&sidecar), data, connections.open())));
    listeners.push(tokio::spawn(serve::admin(Arc::clone(&sidecar), admin, connections.open())));
    stage.send_replace(Stage::Serving);
    tracing::info!(socket = %args.socket.display(), "ready");

    stops.asked().await;
    tracing::info!("draining");
    let is_drained = tokio::select! {
        () = sidecar.drained() => true,
        () = tokio::time::sleep(DRAIN_MAX) => false,
        // Whoever asks twice does not want to wait.
        () = stops.asked() => false,
    };
    let is_accounted =
        is_drained || tokio::time::timeout(GIVE_UP_MAX, sidecar.gave_up()).await.is_ok();
    // Aborted and awaited, so that their sockets are removed.
    for listener in listeners {
        listener.abort();
        let _ = listener.await;
    }
    // Nobody is served any more.
    note_the_rest(&sidecar).await;
    let in_spool = tell_the_rest(&sidecar).await;
    // What the ledger knows all of. The rest is closed by time.
    let _ = tokio::time::timeout(TELL_MAX, sidecar.leave_allotments()).await;
    record_the_rest(&sidecar).await;
    let _ = tokio::time::timeout(FLUSH_MAX, sidecar.flush_traces()).await;
    let is_closed = tokio::time::timeout(CLOSE_MAX, connections.close()).await.is_ok();
    tracing::info!(is_drained, is_accounted, is_closed, in_spool, "stopped");
    Ok(())
}

/// Serves health and metrics, from before the ledger is counted: until then the one says that it starts.
async fn public(
    sidecar: &Arc<Sidecar>,
    listen: Listen,
    connections: &Closing,
    stage: watch::Receiver<Stage>,
) -> Result<Option<JoinHandle<()>>, Faults> {
    let Listen::On(address) = listen else { return Ok(None) };
    let listener =
        TcpListener::bind(address).await.map_err(|error| one(format!("{address}: {error}")))?;
    let serving = serve::public(Arc::clone(sidecar), listener, connections.open(), stage);
    Ok(Some(tokio::spawn(serving)))
}

/// Sends spans to a collector, where one is named.
fn trace(sidecar: &Arc<Sidecar>, args: &Args) {
    #[expect(clippy::disallowed_methods, reason = "what OpenTelemetry says of a whole machine")]
    let variable = |name: &str| std::env::var(name).ok();
    let Some(Tracing { collector, service, ratio }) = args.tracing(variable) else { return };
    let (traces, exports) = Traces::new(ratio);
    sidecar.trace_to(traces);
    tracing::info!(%collector, "spans are exported");
    let metrics = sidecar.metrics();
    tokio::spawn(traces::export(collector, service, exports, metrics));
}

/// Looks after everything that wants that from time to time, for as long as the process lives.
fn keep(sidecar: &Arc<Sidecar>) {
    let watching = Arc::clone(sidecar);
    tokio::spawn(async move { watching.watch().await });
    let ending = Arc::clone(sidecar);
    tokio::spawn(async move { ending.end_keys().await });
    let keeping = Arc::clone(sidecar);
    tokio::spawn(async move { keeping.keep_ledger().await });
    let telling = Arc::clone(sidecar);
    tokio::spawn(async move { telling.keep_spool().await });
    let recording = Arc::clone(sidecar);
    tokio::spawn(async move { recording.keep_audit_log().await });
    let auditing = Arc::clone(sidecar);
    tokio::spawn(async move { auditing.keep_audited().await });
}

/// Tells the ledger what a sidecar before this one has left in the spool. What it does not take now it is told later.
/// `false`: it was told to stop meanwhile.
async fn told(sidecar: &Sidecar, stops: &mut Stops) -> bool {
    tokio::select! {
        _ = sidecar.tell_spooled() => true,
        () = stops.asked() => false,
    }
}

/// Says what nobody else could, for as long as that may take: a store that is slow must not take the time of what is behind it.
async fn note_the_rest(sidecar: &Sidecar) {
    let both = async { tokio::join!(sidecar.note_savings(), sidecar.leave_claims()) };
    if tokio::time::timeout(NOTE_MAX, both).await.is_err() {
        tracing::warn!(
            "what was saved since the last minute, or which keys are claimed no longer, was not told in time"
        );
    }
}

/// Tells the ledger what it has not taken yet, for as long as that may take, and says what is left.
async fn tell_the_rest(sidecar: &Sidecar) -> usize {
    let _ = tokio::time::timeout(TELL_MAX, sidecar.tell_spooled()).await;
    let in_spool = sidecar.waiting_in_spool();
    if in_spool > 0 {
        let what = "the ledger has not taken the ends of these calls; they lie in the spool and are told \
                    when this sidecar is started again";
        tracing::warn!(in_spool, "{what}");
    }
    in_spool
}

/// Puts on record what is not yet, for as long as that may take.
async fn record_the_rest(sidecar: &Sidecar) {
    let _ = tokio::time::timeout(RECORD_MAX, sidecar.audit_log_flushed()).await;
    let lost = sidecar.audit_log_waiting();
    if lost > 0 {
        tracing::error!(
            lost,
            "the audit log has not taken these records, and they end with this process"
        );
    }
}

/// Counts the ledger again before anybody is served, unless another sidecar has: a wallet that does not add up is frozen
/// from the first call on. `false`: it was told to stop meanwhile.
async fn audited(sidecar: &Sidecar, stops: &mut Stops) -> Result<bool, Faults> {
    let first = tokio::select! {
        first = sidecar.audit_first() => first,
        () = stops.asked() => return Ok(false),
    };
    let (found, message) = match first {
        Ok(First::Counted(found)) => (found, "ledger audited"),
        Ok(First::Learned(found)) => (found, "ledger audited by another sidecar"),
        Ok(First::NotCounted(why)) => {
            let what = "the ledger was not audited: what was frozen before still is, the status says \
                        so, and it is tried again";
            tracing::error!(why, "{what}");
            return Ok(true);
        }
        Err(Failure::NoLedger) => return Ok(true),
        Err(failure) => return Err(one(format!("the wallet cannot be audited: {failure}"))),
    };
    let (transfers, breaches) = (found.transfers, found.breaches_total);
    tracing::info!(transfers, breaches, took_ms = found.took_ms, "{message}");
    let (open, suspended) = (found.holds_open, found.holds_suspended);
    if open + suspended > 0 {
        // Nobody is served yet: they are from before, and no end of theirs will come.
        let what = "calls from before have not ended in the ledger: what they hold goes into suspense \
                    when its time is over, lies there for a day, and then returns";
        tracing::warn!(open, suspended, "{what}");
    }
    Ok(true)
}

pub(crate) fn one(fault: impl std::fmt::Display) -> Faults {
    vec![fault.to_string()]
}

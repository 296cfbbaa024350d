//! What a seed's world is like: which faults there are, how often, and who asks what. Swarm style: most worlds lack
//! most faults, so that those that are there meet undisturbed.

use fastrand::Rng;
use kt_contract::config::CompleteOnDisconnect;

/// Where leases, entries, money and generations are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// Each sidecar has its own: the product of today, one sidecar a group.
    Own,
    /// All sidecars share one strict store, and lease from it.
    Shared,
}

/// Who pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purse {
    /// Nobody counts.
    None,
    /// A wallet that has enough.
    Ample,
    /// A wallet for some calls.
    Tight,
    /// Budgets without a wallet.
    Postpaid,
}

/// Chances are in thousandths.
#[derive(Clone, Debug)]
pub(crate) struct Swarm {
    /// Where things are kept.
    pub sharing: Sharing,
    /// How many sidecars.
    pub sidecars: usize,
    /// How many gateways, each with one sidecar.
    pub gateways: usize,
    /// Whether all faults end, so that everything must.
    pub heals: bool,
    /// Who pays.
    pub purse: Purse,
    /// What may be spent a day, where that is bounded, in micro-dollars.
    pub budget: Option<u64>,

    /// A message is lost.
    pub loss: u32,
    /// A message comes twice.
    pub double: u32,
    /// A message is late, and others overtake it.
    pub late: u32,
    /// How many partitions begin.
    pub partitions: u32,
    /// How many sidecars crash.
    pub crashes: u32,
    /// How many sidecars stand still.
    pub pauses: u32,
    /// How many wall clocks jump.
    pub jumps: u32,
    /// How far clocks are off, in thousandths of their pace.
    pub drift: u64,
    /// How often a lease store loses its memory.
    pub epochs: u32,
    /// How often something is invalidated.
    pub invalidations: u32,
    /// How often the configuration changes.
    pub configurations: u32,

    /// The provider says 429 or 5xx.
    pub errors: u32,
    /// It says 4xx.
    pub refusals: u32,
    /// Its answer breaks off.
    pub truncated: u32,
    /// Its answer may not be stored.
    pub uncacheable: u32,
    /// There is an error in its answer.
    pub in_band: u32,
    /// It tells no usage, or one that cannot be.
    pub usage_noise: u32,
    /// It never says anything.
    pub silent: u32,
    /// The longest that it takes to begin.
    pub latency_max: u64,

    /// How many requests there are.
    pub asks: u32,
    /// Of how many questions.
    pub questions: u32,
    /// Within which time.
    pub span: u64,
    /// A client leaves.
    pub leavers: u32,
    /// A client reads slowly.
    pub slow: u32,
    /// A client names its request.
    pub keyed: u32,
    /// A client wants a stream.
    pub streams: u32,
    /// A client wants no cached answer.
    pub no_cache: u32,

    /// `single_flight_timeout_ms`.
    pub wait_max: u64,
    /// `single_flight_overflow`.
    pub overflow: Option<u64>,
    /// `complete_on_disconnect`.
    pub on_disconnect: CompleteOnDisconnect,
    /// How often money is moved beside calls.
    pub moves: u32,
}

// === impl Swarm ===

impl Swarm {
    /// The world of a seed.
    #[must_use]
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let sharing = if rng.u32(0..1_000) < 650 { Sharing::Own } else { Sharing::Shared };
        let gateways = rng.usize(1..=4);
        let sidecars = match sharing {
            Sharing::Own => 1,
            Sharing::Shared => rng.usize(1..=gateways),
        };
        Self {
            sharing,
            sidecars,
            gateways,
            heals: rng.bool(),
            purse: pick(
                rng,
                &[Purse::None, Purse::Ample, Purse::Ample, Purse::Tight, Purse::Postpaid],
            )
            .unwrap_or(Purse::None),
            budget: seldom(rng, 300, 1..60_000),
            loss: some(rng, 400, 300),
            double: some(rng, 400, 500),
            late: some(rng, 400, 300),
            partitions: some(rng, 150, 3),
            crashes: some(rng, 300, 3),
            pauses: some(rng, 250, 3),
            jumps: some(rng, 200, 3),
            drift: u64::from(some(rng, 300, 50)),
            epochs: some(rng, 200, 2),
            invalidations: some(rng, 350, 4),
            configurations: some(rng, 200, 2),
            errors: some(rng, 400, 500),
            refusals: some(rng, 200, 300),
            truncated: some(rng, 350, 500),
            uncacheable: some(rng, 250, 600),
            in_band: some(rng, 200, 400),
            usage_noise: some(rng, 300, 700),
            silent: some(rng, 150, 200),
            latency_max: pick(rng, &[20, 500, 3_000, 12_000]).unwrap_or(500),
            asks: rng.u32(2..=18),
            questions: rng.u32(1..=4),
            span: pick(rng, &[5, 200, 2_000, 15_000, 40_000]).unwrap_or(2_000),
            leavers: some(rng, 350, 500),
            slow: some(rng, 300, 500),
            keyed: some(rng, 300, 700),
            streams: pick(rng, &[0, 300, 500, 1_000]).unwrap_or(500),
            no_cache: some(rng, 150, 300),
            wait_max: pick(rng, &[500, 5_000, 30_000]).unwrap_or(30_000),
            overflow: pick(rng, &[Some(1), Some(1), Some(3), None]).unwrap_or(Some(1)),
            on_disconnect: pick(
                rng,
                &[
                    CompleteOnDisconnect::Auto,
                    CompleteOnDisconnect::Always,
                    CompleteOnDisconnect::Never,
                ],
            )
            .unwrap_or_default(),
            moves: some(rng, 500, 12),
        }
    }

    /// No more faults.
    pub(crate) fn heal(&mut self) {
        (self.loss, self.double, self.late) = (0, 0, 0);
        (self.silent, self.truncated, self.errors) = (0, 0, 0);
    }
}

/// Not there in most worlds; else up to `most`.
fn some(rng: &mut Rng, chance: u32, most: u32) -> u32 {
    let is_there = rng.u32(0..1_000) < chance;
    let much = rng.u32(1..=most);
    if is_there { much } else { 0 }
}

fn seldom(rng: &mut Rng, chance: u32, range: std::ops::Range<u64>) -> Option<u64> {
    let is_there = rng.u32(0..1_000) < chance;
    let much = rng.u64(range);
    is_there.then_some(much)
}

/// One of several.
pub(crate) fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> Option<T> {
    let at = rng.usize(0..from.len().max(1));
    from.get(at).copied()
}

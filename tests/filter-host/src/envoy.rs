//! One Envoy process: a main VM that serves nobody, a VM per worker, and virtual time over all of them.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use crate::host::Host;
use crate::instance::{Instance, Trap};
use crate::metrics::Metric;
use crate::raw::RawVm;
use crate::state::{Process, Settings};
use crate::vm::Vm;

/// An Envoy that has not started.
#[derive(Clone, Debug)]
pub struct Starting {
    host: Host,
    settings: Settings,
}

/// Why an Envoy does not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartError {
    /// The filter refused its configuration.
    Rejected,
    /// The filter trapped.
    Trapped(Trap),
}

/// A running Envoy.
#[derive(Clone, Debug)]
pub struct Envoy {
    process: Rc<Process>,
    main: Vm,
    workers: Vec<Vm>,
}

// === impl Starting ===

impl Starting {
    pub(crate) fn with(host: &Host) -> Self {
        Self { host: host.clone(), settings: Settings::default() }
    }

    /// The plugin's configuration.
    #[must_use]
    pub fn configured(mut self, configuration: impl AsRef<[u8]>) -> Self {
        self.settings.plugin_configuration = configuration.as_ref().to_vec();
        self
    }

    /// The VM's configuration.
    #[must_use]
    pub fn vm_configured(mut self, configuration: impl AsRef<[u8]>) -> Self {
        self.settings.vm_configuration = configuration.as_ref().to_vec();
        self
    }

    /// How many workers it has; one if nothing is said.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.settings.workers = workers;
        self
    }

    /// A cluster that callouts may go to.
    #[must_use]
    pub fn cluster(mut self, name: &str) -> Self {
        self.settings.clusters.insert(name.to_owned());
        self
    }

    /// `allow_on_headers_stop_iteration`; on if nothing is said, as every kt gateway has it.
    #[must_use]
    pub fn allow_on_headers_stop_iteration(mut self, allow: bool) -> Self {
        self.settings.allow_on_headers_stop_iteration = allow;
        self
    }

    /// `request_body_buffer_limit`; 1 MiB if nothing is said.
    #[must_use]
    pub fn body_bytes_max(mut self, bytes: usize) -> Self {
        self.settings.body_bytes_max = bytes;
        self
    }

    /// How long a dead VM stays dead (`FAIL_RELOAD`); 50 ms if nothing is said.
    #[must_use]
    pub fn reload_backoff(mut self, backoff: Duration) -> Self {
        self.settings.reload_backoff = backoff;
        self
    }

    /// What the randomness of the process follows from.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = seed;
        self
    }

    /// A property that every exchange has.
    #[must_use]
    pub fn property(mut self, path: &[&str], value: impl AsRef<[u8]>) -> Self {
        self.settings.properties.insert(path.join("\0").into_bytes(), value.as_ref().to_vec());
        self
    }

    /// Starts no Envoy but one VM, which a test drives callback by callback. `now` is the time.
    ///
    /// # Errors
    /// The filter refuses its configuration, or traps.
    pub fn start_raw(self, now: Duration) -> Result<RawVm, StartError> {
        RawVm::start(&self.host, self.settings, now)
    }

    /// Starts it. A first VM only tries the configuration and is dropped, as in Envoy.
    ///
    /// # Errors
    /// The filter refuses its configuration, or traps.
    pub fn start(self) -> Result<Envoy, StartError> {
        let Self { host, settings } = self;
        let (workers, seed) = (settings.workers, settings.seed);
        let process = Rc::new(Process { settings, ..Process::default() });
        let mut canary =
            Instance::new(&host, process.clone(), seed).map_err(StartError::Trapped)?;
        if !canary.start().map_err(StartError::Trapped)? {
            return Err(StartError::Rejected);
        }
        drop(canary);
        let vm = |index: usize| {
            let index = u64::try_from(index).unwrap_or(u64::MAX);
            Vm::start(&host, &process, seed.wrapping_add(index.wrapping_mul(0x1_0001)))
        };
        let main = vm(0)?;
        let workers = (1..=workers).map(vm).collect::<Result<Vec<_>, _>>()?;
        Ok(Envoy { process, main, workers })
    }
}

// === impl Envoy ===

impl Envoy {
    /// The VM of the main thread: it ticks and serves nobody.
    #[must_use]
    pub fn main(&self) -> Vm {
        self.main.clone()
    }

    /// The VM of a worker, counted from 0; of the last one if there are not so many.
    #[must_use]
    pub fn worker(&self, index: usize) -> Vm {
        self.workers.get(index).or(self.workers.last()).unwrap_or(&self.main).clone()
    }

    /// All VMs, the main one first.
    #[must_use]
    pub fn vms(&self) -> Vec<Vm> {
        std::iter::once(&self.main).chain(&self.workers).cloned().collect()
    }

    /// The time since the start.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.process.clock.mono()
    }

    /// Lets time pass: timers fire and callouts time out on the way, each at its moment.
    pub fn advance(&self, by: Duration) {
        let until = self.now().saturating_add(by);
        let vms = self.vms();
        while let Some((at, vm)) = vms
            .iter()
            .filter_map(|vm| Some((vm.next_due()?, vm)))
            .min_by_key(|(at, _)| *at)
            .filter(|(at, _)| *at <= until)
        {
            self.process.clock.set_mono(at);
            vm.fire_due();
        }
        self.process.clock.set_mono(until);
    }

    /// Sets the wall clock beside the true time; the monotonic clock does not move.
    pub fn wall_clock_is_off(&self, by: Duration, back: bool) {
        self.process.clock.jump_wall(by, back);
    }

    /// Whether calls to a cluster overflow its circuit breaker, which fails them at once.
    pub fn overflows(&self, cluster: &str, overflows: bool) {
        let mut overflowing = self.process.overflowing.borrow_mut();
        if overflows {
            overflowing.insert(cluster.to_owned());
        } else {
            overflowing.remove(cluster);
        }
    }

    /// All metrics.
    #[must_use]
    pub fn metrics(&self) -> BTreeMap<String, Metric> {
        self.process.metrics.borrow().all()
    }

    /// The value of a metric; 0 if nobody has defined it.
    #[must_use]
    pub fn metric(&self, name: &str) -> u64 {
        self.process.metrics.borrow().get(name).map_or(0, |metric| metric.value)
    }

    /// What all VMs did that a careful filter does not do.
    #[must_use]
    pub fn misuses(&self) -> Vec<String> {
        self.vms().iter().flat_map(Vm::misuses).collect()
    }

    /// How many traps all VMs had.
    #[must_use]
    pub fn traps(&self) -> usize {
        self.vms().iter().map(|vm| vm.traps().len()).sum()
    }
}

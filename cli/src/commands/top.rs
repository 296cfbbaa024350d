//! `kt top`: a group as it runs, on the terminal, until Ctrl-C. What a frame says is in [`crate::top`]; this file asks,
//! and waits.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use kt_contract::time::MonoMillis;
use kt_contract::wire::admin::endpoint::Endpoint;
use kt_contract::wire::admin::{PATH_STATS, PATH_STATUS, StatusReply};
use tokio::sync::{Notify, watch};

use crate::client::Question;
use crate::clock::{self, Clock};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::paths;
use crate::sidecar::Admin;
use crate::supervise::stop::Stop;
use crate::top::frame::{Now, Sample, frame};
use crate::top::keys::{Key, Keys, stand_still};
use crate::top::metrics::Metrics;
use crate::top::savings::Savings;
use crate::top::screen::Screen;

/// Where a sidecar serves its metrics unless told otherwise.
const METRICS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 41_010);
/// Whoever does not answer by then is told to be lost.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long the ledger is left alone after an answer: for each it reads the whole month.
const SAVINGS_EVERY: Duration = Duration::from_mins(1);

/// What to show.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The sidecar's data socket [default: KT_SIDECAR, else .kt/run/sidecar.sock]
    #[arg(long, value_name = "SOCKET")]
    sidecar: Option<PathBuf>,
    /// The sidecar's --listen, for requests, leaders and followers [default: where no other socket is named,
    /// 127.0.0.1:41010]
    #[arg(long, value_name = "HOST:PORT")]
    metrics: Option<SocketAddr>,
    /// How long a frame stands, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = read_interval)]
    interval: Duration,
    /// Print one frame and end: two looks that lie one interval apart. Fails where no sidecar answers.
    #[arg(long)]
    once: bool,
}

/// Whom to ask.
struct Asked {
    admin: Admin,
    /// Where, and whether somebody has named it.
    metrics: Option<(SocketAddr, bool)>,
    clock: Clock,
}

/// What is known by now.
#[derive(Default)]
struct Known {
    previous: Option<Sample>,
    last: Option<Sample>,
    lost: Option<(String, MonoMillis)>,
}

// === impl Args ===

impl Args {
    pub(crate) async fn run(self, environment: &Environment) -> Result<(), Failure> {
        let socket = paths::sidecar_socket(self.sidecar.as_deref(), environment);
        // Another sidecar's numbers would be worse than none.
        let is_default = self.sidecar.is_none() && environment.sidecar.is_none();
        let usual = is_default.then_some((METRICS, false));
        let metrics = self.metrics.map(|named| (named, true)).or(usual);
        let asked = Asked { admin: Admin::beside(&socket), metrics, clock: Clock::start() };
        let shown = socket.display().to_string();
        if self.once {
            return self.once(&asked, &shown).await;
        }
        let (mut stop, mut keys) = (Stop::listen()?, Keys::listen()?);
        let mut screen = Screen::open(false);
        let (page, resumed) = (screen.page(), Notify::new());
        let watching = watch(&asked, &shown, (self.interval, &resumed), &mut screen);
        tokio::pin!(watching);
        loop {
            let key = tokio::select! {
                () = &mut watching => return Ok(()),
                () = stop.wished() => return Ok(()),
                key = keys.pressed() => key,
            };
            match key {
                Key::Quit => return Ok(()),
                Key::Pause => {
                    page.leave();
                    stand_still();
                    page.enter();
                    resumed.notify_one();
                }
            }
        }
    }

    async fn once(&self, asked: &Asked, socket: &str) -> Result<(), Failure> {
        let first = asked.look().await?;
        let second = async {
            tokio::time::sleep(self.interval).await;
            asked.look().await
        };
        let (second, savings) = tokio::join!(second, asked.savings());
        let second = second?;
        let mut screen = Screen::open(true);
        let now = Now {
            socket,
            at: clock::unix_now(),
            mono: asked.clock.now(),
            sample: Some(&second),
            lost: None,
            savings: &savings,
        };
        screen.show(&frame(Some(&first), now, screen.size().0));
        Ok(())
    }
}

/// Shows one frame after the other, as long as somebody reads them: one each interval, and one whenever the page is new.
async fn watch(
    asked: &Asked,
    socket: &str,
    (interval, resumed): (Duration, &Notify),
    screen: &mut Screen,
) {
    let mut known = Known::default();
    let savings = asked.keep_asking_for_savings();
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = resumed.notified() => {}
        }
        known.hear(asked.look().await, asked.clock.now());
        let mono = asked.clock.now();
        let lost =
            known.lost.as_ref().map(|(why, since)| (why.as_str(), mono.0.saturating_sub(since.0)));
        let text = {
            let savings = &savings.borrow();
            let sample = known.last.as_ref();
            let now = Now { socket, at: clock::unix_now(), mono, sample, lost, savings };
            frame(known.previous.as_ref(), now, screen.size().0)
        };
        if !screen.show(&text) {
            return;
        }
    }
}

// === impl Asked ===

impl Asked {
    /// Asks for what a frame cannot be without, and for the metrics, which may be missing.
    async fn look(&self) -> Result<Sample, Failure> {
        let at = self.clock.now();
        let asked = async {
            let status = self.admin.get(PATH_STATUS).await?;
            let cache = self.admin.get(PATH_STATS).await?;
            Ok((status, cache))
        };
        let late = |_late| {
            let socket = self.admin.socket().display();
            Failure::new(format!("no answer at {socket} within {} s", PATIENCE.as_secs()))
        };
        let (status, cache): (StatusReply, _) =
            tokio::time::timeout(PATIENCE, asked).await.map_err(late)??;
        let metrics = self.metrics(&status.snapshot).await;
        Ok(Sample { at, status, cache, metrics })
    }

    /// Asks the ledger once, and not for long: one frame is waited for.
    async fn savings(&self) -> Savings {
        let mut savings = Savings::default();
        let path = Endpoint::Savings.path("");
        if let Ok(answer) = tokio::time::timeout(PATIENCE, self.admin.get(&path)).await {
            savings.hear(answer, self.clock.now());
        }
        savings
    }

    /// Asks the ledger again and again, beside the frames: what it makes slow is itself alone.
    fn keep_asking_for_savings(&self) -> watch::Receiver<Savings> {
        let (admin, clock) = (self.admin.clone(), self.clock);
        let (told, heard) = watch::channel(Savings::default());
        tokio::spawn(async move {
            loop {
                let answer = admin.get_patiently(&Endpoint::Savings.path("")).await;
                told.send_modify(|savings| savings.hear(answer, clock.now()));
                tokio::time::sleep(SAVINGS_EVERY).await;
            }
        });
        heard
    }

    /// The metrics of the sidecar that has this snapshot.
    ///
    /// # Errors
    /// There are none, and why or what to do.
    async fn metrics(&self, snapshot: &str) -> Result<Metrics, String> {
        const UNNAMED: &str = "leaders and followers: name the sidecar's --listen with --metrics";
        let Some((address, is_named)) = self.metrics else { return Err(UNNAMED.to_owned()) };
        let question = Question { patience: PATIENCE, ..Question::get("/metrics") };
        let why = match question.ask_tcp(address).await {
            Ok(answer) if answer.status.is_success() => {
                let metrics = Metrics::read(&String::from_utf8_lossy(&answer.body));
                if metrics.are_of(snapshot) {
                    return Ok(metrics);
                }
                format!("{address} serves the metrics of another sidecar, or of none")
            }
            Ok(answer) => format!("{address} answers {} to GET /metrics", answer.status),
            Err(error) => format!("nobody answers at {address}: {error}"),
        };
        Err(if is_named { why } else { UNNAMED.to_owned() })
    }
}

// === impl Known ===

impl Known {
    fn hear(&mut self, look: Result<Sample, Failure>, now: MonoMillis) {
        match look {
            Ok(sample) => {
                self.previous = self.last.replace(sample);
                self.lost = None;
            }
            Err(failure) => {
                let since = self.lost.take().map_or(now, |(_, since)| since);
                self.lost = Some((failure.what().to_owned(), since));
            }
        }
    }
}

/// A length of time in seconds, a tenth at least: a sidecar has better things to do than to be asked.
fn read_interval(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "it is a number of seconds".to_owned())?;
    match (0.1..=3_600.0).contains(&seconds) {
        true => Ok(Duration::from_secs_f64(seconds)),
        false => Err("it is 0.1 to 3600 seconds".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_a_tenth_of_a_second_to_an_hour() {
        assert_eq!(read_interval("0.5"), Ok(Duration::from_millis(500)));
        for text in ["0", "0.05", "-1", "NaN", "inf", "3601", "1s", ""] {
            assert!(read_interval(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_sidecar_is_lost_since_the_first_look_that_failed() {
        let mut known = Known::default();
        let failed = || Err(Failure::new("nobody there"));
        known.hear(failed(), MonoMillis(1_000));
        known.hear(failed(), MonoMillis(2_000));
        assert_eq!(known.lost, Some(("nobody there".to_owned(), MonoMillis(1_000))));
    }
}

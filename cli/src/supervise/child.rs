//! One supervised child: running, or waiting to be started again.

use std::process::ExitStatus;
use std::time::Duration;

use kt_contract::time::MonoMillis;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;
use tokio::time::{sleep, timeout};

use crate::clock::Clock;
use crate::failure::Failure;
use crate::report;
use crate::supervise::backoff::Backoff;
use crate::supervise::launch::Program;

/// A program that is kept running.
#[derive(Debug)]
pub(crate) struct Supervised {
    program: Program,
    clock: Clock,
    backoff: Backoff,
    state: State,
}

#[derive(Debug)]
enum State {
    Running { child: Child, since: MonoMillis },
    Waiting,
}

// === impl Supervised ===

impl Supervised {
    pub(crate) fn start(program: Program, clock: Clock) -> Result<Self, Failure> {
        let state = State::Running { child: program.start()?, since: clock.now() };
        Ok(Self { program, clock, backoff: Backoff::default(), state })
    }

    /// Waits for the first end of the child, which at this time is no crash but a refusal to start.
    pub(crate) async fn refused(&mut self) -> Failure {
        let State::Running { child, .. } = &mut self.state else {
            return std::future::pending().await;
        };
        let end = how_it_ended(child.wait().await.ok());
        Failure::new(format!("{} {end} before it was ready", self.program.name))
            .hint("what it said stands above")
    }

    /// Keeps the child running. Returns only if it cannot be started any more.
    pub(crate) async fn keep(&mut self) -> Failure {
        loop {
            if let State::Running { child, since } = &mut self.state {
                let end = how_it_ended(child.wait().await.ok());
                let wait = self.backoff.after(self.clock.now().since(*since));
                self.state = State::Waiting;
                let (name, ms) = (self.program.name, wait.as_millis());
                report::note(format_args!("{name} {end}; starting it again in {ms} ms"));
                sleep(wait).await;
            }
            match self.program.start() {
                Ok(child) => self.state = State::Running { child, since: self.clock.now() },
                Err(failure) => return failure,
            }
        }
    }

    /// Asks the child to end, and makes it end after `grace`.
    pub(crate) async fn end(&mut self, grace: Duration) {
        let State::Running { child, .. } = &mut self.state else { return };
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        let asked = pid.is_some_and(|pid| kill_process(pid, Signal::TERM).is_ok());
        if asked && timeout(grace, child.wait()).await.is_err() {
            let (name, seconds) = (self.program.name, grace.as_secs());
            report::note(format_args!("{name} did not end within {seconds} s; it is killed"));
        }
        // Where it has ended already there is nothing to kill, which is as good.
        let _gone = child.kill().await;
        self.state = State::Waiting;
    }
}

fn how_it_ended(status: Option<ExitStatus>) -> String {
    use std::os::unix::process::ExitStatusExt;
    match status.map(|status| (status.code(), status.signal())) {
        Some((Some(code), _)) => format!("ended with exit code {code}"),
        Some((None, Some(signal))) => format!("was ended by signal {signal}"),
        Some((None, None)) | None => "ended".to_owned(),
    }
}

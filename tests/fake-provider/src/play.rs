//! Performs a plan: the head, then the body at its pace, then the end it shall have.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::gates::Gates;
use crate::journal::Open;
use crate::plan::{Before, End, Never, Plan, Step};
use crate::socket::Ending;

/// The connection ends here, on purpose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut;

/// A body whose frames another task sends.
#[derive(Debug)]
pub(crate) struct Played(mpsc::Receiver<Result<Bytes, Cut>>);

/// What a performance needs beside its plan.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    /// Where it waits.
    pub(crate) gates: Gates,
    /// How the connection shall end.
    pub(crate) ending: Ending,
}

/// Time for the last bytes to leave before the connection is reset: a reset overtakes what is not sent.
const BEFORE_RESET: Duration = Duration::from_millis(30);

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cut on purpose")
    }
}

impl std::error::Error for Cut {}

// === impl Stage ===

impl Stage {
    /// Waits as the plan says before its head.
    ///
    /// # Errors
    /// Where the connection shall be reset instead.
    pub(crate) async fn before_head(&self, before: &Before, open: &Open) -> Result<(), Cut> {
        sleep(before.wait).await;
        for gate in &before.gates {
            self.wait(gate.as_deref(), open).await;
        }
        match before.never {
            Some(Never::Hang) => std::future::pending().await,
            Some(Never::Reset) => {
                self.ending.reset();
                Err(Cut)
            }
            None => Ok(()),
        }
    }

    /// The body of `plan`, which is sent from now on; `open` ends with it under the name `outcome`.
    #[must_use]
    pub(crate) fn body(self, plan: Plan, open: Open, outcome: String) -> Played {
        let (frames, body) = mpsc::channel(1);
        tokio::spawn(async move {
            if self.send(plan, &frames, &open).await.is_some() {
                open.end(&outcome);
            }
        });
        Played(body)
    }

    /// `None` where the client left.
    async fn send(
        &self,
        plan: Plan,
        frames: &mpsc::Sender<Result<Bytes, Cut>>,
        open: &Open,
    ) -> Option<()> {
        // An interval of nothing is refused; what has no pace is not slowed down by the shortest one.
        let paced = !plan.pace.is_zero() && plan.steps.len() > 1;
        let mut pace = interval(plan.pace.max(Duration::from_millis(1)));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for step in plan.steps {
            match step {
                Step::Send(bytes) => {
                    if paced {
                        pace.tick().await;
                    }
                    let ends_event = bytes.ends_with(b"\n\n") || bytes.ends_with(b"\r\n\r\n");
                    let length = bytes.len();
                    frames.send(Ok(bytes)).await.ok()?;
                    open.sent(length, ends_event);
                }
                Step::Wait(gate) => tokio::select! {
                    () = self.wait(gate.as_deref(), open) => {}
                    () = frames.closed() => return None,
                },
            }
        }
        match plan.end {
            End::Clean => Some(()),
            End::Hang => {
                frames.closed().await;
                None
            }
            End::Reset => {
                sleep(BEFORE_RESET).await;
                self.ending.reset();
                frames.send(Err(Cut)).await.ok()
            }
        }
    }

    async fn wait(&self, gate: Option<&str>, open: &Open) {
        let waiting = open.waits(gate);
        self.gates.wait(gate).await;
        drop(waiting);
    }
}

// === impl Played ===

impl Played {
    /// A body that is there at once.
    #[must_use]
    pub(crate) fn of(bytes: Bytes) -> Self {
        let (frames, body) = mpsc::channel(1);
        // The channel is empty and has room for one.
        let _ = frames.try_send(Ok(bytes));
        Self(body)
    }
}

impl http_body::Body for Played {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(|frame| frame.map(Frame::data)))
    }
}

//! Ctrl-\ and Ctrl-Z. By themselves they would leave the terminal with a page of frames and no cursor.

use rustix::process::{Signal as Number, getpid, kill_process};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// Both, as signals.
#[derive(Debug)]
pub(crate) struct Keys {
    quit: Signal,
    pause: Signal,
}

/// What was pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// Ctrl-\: end.
    Quit,
    /// Ctrl-Z: stand still until the shell says to go on.
    Pause,
}

// === impl Keys ===

impl Keys {
    /// Takes the signals over.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let take = |kind| {
            signal(kind).map_err(|error| Failure::new(format!("cannot listen to signals: {error}")))
        };
        Ok(Self {
            quit: take(SignalKind::quit())?,
            pause: take(SignalKind::from_raw(Number::TSTP.as_raw()))?,
        })
    }

    /// Waits for either.
    pub(crate) async fn pressed(&mut self) -> Key {
        tokio::select! {
            _ = self.quit.recv() => Key::Quit,
            _ = self.pause.recv() => Key::Pause,
        }
    }
}

/// Stands still until somebody sends SIGCONT, as a shell does for `fg`.
pub(crate) fn stand_still() {
    // Whoever may not stop itself goes on.
    let _stopped = kill_process(getpid(), Number::STOP);
}

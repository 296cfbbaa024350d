//! The orderly end of connections: each is told to finish what it has, and it is known when the last has.

use tokio::sync::watch;

/// The one who says when.
#[derive(Debug)]
pub struct Closing {
    is_time: watch::Sender<bool>,
}

/// Held by everything that must end first.
#[derive(Clone, Debug)]
pub struct Open {
    is_time: watch::Receiver<bool>,
}

// === impl Closing ===

impl Default for Closing {
    fn default() -> Self {
        Self { is_time: watch::Sender::new(false) }
    }
}

impl Closing {
    /// One more that must end first.
    #[must_use]
    pub fn open(&self) -> Open {
        Open { is_time: self.is_time.subscribe() }
    }

    /// Tells everybody, and waits for the last.
    pub async fn close(self) {
        self.is_time.send_replace(true);
        self.is_time.closed().await;
    }
}

// === impl Open ===

impl Open {
    /// Waits until it is time.
    pub async fn closing(&mut self) {
        // Fails when nobody is there to say when: then it is time.
        let _ = self.is_time.wait_for(|is_time| *is_time).await;
    }
}

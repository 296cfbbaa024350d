//! The end of a sidecar: from a moment on nothing is admitted, and it is known when the last lane has ended.

use tokio::sync::watch;

/// Who is still being served, and whether anybody new may come.
#[derive(Clone, Debug)]
pub struct Drain {
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    is_draining: bool,
    is_over: bool,
    lanes: usize,
}

/// A lane that is being served. Dropped when it ends, however it ends.
#[derive(Debug)]
pub struct Served {
    state: watch::Sender<State>,
}

// === impl Drain ===

impl Default for Drain {
    fn default() -> Self {
        Self { state: watch::Sender::new(State::default()) }
    }
}

impl Drain {
    /// Counts a lane in. A lane whose ticket was given before the drain is still served.
    #[must_use]
    pub fn enter(&self) -> Served {
        self.state.send_modify(|state| state.lanes += 1);
        Served { state: self.state.clone() }
    }

    /// From now on nothing is admitted.
    pub fn begin(&self) {
        self.state.send_modify(|state| state.is_draining = true);
    }

    /// Whether nothing is admitted any more.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.state.borrow().is_draining
    }

    /// The time is over: whoever is still being served is told so, and what was begun is ended.
    pub fn give_up(&self) {
        self.state.send_modify(|state| state.is_over = true);
    }

    /// Waits until the time is over.
    pub async fn given_up(&self) {
        let mut state = self.state.subscribe();
        if state.wait_for(|state| state.is_over).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until no lane is being served.
    pub async fn emptied(&self) {
        // Fails only when the sender is gone, which is ours.
        let _ = self.state.subscribe().wait_for(|state| state.lanes == 0).await;
    }

    /// Waits until a lane begins.
    pub async fn entered(&self) {
        let _ = self.state.subscribe().wait_for(|state| state.lanes > 0).await;
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.state.send_modify(|state| state.lanes = state.lanes.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_drain_ends_with_the_last_lane() {
        let drain = Drain::default();
        let (first, second) = (drain.enter(), drain.enter());
        drain.begin();
        assert!(drain.is_draining());
        let mut emptied = Box::pin(drain.emptied());
        drop(first);
        assert!(futures_poll(&mut emptied).await.is_pending());
        drop(second);
        emptied.await;
    }

    async fn futures_poll<F: Future + Unpin>(future: &mut F) -> std::task::Poll<F::Output> {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context))
        })
        .await
    }
}

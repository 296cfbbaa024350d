//! Where answers wait until a test lets them go on. A gate has a name; opened, it stays open, and a counted
//! release lets as many through as it says. What was released before anybody came is not lost.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// All gates, shared by all connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gates(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    named: HashMap<String, Gate>,
    /// How often all that waited then was let go, whatever its gate.
    flushes: u64,
}

#[derive(Clone, Copy, Debug)]
enum Gate {
    /// Nobody waits here any more.
    Open,
    /// So many more may pass.
    Permits(u64),
}

/// Which gates a release opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Release {
    /// All that wait now, and nobody who comes later.
    Waiting,
    /// One gate, for good.
    Open(String),
    /// One gate, for so many.
    Count(String, u64),
}

// === impl Gates ===

impl Gates {
    /// Waits at the gate `name`, or for the next release of all.
    pub(crate) async fn wait(&self, name: Option<&str>) {
        let since = self.state().flushes;
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            // From here on a release is heard, also one that comes before the wait.
            changed.as_mut().enable();
            if self.state().passes(name, since) {
                return;
            }
            changed.await;
        }
    }

    /// Lets go.
    pub(crate) fn release(&self, release: Release) {
        let mut state = self.state();
        match release {
            Release::Waiting => state.flushes += 1,
            Release::Open(name) => {
                state.named.insert(name, Gate::Open);
            }
            Release::Count(name, more) => match state.named.entry(name).or_insert(Gate::Permits(0))
            {
                Gate::Open => {}
                Gate::Permits(left) => *left = left.saturating_add(more),
            },
        }
        drop(state);
        self.0.changed.notify_waiters();
    }

    /// Closes every gate; who waits goes on waiting.
    pub(crate) fn reset(&self) {
        self.state().named.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every statement leaves it whole, so a poisoned lock guards nothing worse.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    fn passes(&mut self, name: Option<&str>, since: u64) -> bool {
        if self.flushes > since {
            return true;
        }
        match name.and_then(|name| self.named.get_mut(name)) {
            Some(Gate::Open) => true,
            Some(Gate::Permits(left)) if *left > 0 => {
                *left -= 1;
                true
            }
            Some(Gate::Permits(_)) | None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn passes(gates: &Gates, name: Option<&str>) -> bool {
        let waiting = pin!(gates.wait(name));
        waiting.poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
    }

    #[test]
    fn an_opened_gate_stays_open_and_others_stay_closed() {
        let gates = Gates::default();
        assert!(!passes(&gates, Some("a")));
        gates.release(Release::Open("a".to_owned()));
        assert!(passes(&gates, Some("a")) && passes(&gates, Some("a")));
        assert!(!passes(&gates, Some("b")));
        gates.reset();
        assert!(!passes(&gates, Some("a")));
    }

    #[test]
    fn a_counted_release_is_used_up() {
        let gates = Gates::default();
        gates.release(Release::Count("a".to_owned(), 2));
        let passed: Vec<bool> = (0..3).map(|_| passes(&gates, Some("a"))).collect();
        assert_eq!(passed, [true, true, false]);
    }

    #[test]
    fn a_release_of_all_is_for_those_who_wait() {
        let gates = Gates::default();
        let mut context = Context::from_waker(Waker::noop());
        let mut named = pin!(gates.wait(Some("a")));
        let mut unnamed = pin!(gates.wait(None));
        assert!(named.as_mut().poll(&mut context).is_pending());
        assert!(unnamed.as_mut().poll(&mut context).is_pending());
        gates.release(Release::Waiting);
        assert!(named.as_mut().poll(&mut context).is_ready());
        assert!(unnamed.as_mut().poll(&mut context).is_ready());
        assert!(!passes(&gates, Some("a")) && !passes(&gates, None));
    }
}

//! Places that organizations take in turns: who wants many of them waits behind itself, not in front of others.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use super::lock;

/// So many places.
#[derive(Debug)]
pub(super) struct Turns {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Places that nobody has; none while somebody waits.
    free: usize,
    /// Who waits, by organization: the first one's turn is next.
    waiting: VecDeque<Queue>,
}

#[derive(Debug)]
struct Queue {
    org: String,
    waiting: VecDeque<oneshot::Sender<Place>>,
}

/// One of the places, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    /// `None` where it is not this one's to give back any more.
    turns: Option<Arc<Turns>>,
}

// === impl Turns ===

impl Turns {
    pub(super) fn new(places: usize) -> Self {
        Self { state: Mutex::new(State { free: places, waiting: VecDeque::new() }) }
    }

    /// Waits for a place. `None` only where there is none to wait for any more.
    pub(super) async fn take(self: &Arc<Self>, org: &str) -> Option<Place> {
        let turn = {
            let mut state = lock(&self.state);
            match state.free.checked_sub(1) {
                Some(free) => {
                    state.free = free;
                    return Some(self.place());
                }
                None => state.wait(org),
            }
        };
        turn.await.ok()
    }

    fn place(self: &Arc<Self>) -> Place {
        Place { turns: Some(Arc::clone(self)) }
    }

    /// A place is there again: for the one whose turn it is and who still waits.
    fn pass_on(self: &Arc<Self>) {
        loop {
            let next = lock(&self.state).next();
            let Some(next) = next else { return };
            match next.send(self.place()) {
                Ok(()) => return,
                // It has gone. The place is here, and not on its way back.
                Err(mut place) => drop(place.turns.take()),
            }
        }
    }
}

// === impl State ===

impl State {
    fn wait(&mut self, org: &str) -> oneshot::Receiver<Place> {
        let (turn, comes) = oneshot::channel();
        match self.waiting.iter_mut().find(|queue| queue.org == org) {
            Some(queue) => queue.waiting.push_back(turn),
            None => {
                let waiting = VecDeque::from([turn]);
                self.waiting.push_back(Queue { org: org.to_owned(), waiting });
            }
        }
        comes
    }

    /// Whose turn it is. Where nobody waits, a place is free.
    fn next(&mut self) -> Option<oneshot::Sender<Place>> {
        while let Some(mut queue) = self.waiting.pop_front() {
            let next = queue.waiting.pop_front();
            if !queue.waiting.is_empty() {
                self.waiting.push_back(queue);
            }
            if next.is_some() {
                return next;
            }
        }
        self.free += 1;
        None
    }
}

// === impl Place ===

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(turns) = self.turns.take() {
            turns.pass_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;

    use futures_util::FutureExt;

    use super::*;

    type Waiting = Pin<Box<dyn Future<Output = Option<Place>>>>;

    fn wait(turns: &Arc<Turns>, org: &'static str) -> Waiting {
        let turns = Arc::clone(turns);
        let mut waits: Waiting = Box::pin(async move { turns.take(org).await });
        assert!(waits.as_mut().now_or_never().is_none(), "there is no place");
        waits
    }

    /// Who of those that wait has a place by now.
    fn served(waiting: &mut Vec<(usize, Waiting)>) -> Option<(usize, Place)> {
        let at = waiting.iter_mut().enumerate().find_map(|(at, (nth, waits))| {
            let place = waits.as_mut().now_or_never()?;
            Some((at, *nth, place.unwrap()))
        });
        let (at, nth, place) = at?;
        drop(waiting.remove(at));
        Some((nth, place))
    }

    #[test]
    fn who_asks_for_much_waits_behind_itself() {
        let turns = Arc::new(Turns::new(2));
        let take = |org| turns.take(org).now_or_never().flatten().unwrap();
        let (first, second) = (take("acme"), take("acme"));
        let mut waiting = vec![];
        for (nth, org) in
            ["acme", "acme", "acme", "globex", "globex", "initech"].into_iter().enumerate()
        {
            waiting.push((nth, wait(&turns, org)));
        }
        drop(first);
        let mut order = vec![];
        while let Some((nth, place)) = served(&mut waiting) {
            order.push(nth);
            drop(place);
        }
        assert_eq!(order, [0, 3, 5, 1, 4, 2]);
        drop(second);
        let _both = (take("acme"), take("acme"));
        assert!(turns.take("acme").now_or_never().is_none());
    }

    #[test]
    fn who_has_gone_takes_no_place_with_it() {
        let turns = Arc::new(Turns::new(1));
        let only = turns.take("acme").now_or_never().flatten().unwrap();
        let gone: Vec<_> = (0..3).map(|_| wait(&turns, "acme")).collect();
        let told = wait(&turns, "globex");
        let mut stays = wait(&turns, "initech");
        drop(gone);
        drop(only);
        // It has its place by now, and goes without having looked.
        drop(told);
        let place = stays.as_mut().now_or_never().flatten();
        assert!(place.is_some());
        drop(place);
        assert!(turns.take("acme").now_or_never().is_some(), "none is lost");
        assert_eq!(lock(&turns.state).free, 1);
    }
}

//! Who waits to be woken by a message. There is one channel for each place that keys are spread over, never one
//! for each flight: what was subscribed to once is subscribed to for good, and that is bounded. A message that
//! is lost costs half a second: who waits also looks by itself.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redis::{PushInfo, PushKind, Value};
use tokio::sync::watch;

/// What is waited for, by the words of the message that tells of it.
#[derive(Debug, Default)]
pub(super) struct Wakes {
    waiting: Mutex<Waiting>,
    /// The channels that are subscribed to.
    channels: Mutex<Channels>,
}

#[derive(Debug, Default)]
struct Channels {
    by_name: HashMap<String, Subscription>,
    last: u64,
}

/// How a channel is subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subscription {
    /// The number of the connection on which it is.
    pub(super) line: u64,
    /// Another one has another, on whichever connection.
    pub(super) number: u64,
}

#[derive(Debug, Default)]
struct Waiting {
    by_words: HashMap<Vec<u8>, watch::Sender<()>>,
    /// When so many are known, those are forgotten who have left: half of them or more, or twice as many may be.
    forget_at: usize,
}

const FORGET_AT_MIN: usize = 64;

// === impl Wakes ===

impl Wakes {
    /// Waits for messages of these words.
    pub(super) fn wait_for(&self, words: &str) -> watch::Receiver<()> {
        let mut waiting = self.waiting();
        if waiting.by_words.len() >= waiting.forget_at {
            waiting.by_words.retain(|_, sender| sender.receiver_count() > 0);
            waiting.forget_at = FORGET_AT_MIN.max(2 * waiting.by_words.len());
        }
        waiting.by_words.entry(words.as_bytes().to_vec()).or_default().subscribe()
    }

    /// What a server sends unasked. A message means something where somebody waits for it.
    pub(super) fn heard(&self, push: &PushInfo) {
        // A slot of a cluster has moved. Whoever listens next subscribes where it is now.
        if push.kind == PushKind::SUnsubscribe
            && let Some(Value::BulkString(channel)) = push.data.first()
            && let Ok(channel) = str::from_utf8(channel)
        {
            self.channels().by_name.remove(channel);
        }
        // Of a cluster's connections, nobody says which.
        if push.kind == PushKind::Disconnection {
            self.channels().by_name.clear();
        }
        if push.kind == PushKind::SMessage
            && let Some(Value::BulkString(words)) = push.data.get(1)
            && let Some(sender) = self.waiting().by_words.get(words)
        {
            sender.send_replace(());
        }
    }

    /// How messages on a channel come, if they do on that connection.
    pub(super) fn subscription(&self, channel: &str) -> Option<Subscription> {
        self.channels().by_name.get(channel).copied()
    }

    /// They do, from now on. Returns the number of this subscription.
    pub(super) fn subscribed(&self, channel: &str, line: u64) -> u64 {
        let mut channels = self.channels();
        channels.last += 1;
        let number = channels.last;
        channels.by_name.insert(channel.to_owned(), Subscription { line, number });
        number
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn channels(&self) -> MutexGuard<'_, Channels> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: PushKind, words: &str) -> PushInfo {
        let bulk = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        PushInfo { kind, data: vec![bulk("channel"), bulk(words)] }
    }

    #[test]
    fn only_a_message_that_somebody_waits_for_wakes() {
        let wakes = Wakes::default();
        let mut waits = wakes.wait_for("a");
        wakes.heard(&message(PushKind::SMessage, "b"));
        wakes.heard(&message(PushKind::Message, "a"));
        wakes.heard(&message(PushKind::Other("surprise".to_owned()), "a"));
        wakes.heard(&PushInfo { kind: PushKind::SMessage, data: vec![Value::Nil, Value::Nil] });
        wakes.heard(&PushInfo { kind: PushKind::SMessage, data: Vec::new() });
        assert!(!waits.has_changed().unwrap());
        wakes.heard(&message(PushKind::SMessage, "a"));
        assert!(waits.has_changed().unwrap());
        waits.mark_unchanged();
        assert!(!waits.has_changed().unwrap());
    }

    #[test]
    fn who_has_left_is_forgotten() {
        let wakes = Wakes::default();
        let stay: Vec<_> = (0..10).map(|flight| wakes.wait_for(&flight.to_string())).collect();
        for flight in 10..1_000 {
            drop(wakes.wait_for(&flight.to_string()));
            assert!(wakes.waiting().by_words.len() <= FORGET_AT_MIN);
        }
        wakes.heard(&message(PushKind::SMessage, "7"));
        assert!(stay[7].has_changed().unwrap());
    }

    #[test]
    fn a_subscription_is_of_one_connection_and_ends_with_its_slot_or_with_that() {
        let wakes = Wakes::default();
        let first = wakes.subscribed("channel", 1);
        let is = |line, number| Some(Subscription { line, number });
        assert_eq!(wakes.subscription("channel"), is(1, first));
        assert_eq!(wakes.subscription("another"), None);
        let second = wakes.subscribed("channel", 2);
        assert_ne!(second, first);
        assert_eq!(wakes.subscription("channel"), is(2, second));
        wakes.heard(&message(PushKind::SUnsubscribe, "any"));
        assert_eq!(wakes.subscription("channel"), None, "its slot has moved");
        assert_ne!(wakes.subscribed("channel", 2), second);
        wakes.heard(&PushInfo { kind: PushKind::Disconnection, data: Vec::new() });
        assert_eq!(wakes.subscription("channel"), None);
    }
}

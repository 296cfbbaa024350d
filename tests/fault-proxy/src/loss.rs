//! A narrow line that loses packets, as those see it who talk over it with TCP.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Mutex;
use tokio::time::sleep;

use crate::{Loss, Way};

/// What a packet carries at most, on an Ethernet.
const PACKET_BYTES: usize = 1_460;

/// The line: one packet at a time in each direction, whosever it is.
#[derive(Debug, Default)]
pub(crate) struct Narrow {
    packets: AtomicU64,
    requests: Mutex<()>,
    answers: Mutex<()>,
}

// === impl Narrow ===

impl Narrow {
    /// Passes on a piece, packet by packet.
    pub(crate) async fn pass(
        &self,
        to: &mut (impl AsyncWrite + Unpin),
        piece: &[u8],
        loss: Loss,
        way: Way,
    ) -> io::Result<()> {
        let line = match way {
            Way::Requests => &self.requests,
            Way::Answers => &self.answers,
        };
        for packet in piece.chunks(PACKET_BYTES) {
            let number = self.packets.fetch_add(1, Ordering::Relaxed) + 1;
            let is_lost = number.is_multiple_of(loss.every);
            // Lost or not, it is on the line first. What comes behind it is kept by the receiver until it is there.
            self.on(line, packet.len(), loss).await;
            if is_lost {
                sleep(loss.again_after).await;
                self.on(line, packet.len(), loss).await;
            }
            to.write_all(packet).await?;
        }
        Ok(())
    }

    /// For as long as a packet is on the line, no other one is.
    async fn on(&self, line: &Mutex<()>, bytes: usize, loss: Loss) {
        let nanos = (bytes as u64).saturating_mul(1_000_000_000) / loss.bytes_per_second.max(1);
        let _alone = line.lock().await;
        sleep(Duration::from_nanos(nanos)).await;
    }
}

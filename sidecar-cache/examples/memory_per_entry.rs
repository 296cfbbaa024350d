//! What an entry costs beside its own bytes: a million of them in the memory store, by what the operating system
//! gave this process. Prints one line; `cargo run --release -p sidecar-cache --example memory_per_entry`.

use kt_contract::hex::Digest;
use kt_contract::key::CacheKey;
use kt_contract::time::Millis;
use sidecar_cache::clock::Clock;
use sidecar_cache::store::memory::MemoryEntries;
use sidecar_cache::store::{Address, Bounds, EntryStore, Lifetime, NewEntry, StoreError};

const ENTRIES: u64 = 1_000_000;
const BYTES_EACH: usize = 1_024;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StoreError> {
    let bounds = Bounds { entries_max: u64::MAX, bytes_max: u64::MAX, org_bytes_max: u64::MAX };
    let store = MemoryEntries::new(Clock::start(), bounds);
    let before = resident_bytes();
    for number in 0..ENTRIES {
        let digest = Digest(*blake3::hash(&number.to_be_bytes()).as_bytes());
        let at = Address { key: CacheKey(digest), request: digest };
        let lifetime = Lifetime { fresh: Millis(86_400_000), stale: Millis(0) };
        let (org, bytes) = (format!("org-{}", number % 100), vec![7; BYTES_EACH]);
        store.fill(NewEntry { at, org, bytes, lifetime }).await?;
    }
    let held = store.held();
    let each = resident_bytes().saturating_sub(before).saturating_sub(held.bytes) / held.entries;
    #[expect(clippy::print_stdout, reason = "its answer")]
    {
        println!(
            "{} entries of {BYTES_EACH} bytes: {each} bytes each beside their own",
            held.entries
        );
    }
    Ok(())
}

/// The memory of this process that is in use, as Linux counts it.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = kilobytes.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or(0) * 1_024
}

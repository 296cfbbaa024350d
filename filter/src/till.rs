//! What this gateway lets pass without its sidecar, where all VMs of the process count it: in the host's shared data.

use kt_filter_core::till::{Broken, Replaced, SharedData};

use crate::host;

/// The name of the value; another form of it gets another name.
const NAME: &str = "kt.open_calls.1.";

/// The shared data of one gateway.
pub(crate) struct Till {
    key: String,
}

// === impl Till ===

impl Till {
    /// That of a gateway: an Envoy may have several, and each has a cap of its own.
    pub(crate) fn of(gateway: &str) -> Self {
        Self { key: format!("{NAME}{gateway}") }
    }
}

impl SharedData for Till {
    fn read(&self) -> Result<Option<(Vec<u8>, u32)>, Broken> {
        host::shared_data(&self.key).map_err(|_| Broken)
    }

    fn replace(&self, value: &[u8], seen: Option<u32>) -> Result<Replaced, Broken> {
        match host::replace_shared_data(&self.key, value, seen) {
            Ok(true) => Ok(Replaced::Done),
            Ok(false) => Ok(Replaced::Conflict),
            Err(_) => Err(Broken),
        }
    }
}

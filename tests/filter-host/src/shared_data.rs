//! Shared data: one map per process and `vm_id`, seen by every VM, compare-and-swap, no eviction.

use std::collections::BTreeMap;

use crate::abi::Status;

/// The map of one `vm_id`.
#[derive(Debug, Default)]
pub(crate) struct SharedData {
    values: BTreeMap<Vec<u8>, (Vec<u8>, u32)>,
    last_cas: u32,
}

// === impl SharedData ===

impl SharedData {
    pub(crate) fn get(&self, key: &[u8]) -> Result<(Vec<u8>, u32), Status> {
        self.values.get(key).cloned().ok_or(Status::NotFound)
    }

    /// `cas` 0 is unconditional, and so is any on a key that is not there.
    pub(crate) fn set(&mut self, key: &[u8], value: &[u8], cas: u32) -> Result<(), Status> {
        if let Some((_, have)) = self.values.get(key)
            && cas != 0
            && *have != cas
        {
            return Err(Status::CasMismatch);
        }
        self.last_cas = self.last_cas.wrapping_add(1).max(1);
        self.values.insert(key.to_vec(), (value.to_vec(), self.last_cas));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_of_two_writers_is_told() {
        let mut data = SharedData::default();
        data.set(b"k", b"0", 7).unwrap();
        let (_, cas) = data.get(b"k").unwrap();
        assert_eq!(data.set(b"k", b"1", cas), Ok(()));
        assert_eq!(data.set(b"k", b"2", cas), Err(Status::CasMismatch));
        assert_eq!(data.set(b"k", b"3", 0), Ok(()));
        assert_eq!(data.get(b"k").unwrap().0, b"3");
        assert_eq!(data.get(b"absent"), Err(Status::NotFound));
    }
}

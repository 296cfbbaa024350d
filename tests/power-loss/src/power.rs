//! When the power goes: before a certain change or sync, counted from the start, so that the same seed cuts the
//! same work at the same place. From then on the disk answers nothing, and stays as it was.

use crate::disk::{Disk, Refusal};

/// A disk and the power it runs on.
#[derive(Clone, Debug)]
pub struct Powered {
    disk: Disk,
    supply: Supply,
}

/// For how long there is power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Supply {
    /// For good.
    Lasting,
    /// For so many changes and syncs.
    Steps(u64),
    /// It is gone.
    Off,
}

// === impl Powered ===

impl Powered {
    /// A disk with its power on.
    #[must_use]
    pub const fn new(disk: Disk, supply: Supply) -> Self {
        Self { disk, supply }
    }

    /// The disk, for a look that changes nothing.
    ///
    /// # Errors
    /// Where the power is off.
    pub fn look(&self) -> Result<&Disk, Refusal> {
        match self.supply {
            Supply::Lasting | Supply::Steps(_) => Ok(&self.disk),
            Supply::Off => Err(Refusal::Off),
        }
    }

    /// The disk, for one change or sync.
    ///
    /// # Errors
    /// Where the power is off, or goes now.
    pub fn step(&mut self) -> Result<&mut Disk, Refusal> {
        self.supply = match self.supply {
            Supply::Lasting => Supply::Lasting,
            Supply::Steps(left) => left.checked_sub(1).map_or(Supply::Off, Supply::Steps),
            Supply::Off => Supply::Off,
        };
        self.unasked()
    }

    /// The disk, for a change that the kernel makes when it likes, and that no count may depend on.
    ///
    /// # Errors
    /// Where the power is off.
    pub fn unasked(&mut self) -> Result<&mut Disk, Refusal> {
        match self.supply {
            Supply::Lasting | Supply::Steps(_) => Ok(&mut self.disk),
            Supply::Off => Err(Refusal::Off),
        }
    }

    /// Whether the power has gone.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.supply == Supply::Off
    }

    /// The disk as it is, with the power on or off.
    #[must_use]
    pub const fn disk(&self) -> &Disk {
        &self.disk
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Honesty;

    fn on(supply: Supply) -> Powered {
        Powered::new(Disk::empty(Honesty::Syncs), supply)
    }

    #[test]
    fn the_power_goes_before_the_step_after_the_last_and_stays_off() {
        let mut powered = on(Supply::Steps(2));
        assert!(powered.step().is_ok());
        assert!(powered.step().is_ok());
        assert!(powered.look().is_ok() && !powered.is_off());
        assert_eq!(powered.step().unwrap_err(), Refusal::Off);
        assert_eq!(powered.step().unwrap_err(), Refusal::Off);
        assert_eq!(powered.unasked().unwrap_err(), Refusal::Off);
        assert_eq!(powered.look().unwrap_err(), Refusal::Off);
        assert!(powered.is_off());
    }

    #[test]
    fn what_nobody_asked_for_takes_no_step() {
        let mut powered = on(Supply::Steps(1));
        assert!(powered.unasked().is_ok());
        assert!(powered.step().is_ok());
    }

    #[test]
    fn lasting_power_lasts() {
        let mut powered = on(Supply::Lasting);
        assert!((0..1_000).all(|_| powered.step().is_ok()));
    }
}

//! What a machine's storage owes: it serves the newest epoch it was shown, and no older one.
//!
//! Leases keep two hosts from running one machine while clocks keep what they state. Storage is the layer below, which needs no
//! clock: a host that shows an epoch ([`Storage::admit`]) shuts out every lower one *before* it is answered, and every
//! write carries its epoch. So a host that was paused, cut off or lied to by its clock may still run, but harms nothing.
//!
//! **What a driver owes** (the Ceph or SAN driver of another issue): (1) an admitted epoch is durable before it is
//! answered; (2) a write of a lower epoch is refused at the latest when it reaches the medium, whenever it was
//! sent; (3) equal epochs are one host's.

use crate::name::VmId;
use crate::planted::{self, Bug};
use alloc::collections::BTreeMap;
use core::fmt;

/// Refused: a newer epoch was shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fenced {
    /// The newest.
    pub newest: u64,
}

impl fmt::Display for Fenced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "storage was shown epoch {}: another host has the machine", self.newest)
    }
}
impl core::error::Error for Fenced {}

/// Storage that fences.
pub trait Storage {
    /// Shows an epoch; from now on lower ones are shut out.
    ///
    /// # Errors
    /// A higher one was shown.
    fn admit(&mut self, vm: VmId, epoch: u64) -> Result<(), Fenced>;
    /// Whether a write under an epoch is to be done now.
    ///
    /// # Errors
    /// A higher one was shown.
    fn write(&mut self, vm: VmId, epoch: u64) -> Result<(), Fenced>;
}

/// The rule itself, for drivers to embed beside the medium.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Gate {
    newest: BTreeMap<VmId, u64>,
}

impl Storage for Gate {
    fn admit(&mut self, vm: VmId, epoch: u64) -> Result<(), Fenced> {
        let newest = self.newest.entry(vm).or_insert(epoch);
        if epoch < *newest && !planted::is(Bug::StorageUnfenced) {
            return Err(Fenced { newest: *newest });
        }
        *newest = epoch.max(*newest);
        Ok(())
    }
    fn write(&mut self, vm: VmId, epoch: u64) -> Result<(), Fenced> {
        match self.newest.get(&vm) {
            Some(newest) if *newest != epoch && !planted::is(Bug::StorageUnfenced) => {
                Err(Fenced { newest: *newest })
            }
            Some(_) => Ok(()),
            // An epoch nobody has shown.
            None => Err(Fenced { newest: 0 }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lower_epoch_is_shut_out_for_good() {
        let (vm, mut gate) = (VmId(1), Gate::default());
        assert!(gate.write(vm, 1).is_err(), "nobody has shown it");
        assert_eq!(gate.admit(vm, 1), Ok(()));
        assert_eq!(gate.write(vm, 1), Ok(()));
        assert_eq!(gate.admit(vm, 3), Ok(()));
        assert_eq!(gate.write(vm, 1), Err(Fenced { newest: 3 }));
        assert_eq!(gate.admit(vm, 2), Err(Fenced { newest: 3 }));
        assert_eq!(gate.admit(vm, 3), Ok(()));
        assert!(gate.write(vm, 4).is_err(), "nobody has shown it");
    }
}

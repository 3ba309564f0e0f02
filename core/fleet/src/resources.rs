//! Amounts of what machines use, as one vector: quotas, a host's capacity and what is booked of either are the same sums.
//!
//! Sums saturate nowhere: an overflow is `None`, and who adds decides what that means.

use serde::{Deserialize, Serialize};

/// The most of anything that may be given in a request. Sums of sums stay far below 2^64.
pub const AMOUNT_MAX: u64 = 1 << 40;

/// An amount of everything that is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Resources {
    /// Machines.
    pub vms: u64,
    /// Virtual processors.
    pub vcpus: u64,
    /// Memory, in MiB.
    pub memory_mib: u64,
    /// Disks, in GiB.
    pub disk_gib: u64,
    /// Addresses.
    pub addresses: u64,
}

impl Resources {
    /// None of anything.
    pub const NONE: Self = Self { vms: 0, vcpus: 0, memory_mib: 0, disk_gib: 0, addresses: 0 };

    /// The amounts by name.
    #[must_use]
    pub const fn parts(&self) -> [(&'static str, u64); 5] {
        [
            ("vms", self.vms),
            ("vcpus", self.vcpus),
            ("memory_mib", self.memory_mib),
            ("disk_gib", self.disk_gib),
            ("addresses", self.addresses),
        ]
    }
    fn zip(&self, other: &Self, f: impl Fn(u64, u64) -> Option<u64>) -> Option<Self> {
        Some(Self {
            vms: f(self.vms, other.vms)?,
            vcpus: f(self.vcpus, other.vcpus)?,
            memory_mib: f(self.memory_mib, other.memory_mib)?,
            disk_gib: f(self.disk_gib, other.disk_gib)?,
            addresses: f(self.addresses, other.addresses)?,
        })
    }
    /// The sum, unless a part overflows.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Option<Self> {
        self.zip(other, u64::checked_add)
    }
    /// The difference, unless a part is negative.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Option<Self> {
        self.zip(other, u64::checked_sub)
    }
    /// The difference, parts below zero as zero.
    #[must_use]
    pub fn beyond(&self, other: &Self) -> Self {
        self.zip(other, |a, b| Some(a.saturating_sub(b))).unwrap_or_default()
    }
    /// The larger of each part.
    #[must_use]
    pub fn max(&self, other: &Self) -> Self {
        self.zip(other, |a, b| Some(a.max(b))).unwrap_or_default()
    }
    /// Whether each part is at most the other's.
    #[must_use]
    pub fn within(&self, other: &Self) -> bool {
        self.lacking(other).is_none()
    }
    /// The first part that the other has too little of: its name, what is asked, what there is.
    #[must_use]
    pub fn lacking(&self, other: &Self) -> Option<(&'static str, u64, u64)> {
        let mut pairs = self.parts().into_iter().zip(other.parts());
        pairs
            .find(|((_, asked), (_, there))| asked > there)
            .map(|((name, asked), (_, there))| (name, asked, there))
    }
    /// A part that is larger than a request may hold.
    #[must_use]
    pub fn absurd(&self) -> Option<(&'static str, u64)> {
        self.parts().into_iter().find(|(_, n)| *n > AMOUNT_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_counts() {
        let one = Resources { vms: 1, vcpus: 2, memory_mib: 3, disk_gib: 4, addresses: 5 };
        assert_eq!(one.plus(&one).unwrap().minus(&one), Some(one));
        assert_eq!(Resources::NONE.minus(&one), None);
        assert_eq!(one.plus(&Resources { addresses: u64::MAX, ..one }), None);
        assert_eq!(Resources::NONE.beyond(&one), Resources::NONE);
        for i in 0..5 {
            let mut less = one;
            *[
                &mut less.vms,
                &mut less.vcpus,
                &mut less.memory_mib,
                &mut less.disk_gib,
                &mut less.addresses,
            ][i] -= 1;
            assert!(less.within(&one) && !one.within(&less));
            assert_eq!(one.lacking(&less).unwrap().0, one.parts()[i].0);
        }
    }
}

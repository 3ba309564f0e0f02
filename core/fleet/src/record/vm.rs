//! A machine: what it is to be ([`Spec`] in [`Vm`]), who may run it ([`Placement`]), what it is ([`Status`]).

use super::done::Done;
use crate::cidr::{Cidr, Family};
use crate::name::{Group, HostName, Image, Part, Region, VmId, VmName};
use crate::resources::Resources;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;
use dwcp_env::{Duration, WallTime};
use serde::{Deserialize, Serialize};

/// On or off, as managers want it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Power {
    /// It is not to run.
    #[default]
    Off,
    /// It is to run somewhere.
    On,
}

/// A disk.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Unique in the machine.
    pub name: Part,
    /// Its size.
    pub gib: u64,
}

/// An interface; it gets one address.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nic {
    /// Unique in the machine.
    pub name: Part,
    /// Which kind of address.
    #[serde(default)]
    pub family: Family,
}

/// What a machine is to be; managers write it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Unique in the fleet.
    pub name: VmName,
    /// What it starts from.
    pub image: Image,
    /// Virtual processors.
    pub vcpus: u64,
    /// Memory.
    pub memory_mib: u64,
    /// Its disks.
    #[serde(default)]
    pub disks: Vec<Disk>,
    /// Its interfaces.
    #[serde(default)]
    pub nics: Vec<Nic>,
    /// Whether it is to run.
    #[serde(default)]
    pub power: Power,
    /// Who pays.
    pub group: Group,
    /// Anything people want to find it by.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

impl Spec {
    /// What it counts against its group's quota.
    #[must_use]
    pub fn charge(&self) -> Resources {
        let disk_gib = self.disks.iter().map(|d| d.gib).fold(0, u64::saturating_add);
        Resources { vms: 1, disk_gib, addresses: self.nics.len() as u64, ..self.booking() }
    }
    /// What it takes of a host while it has a place there: disks are elsewhere, addresses are the region's.
    #[must_use]
    pub const fn booking(&self) -> Resources {
        Resources { vms: 1, vcpus: self.vcpus, memory_mib: self.memory_mib, disk_gib: 0, addresses: 0 }
    }
}

/// Where a machine's record stands in its life; the table of steps is in [`crate::life`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Life {
    /// At home here.
    Active,
    /// To be deleted as soon as it has stopped.
    Deleting,
    /// Handed over to another region; it can't start here any more, and not there yet.
    Leaving {
        /// Where to.
        to: Region,
    },
    /// Taken over from another region, which may still call it back.
    Arriving {
        /// Where from.
        from: Region,
    },
    /// Deleted; the record stays until the fleet's owner record says so too.
    Gone,
}

/// An address that a machine has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assigned {
    /// The address.
    pub ip: IpAddr,
    /// The block it is from.
    pub block: Cidr,
    /// The epoch under which the region holds the block.
    pub epoch: u64,
}

/// A machine as its managers see it, in the store of the region where it is at home.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vm {
    /// Its number.
    pub id: VmId,
    /// Where it was created.
    pub birth: Region,
    /// The epoch of ownership under which this region has it; 1 where it was created.
    pub epoch: u64,
    /// Where the record stands in its life.
    pub life: Life,
    /// Counts changes of `spec`.
    pub generation: u64,
    /// What it is to be.
    pub spec: Spec,
    /// One address for each interface.
    pub addresses: Vec<Assigned>,
    /// What its group's rights here are charged for it.
    pub charged: Resources,
    /// The latest requests about it.
    pub done: Done,
    /// When it was created, by the clock of who asked.
    pub created: WallTime,
}

/// A machine that was created here and is no more, or no more here: a request that created it is not to create it again,
/// however late it comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Past {
    /// Since when, by the clock of who wrote it. Kept for [`PAST_KEPT`].
    pub since: WallTime,
}

/// How long a machine's number is remembered: far longer than any request lives.
pub const PAST_KEPT: Duration = Duration::secs(86_400);

/// Who may run a machine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// Nobody.
    Vacant,
    /// A host, until a time.
    Held {
        /// Which.
        host: HostName,
        /// Which life of its agent has taken it up; 0: none yet, and nothing runs.
        life: u64,
        /// Until when, on the calendar: it has stopped the machine before its own clock can say so.
        until: WallTime,
        /// What is booked on it.
        booked: Resources,
    },
    /// A host that is to stop it and yield it to another.
    Handing {
        /// Which has it.
        host: HostName,
        /// Which life of its agent has taken it up.
        life: u64,
        /// Until when.
        until: WallTime,
        /// What is booked, on either host.
        booked: Resources,
        /// Which gets it.
        to: HostName,
    },
}

/// A machine's place: the lease, and the fencing epoch of whoever held it last.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placement {
    /// Grows with every change of hands; storage refuses lower ones. It goes with the machine into another region.
    pub epoch: u64,
    /// Who has it.
    pub hold: Hold,
}

impl Placement {
    /// Who may run it, if anybody.
    #[must_use]
    pub const fn holder(&self) -> Option<(&HostName, WallTime)> {
        match &self.hold {
            Hold::Vacant => None,
            Hold::Held { host, until, .. } | Hold::Handing { host, until, .. } => Some((host, *until)),
        }
    }
    /// Which life of the holder's agent has taken it up, if any has.
    #[must_use]
    pub const fn life(&self) -> u64 {
        match &self.hold {
            Hold::Vacant => 0,
            Hold::Held { life, .. } | Hold::Handing { life, .. } => *life,
        }
    }
    /// Whether nobody has it.
    #[must_use]
    pub const fn is_vacant(&self) -> bool {
        matches!(self.hold, Hold::Vacant)
    }
}

/// What a machine does, as its host sees it; the table of steps is in [`crate::life`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It does not run.
    #[default]
    Stopped,
    /// Its disks are attached, it is being started.
    Starting,
    /// It runs.
    Running,
    /// It was told to stop.
    Stopping,
    /// It did not start, or ended by itself.
    Failed,
}

/// A machine as its host sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// Whose view.
    pub host: HostName,
    /// The fencing epoch under which it was seen.
    pub epoch: u64,
    /// Counts reports of that epoch.
    pub index: u64,
    /// What it does.
    pub phase: Phase,
    /// Since when, by the host's clock.
    pub since: WallTime,
    /// Why, where that is worth telling.
    pub message: String,
}

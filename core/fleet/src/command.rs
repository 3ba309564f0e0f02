//! What may be asked, and what is answered.
//!
//! Every command says what is to be, not what is to change, or carries the number of its request: asked twice it is done
//! once. Who may ask what is the door's to check; whether it may be done is the plan's.

use crate::cidr::Cidr;
use crate::name::{Group, HostName, Image, Prefix, Region, RequestKey, VmId, VmName};
use crate::record::{HostState, Phase, Power, RegionState, Spec, Thing};
use crate::resources::Resources;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use dwcp_env::{Duration, WallTime};
use serde::{Deserialize, Serialize};

/// A command under its number.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Drawn by who asks first; the same when it is asked again.
    pub key: RequestKey,
    /// What is asked.
    pub command: Command,
}

/// Which machine.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct At {
    /// In which region it is at home.
    pub region: Region,
    /// Its number.
    pub vm: VmId,
}

/// What is asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// A region is to exist in this state.
    Region {
        /// Which.
        region: Region,
        /// What it may be given.
        state: RegionState,
    },
    /// A block of addresses is the fleet's to lend.
    BlockAdd {
        /// Which; it may be larger than can be lent, and be split.
        block: Cidr,
    },
    /// A block that nobody has becomes several.
    BlockSplit {
        /// Which.
        block: Cidr,
        /// The length of the parts' prefixes.
        length: u8,
    },
    /// A name prefix is the fleet's to lend.
    PrefixAdd {
        /// Which; none may begin with another.
        prefix: Prefix,
    },
    /// A block or prefix goes to a region.
    Lend {
        /// Which.
        thing: Thing,
        /// To whom.
        region: Region,
    },
    /// A block or prefix comes back from a region: nothing more is given of it; it is back when nothing of it is in use.
    Return {
        /// Which.
        thing: Thing,
        /// From whom.
        region: Region,
    },
    /// A group's quota is this.
    QuotaTotal {
        /// Whose.
        group: Group,
        /// How much.
        total: Resources,
    },
    /// A region's share of a group's quota is this; as much as is not in use can be taken away.
    QuotaShare {
        /// Whose.
        group: Group,
        /// Where.
        region: Region,
        /// How much.
        right: Resources,
    },
    /// Both sides of a region's account learn of each other.
    QuotaSync {
        /// Whose.
        group: Group,
        /// Where.
        region: Region,
    },
    /// A region has an image, or has it no more.
    ImageSet {
        /// Where.
        region: Region,
        /// Which.
        image: Image,
        /// Where its hosts find it; `None`: not any more.
        source: Option<String>,
    },
    /// A host offers itself.
    HostJoin {
        /// Where.
        region: Region,
        /// Which.
        host: HostName,
        /// What it has.
        capacity: Resources,
        /// Anything people want to find it by.
        labels: BTreeMap<String, String>,
    },
    /// A host is to be used so.
    HostState {
        /// Where.
        region: Region,
        /// Which.
        host: HostName,
        /// How.
        state: HostState,
    },
    /// A new life of a host's agent begins: it gets the next number, and whatever earlier ones have asked is refused from now on.
    HostAttach {
        /// Where.
        region: Region,
        /// Which.
        host: HostName,
    },
    /// A region's store was restored: it gives again, nothing twice, after what was given before has surely ended.
    Reopen {
        /// Which.
        region: Region,
    },
    /// The next steps of a region's opening, whoever began it.
    Open {
        /// Which.
        region: Region,
    },
    /// A machine is to exist; its number is made of the region's name and the request's number.
    Create {
        /// Where.
        region: Region,
        /// What.
        spec: Spec,
    },
    /// A machine is to run, or not.
    SetPower {
        /// Which.
        at: At,
        /// Whether.
        power: Power,
    },
    /// A machine that does not run gets another size.
    Resize {
        /// Which.
        at: At,
        /// Virtual processors.
        vcpus: u64,
        /// Memory.
        memory_mib: u64,
    },
    /// Labels are set and removed.
    Label {
        /// Which machine.
        at: At,
        /// What they are to be.
        set: BTreeMap<String, String>,
        /// Which go.
        remove: BTreeSet<String>,
    },
    /// A machine is to stop and to be no more.
    Delete {
        /// Which.
        at: At,
    },
    /// A machine that does not run is to be at home in another region.
    Move {
        /// Which, and where it is.
        at: At,
        /// Where to.
        to: Region,
    },
    /// A move that was not committed is called back: the machine stays where it is.
    CallBack {
        /// Which, and where it is.
        at: At,
    },
    /// A machine moves to another host of its region.
    Migrate {
        /// Which.
        at: At,
        /// Where to; `None`: wherever there is most room.
        to: Option<HostName>,
    },
    /// A migration that has not come to its second step is called back.
    StayPut {
        /// Which machine.
        at: At,
    },
    /// A machine that is to run and has no place gets one.
    Place {
        /// Which.
        at: At,
        /// How long without a renewal.
        lease: Duration,
    },
    /// A lease that has surely ended is taken away, so that the machine may be placed anew.
    Recover {
        /// Which machine's.
        at: At,
    },
    /// A deleted machine that has stopped gives back all it has.
    Purge {
        /// Which.
        at: At,
    },
    /// The next steps of whatever handover a machine is in, whoever began it.
    Settle {
        /// Which.
        at: At,
    },
    /// A name whose machine is gone from another region is free.
    ReleaseName {
        /// Where it was given.
        region: Region,
        /// Which.
        name: VmName,
    },
    /// A number that was used long ago may be forgotten.
    Forget {
        /// Whose.
        at: At,
    },
    /// A host keeps a machine.
    Renew {
        /// Which.
        seat: Seat,
        /// For how long.
        lease: Duration,
    },
    /// A host has stopped a machine and gives its place up.
    Release {
        /// Which.
        seat: Seat,
    },
    /// A host has stopped a machine that migrates: the other may start it.
    Yield {
        /// Which.
        seat: Seat,
        /// For how long the other has it without a renewal.
        lease: Duration,
    },
    /// A host tells what a machine does.
    Report {
        /// Which.
        seat: Seat,
        /// Counts the reports of this epoch.
        index: u64,
        /// What it does.
        phase: Phase,
        /// Since when.
        since: WallTime,
        /// Why.
        message: String,
    },
}

/// A machine on a host: under the fencing epoch by which the host has it, as this life of the host's agent says.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seat {
    /// Which machine, and where.
    pub at: At,
    /// Which host.
    pub host: HostName,
    /// The fencing epoch.
    pub epoch: u64,
    /// Which life of the host's agent says so.
    pub life: u64,
    /// Whether it found the machine running on its own hypervisor, started by an earlier life.
    #[serde(default)]
    pub found: bool,
}

/// What is answered to what was done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is so.
    Done,
    /// A machine is so, from this generation on.
    Vm {
        /// Which.
        at: At,
        /// Which generation of its specification says so.
        generation: u64,
    },
    /// A host's agent has begun a life.
    Life {
        /// Which.
        life: u64,
    },
    /// A machine has a place.
    Place {
        /// Where.
        host: HostName,
        /// Under which fencing epoch.
        epoch: u64,
        /// Until when.
        until: WallTime,
    },
}

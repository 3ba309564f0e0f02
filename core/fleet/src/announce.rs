//! Announcements: what regions and hosts believe, said in an eventual keyspace, heard by every node, judged by [`crate::finding`].
//!
//! **Promise.** What is heard of an announcer is what it believed at one moment, whole, however its writes were torn, delayed
//! or cut off on the way; what nobody says any more ends; a fleet at rest costs a beat a minute for each announcer and
//! nothing for its machines.
//!
//! **Model.** An announcer is a region, through whoever leads its keyspace, or a host, through its agent. It has one key, a
//! hash:
//!
//! ```text
//!   dwcp/fleet/said/r/<region>              dwcp/fleet/said/h/<region>/<host>
//!     beat ─► Beat { said, until, count, digest }          once a minute, and with every change
//!     v<16 bytes: a machine> ─► Said { What, since }       only when it changes
//!     h<host>                ─► Said { What::Over, since }
//! ```
//!
//! [`Voice`] goes on from the fields that are there, whoever wrote them, compares them with what is believed, and says the
//! difference; [`Ear`] takes a key's fields for heard only if their digest is the beat's, and keeps what it heard whole before
//! until then. [`belief`] reads off a region's records what the region believes; an agent knows what it runs.
//!
//! **Times.** The beat's `said` is the moment *before* the belief was read (behind a barrier), less what the clock may be off by;
//! a field's `since` the moment *after* it was first read, plus that. So the belief was true from one to the other, by anybody's
//! clock. That is what makes old news harmless ([`crate::finding`]).
//!
//! **Invariants.**
//! 1. *A beat speaks for its fields alone.* A field that came without its beat, or whose removal has not come, is not heard.
//! 2. *Nothing is said of a store that has no charter*: one that was restored and not opened.
//! 3. *What can't be read changes nothing*: an announcer of which one field is malformed, too large or one too many is heard
//!    as before, and counted.
//!
//! **Limits.** [`ANNOUNCERS_MAX`], [`FIELDS_MAX`] a key, [`FIELD_MAX`] bytes each.
//!
//! **Rejected.** *An end for each machine*: ten thousand machines would say a megabyte a minute to say nothing. *The time to
//! live of the keyspace*: it ends a key by the clock of who reads, and what is left of a key half arrived can't be told from
//! the whole.

use crate::finding::{ANNOUNCED_MAX, Announcement, Finding, judge, over_committed};
use crate::key::{Key, Scope};
use crate::name::{HostName, Region, RequestKey, VmId};
use crate::plan::Stop;
use crate::plan::desk::Desk;
use crate::record::{Beat, Charter, Hold, Host, Life, Phase, Placement, Record, Said, Vm, What};
use crate::time::{lease_end, surely_past};
use crate::view::{Fetch, View};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use dwcp_env::{Duration, Now, WallTime};

/// What all announcers' keys begin with.
pub const ROOT: &str = "dwcp/fleet/said/";
/// The field of the beat.
pub const BEAT: &[u8] = b"beat";
/// Between two beats of an announcer that has nothing new to say; five fit into [`ANNOUNCED_MAX`].
pub const BEAT_EVERY: Duration = Duration::secs(60);
/// How many announcers are heard: regions, and hosts.
pub const ANNOUNCERS_MAX: usize = 16_384;
/// How many fields one may have.
pub const FIELDS_MAX: usize = 65_536;
/// The largest field, in bytes: a name, and eight addresses of the longer kind with their blocks.
pub const FIELD_MAX: usize = 1_024;

/// Who announces.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Announcer {
    /// A region.
    Region(Region),
    /// A host of a region.
    Host(Region, HostName),
}

impl Announcer {
    /// Its key.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Region(region) => format!("{ROOT}r/{region}"),
            Self::Host(region, host) => format!("{ROOT}h/{region}/{host}"),
        }
    }
    /// Whose key it is; `None`: nobody's.
    #[must_use]
    pub fn of(key: &[u8]) -> Option<Self> {
        let rest = core::str::from_utf8(key).ok()?.strip_prefix(ROOT)?;
        if let Some(region) = rest.strip_prefix("r/") {
            return Some(Self::Region(region.parse().ok()?));
        }
        let (region, host) = rest.strip_prefix("h/")?.split_once('/')?;
        Some(Self::Host(region.parse().ok()?, host.parse().ok()?))
    }
}

/// Of what something is believed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Topic {
    /// A machine.
    Vm(VmId),
    /// A host.
    Host(HostName),
}

impl Topic {
    fn field(&self) -> Bytes {
        let mut field = Vec::with_capacity(17);
        match self {
            Self::Vm(vm) => {
                field.push(b'v');
                field.extend_from_slice(&vm.0.to_be_bytes());
            }
            Self::Host(host) => {
                field.push(b'h');
                field.extend_from_slice(host.as_str().as_bytes());
            }
        }
        field.into()
    }
    fn of(field: &[u8]) -> Option<Self> {
        match field.split_first()? {
            (b'v', number) => Some(Self::Vm(VmId(u128::from_be_bytes(number.try_into().ok()?)))),
            (b'h', name) => Some(Self::Host(core::str::from_utf8(name).ok()?.parse().ok()?)),
            _ => None,
        }
    }
}

/// What an announcer believes.
pub type Belief = BTreeMap<Topic, What>;

/// What a region believes, by its records. The view may be one that was read for something else.
///
/// # Errors
/// [`Stop`]: what is to be read first.
pub fn belief(view: &View, region: &Region, now: Now) -> Result<Belief, Stop> {
    let desk = &mut Desk::new(view, now, RequestKey(0));
    let scope = Scope::Region(region.clone());
    let charter = Key::charter(region);
    let lists = ["vm", "place", "host"].map(|kind| Fetch::beginning(&Key::all(&scope, kind)));
    desk.want(lists.into_iter().chain([Fetch::One(charter.clone())]))?;
    if desk.get::<Charter>(&charter)?.is_none() {
        return Ok(Belief::new());
    }
    let home = |vm: &Vm| matches!(vm.life, Life::Active | Life::Deleting);
    let vms = desk.list::<Vm>(&scope, "vm")?.into_iter().map(|(_, vm)| vm).filter(home);
    let has = |vm: Vm| {
        (Topic::Vm(vm.id), What::Has { name: vm.spec.name, epoch: vm.epoch, addresses: vm.addresses })
    };
    let mut believed: Belief = vms.map(has).collect();
    let mut booked = Vec::new();
    for (_, place) in desk.list::<Placement>(&scope, "place")? {
        match place.hold {
            Hold::Vacant => {}
            Hold::Held { host, booked: claim, .. } => booked.push((host, claim)),
            Hold::Handing { host, to, booked: claim, .. } => {
                booked.extend([(host, claim), (to, claim)]);
            }
        }
    }
    let hosts = desk.list::<Host>(&scope, "host")?;
    let there = hosts.iter().filter_map(|(key, host)| Some((key.last().parse().ok()?, host.capacity)));
    for finding in over_committed(&there.collect(), booked) {
        if let Finding::OverCommitted { host, part, claimed, there } = finding {
            believed.insert(Topic::Host(host), What::Over { part, claimed, there });
        }
    }
    Ok(believed)
}

/// The moments between which something was read that is believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Read {
    /// Before: no clock is later.
    from: WallTime,
    /// After: no clock is earlier.
    to: WallTime,
}

impl Read {
    /// From one moment to another, by the reader's clock.
    #[must_use]
    pub fn between(begun: Now, done: Now) -> Self {
        let from = begun.wall.as_nanos().saturating_sub(begun.uncertainty.as_nanos());
        Self { from: WallTime::from_nanos(from), to: lease_end(done, done.uncertainty) }
    }
}

/// A field's part of the digest: a hash that nobody finds two of, since what is not heard is no defence against who aims.
fn digest(field: &[u8], value: &[u8]) -> u128 {
    let mut hash = blake3::Hasher::new();
    hash.update(&(field.len() as u64).to_le_bytes()).update(field).update(value);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize().as_bytes()[..16]);
    u128::from_le_bytes(bytes)
}

/// What an announcer says in a field.
fn read(announcer: &Announcer, field: &[u8], value: &[u8]) -> Result<(Topic, Said), &'static str> {
    if value.len() > FIELD_MAX {
        return Err("is larger than 1 KiB");
    }
    let topic = Topic::of(field).ok_or("has a field that names nothing")?;
    let said = Said::decode(value)?;
    match (announcer, &topic, &said.what) {
        (Announcer::Region(_), Topic::Vm(_), What::Has { .. })
        | (Announcer::Region(_), Topic::Host(_), What::Over { .. })
        | (Announcer::Host(..), Topic::Vm(_), What::Runs { .. }) => Ok((topic, said)),
        _ => Err("says what is not its to say"),
    }
}

/// What is to be written under the announcer's key: all of it, the beat last.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Saying {
    /// Fields that are to hold this.
    pub put: Vec<(Bytes, Bytes)>,
    /// Fields that are to go.
    pub gone: Vec<Bytes>,
    /// What [`BEAT`] is to hold.
    pub beat: Bytes,
}

/// What an announcer has said last.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Voice {
    said: BTreeMap<Topic, (Said, u128)>,
    digest: u128,
    /// When all of it was said last; none if what stands there is not whole.
    last: Option<WallTime>,
    /// Fields that say nothing.
    strange: Vec<Bytes>,
}

impl Voice {
    /// Goes on from what stands in the announcer's key, whole or not. What can't be read of it goes.
    #[must_use]
    pub fn following(announcer: &Announcer, fields: &[(Bytes, Bytes)]) -> Self {
        let mut voice = Self::default();
        for (field, value) in fields.iter().filter(|(field, _)| &field[..] != BEAT) {
            match read(announcer, field, value) {
                Ok((topic, said)) => {
                    let part = digest(field, value);
                    voice.digest = voice.digest.wrapping_add(part);
                    voice.said.insert(topic, (said, part));
                }
                Err(_) => voice.strange.push(field.clone()),
            }
        }
        let beat = fields.iter().find(|(field, _)| &field[..] == BEAT);
        let beat = beat.and_then(|(_, value)| Beat::decode(value).ok());
        let whole = |beat: &Beat| (beat.count as usize, beat.digest) == (voice.said.len(), voice.digest);
        voice.last = beat.filter(whole).map(|beat| beat.said);
        voice
    }

    /// Says what is believed and was not said; `None`: there is nothing to say yet. If what is to be written may not have been,
    /// another voice must go on.
    pub fn say(&mut self, believed: &Belief, read: Read) -> Option<Saying> {
        let mut saying = Saying { gone: core::mem::take(&mut self.strange), ..Saying::default() };
        let gone: Vec<Topic> =
            self.said.keys().filter(|topic| !believed.contains_key(topic)).cloned().collect();
        for topic in gone {
            saying.gone.push(topic.field());
            if let Some((_, part)) = self.said.remove(&topic) {
                self.digest = self.digest.wrapping_sub(part);
            }
        }
        for (topic, what) in believed.iter().take(FIELDS_MAX) {
            let before = self.said.get(topic);
            if before.is_some_and(|(said, _)| said.what == *what) {
                continue;
            }
            let since =
                before.filter(|(said, _)| said.what.claims_as(what)).map_or(read.to, |(said, _)| said.since);
            let said = Said { what: what.clone(), since };
            let (field, value) = (topic.field(), said.encode());
            if value.len() > FIELD_MAX {
                continue;
            }
            let part = digest(&field, &value);
            let old = self.said.insert(topic.clone(), (said, part)).map_or(0, |(_, old)| old);
            self.digest = self.digest.wrapping_sub(old).wrapping_add(part);
            saying.put.push((field, value));
        }
        let due = |last: WallTime| read.from.as_nanos().abs_diff(last.as_nanos()) >= BEAT_EVERY.as_nanos();
        if saying.put.is_empty() && saying.gone.is_empty() && !self.last.is_none_or(due) {
            return None;
        }
        self.last = Some(read.from);
        let until = WallTime::from_nanos(read.from.as_nanos().saturating_add(ANNOUNCED_MAX.as_nanos()));
        let count = self.said.len() as u32;
        saying.beat = Beat { said: read.from, until, count, digest: self.digest }.encode();
        Some(saying)
    }
}

#[derive(Clone, Debug)]
struct Heard {
    beat: Beat,
    said: BTreeMap<Topic, Said>,
}

/// What has been heard, of whom.
#[derive(Clone, Debug, Default)]
pub struct Ear {
    heard: BTreeMap<Announcer, Heard>,
}

impl Ear {
    /// Hears a beat. Whether the announcer's fields are to be read ([`Ear::take`]): others are meant than those heard last.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn beat(&mut self, announcer: &Announcer, beat: &[u8]) -> Result<bool, &'static str> {
        let beat = Beat::decode(beat)?;
        match self.heard.get_mut(announcer) {
            Some(heard) if (heard.beat.count, heard.beat.digest) == (beat.count, beat.digest) => {
                heard.beat = beat;
                Ok(false)
            }
            _ => Ok(true),
        }
    }

    /// Takes all fields of an announcer's key. Whether they are whole: if not, something is still on its way.
    ///
    /// # Errors
    /// What is wrong with one of them; then it is as if nothing had been read.
    pub fn take(&mut self, announcer: &Announcer, fields: &[(Bytes, Bytes)]) -> Result<bool, &'static str> {
        let known = self.heard.contains_key(announcer);
        if fields.len() > FIELDS_MAX + 1 || !known && self.heard.len() >= ANNOUNCERS_MAX {
            return Err("is more than is heard");
        }
        let (mut beat, mut said, mut sum) = (None, BTreeMap::new(), 0_u128);
        for (field, value) in fields {
            if &field[..] == BEAT {
                beat = Some(Beat::decode(value)?);
                continue;
            }
            let (topic, one) = read(announcer, field, value)?;
            sum = sum.wrapping_add(digest(field, value));
            said.insert(topic, one);
        }
        let Some(beat) = beat.filter(|beat| beat.digest == sum && beat.count as usize == said.len()) else {
            return Ok(false);
        };
        self.heard.insert(announcer.clone(), Heard { beat, said });
        Ok(true)
    }

    /// Forgets those that speak no more: their keys are gone, or what they said has surely ended.
    pub fn keep(&mut self, there: &BTreeSet<Announcer>, now: Now) {
        self.heard
            .retain(|announcer, heard| there.contains(announcer) && !surely_past(heard.beat.until, now));
    }

    /// How many announcers are heard, and of how many things.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.heard.len(), self.heard.values().map(|heard| heard.said.len()).sum())
    }

    /// What was announced of machines.
    #[must_use]
    pub fn announcements(&self) -> Vec<Announcement> {
        let each = self.heard.iter().flat_map(|(announcer, heard)| {
            heard
                .said
                .iter()
                .filter_map(move |(topic, said)| announcement(announcer, heard.beat, topic, said))
        });
        each.collect()
    }

    /// What is wrong, by all that was heard and stands.
    #[must_use]
    pub fn findings(&self, now: Now) -> Vec<Finding> {
        let mut found = judge(&self.announcements(), now);
        for heard in self.heard.values().filter(|heard| !surely_past(heard.beat.until, now)) {
            found.extend(heard.said.iter().filter_map(|(topic, said)| match (topic, &said.what) {
                (Topic::Host(host), What::Over { part, claimed, there }) => Some(Finding::OverCommitted {
                    host: host.clone(),
                    part: part.clone(),
                    claimed: *claimed,
                    there: *there,
                }),
                _ => None,
            }));
        }
        found.sort();
        found.dedup();
        found
    }
}

fn announcement(announcer: &Announcer, beat: Beat, topic: &Topic, said: &Said) -> Option<Announcement> {
    let Topic::Vm(vm) = topic else { return None };
    let mut one = Announcement {
        vm: *vm,
        name: None,
        home: None,
        runs: None,
        addresses: Vec::new(),
        seen: Vec::new(),
        since: said.since,
        said: beat.said,
        until: beat.until,
    };
    match (announcer, &said.what) {
        (Announcer::Region(region), What::Has { name, epoch, addresses }) => {
            one.name = Some(name.clone());
            one.home = Some((region.clone(), *epoch));
            one.addresses = addresses.iter().map(|a| (a.ip, a.block, a.epoch)).collect();
        }
        (Announcer::Host(_, host), What::Runs { epoch, seen }) => {
            one.runs = Some((host.clone(), *epoch));
            one.seen = seen.iter().map(|(index, phase): &(u64, Phase)| ((*epoch, *index), *phase)).collect();
        }
        _ => return None,
    }
    Some(one)
}

#[cfg(test)]
mod tests;

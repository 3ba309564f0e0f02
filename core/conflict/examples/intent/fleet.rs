//! Five regions with a space each, their links and clocks, and what everyone truly wrote.

use dwcp_conflict::detect::{Arrival, Incoming, Live, arrival};
use dwcp_conflict::lineage::{Envelope, Line, Written, meet};
use dwcp_conflict::{Place, Pointer, Schema, Sibling, Value, Writer};
use dwcp_crdt::address::{Address, Kind};
use dwcp_crdt::code::Reader;
use dwcp_crdt::edit::{Change, Edit};
use dwcp_crdt::space::Config;
use dwcp_crdt::{Batch, Dot, ReplicaIndex, Roster, Space, VersionVector};
use dwcp_env::NodeId;
use std::collections::BTreeMap;

/// Regions.
pub(crate) const REGIONS: usize = 5;
const NAMES: [&str; REGIONS] = ["eu-west", "eu-north", "us-east", "us-west", "ap-south"];
/// When the run begins, in milliseconds since 1970.
const BEGIN: u64 = 1_790_000_000_000;

/// SplitMix64: the same on every machine.
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
    pub(crate) fn pick<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize].clone()
    }
}

/// What a writer meant, in words the oracle understands.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Meant {
    /// This value; the higher its rank the more it matters, whenever it was written.
    Set { rank: u8 },
    /// This element in.
    In(Value),
    /// This element out.
    Out(Value),
    /// So much more.
    More(i64),
    /// This word in the text.
    Word(String),
    /// Held under this epoch.
    Epoch(i64),
    /// The machine is to go.
    Gone { rank: u8 },
    /// The machine is there, says who works on it; what an act means for a machine's life is in [`Act`].
    Stays,
}

/// Somebody's work on a machine, as far as it says something of the machine's life.
#[derive(Clone, Debug)]
pub(crate) struct Act {
    /// What was done.
    pub(crate) what: &'static str,
    /// One of its writes.
    pub(crate) dot: Dot,
    pub(crate) rank: u8,
    /// Whether it makes sense only if the machine lives on.
    pub(crate) wants: bool,
    /// What its maker's region had.
    pub(crate) saw: VersionVector,
}

/// A write, as it truly was.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) place: Place,
    pub(crate) value: Value,
    pub(crate) meant: Meant,
    /// By the true clock, in milliseconds.
    pub(crate) at: u64,
    /// What its maker saw there.
    pub(crate) seen: Vec<Dot>,
    /// Whether it settled a conflict, and whose decision that was.
    pub(crate) settles: Option<Decided>,
}

/// Who settled a conflict.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Decided {
    /// The policy: the write means what those meant that it settled, and nothing of its own.
    Policy,
    /// A person: it is theirs.
    Person,
}

/// A write that is to be made.
pub(crate) struct Doing {
    pub(crate) place: Place,
    pub(crate) value: Value,
    pub(crate) meant: Meant,
    pub(crate) line: Line,
    /// Of a resolution: its name, and when it was meant.
    pub(crate) resolves: Option<([u8; 16], dwcp_crdt::Hlc)>,
}

struct Region {
    space: Space,
    /// How far its clock is off, in milliseconds.
    off: i64,
    /// How many of each maker's batches have come.
    have: [usize; REGIONS],
}

/// The fleet.
pub(crate) struct Fleet {
    regions: Vec<Region>,
    batches: [Vec<Batch>; REGIONS],
    /// The true clock, in milliseconds from the beginning.
    pub(crate) now: u64,
    /// A bit for each region; regions with equal bits hear each other.
    pub(crate) sides: u32,
    pub(crate) truth: BTreeMap<Dot, Told>,
    /// Writes since all last heard all, by place.
    pub(crate) recent: BTreeMap<Place, Vec<Dot>>,
    /// By machine.
    pub(crate) acts: BTreeMap<String, Vec<Act>>,
    /// What the region of a deletion's maker had.
    pub(crate) saw: BTreeMap<Dot, VersionVector>,
    pub(crate) schema: Schema,
    /// Arrivals that were looked at, and those that stood beside something.
    pub(crate) checked: (u64, u64),
}

/// A region's name.
pub(crate) const fn region(r: usize) -> &'static str {
    NAMES[r]
}

pub(crate) fn vm(key: &str, at: &str) -> Place {
    Place::new("vm", key, Pointer::parse(at).expect("a pointer"))
}

impl Fleet {
    pub(crate) fn new(schema: Schema, draw: &mut Draw) -> Self {
        let roster = Roster::founding((0..REGIONS as u64).map(NodeId));
        let region = |r: usize| {
            let mut space = Space::new(Config::new([7; 32]), roster.clone(), ReplicaIndex(r as u16));
            space.open();
            Region { space, off: draw.below(801) as i64 - 400, have: [0; REGIONS] }
        };
        Self {
            regions: (0..REGIONS).map(region).collect(),
            batches: [const { Vec::new() }; REGIONS],
            now: 0,
            sides: 0,
            truth: BTreeMap::new(),
            recent: BTreeMap::new(),
            acts: BTreeMap::new(),
            saw: BTreeMap::new(),
            schema,
            checked: (0, 0),
        }
    }
    pub(crate) fn is_cut(&self) -> bool {
        self.sides != 0
    }
    pub(crate) const fn hear(&self, a: usize, b: usize) -> bool {
        (self.sides >> a & 1) == (self.sides >> b & 1)
    }
    /// On which side of a cut a region is.
    pub(crate) const fn side(&self, r: usize) -> usize {
        (self.sides >> r & 1) as usize
    }
    /// What a region has at a place.
    pub(crate) fn written(&self, r: usize, place: &Place) -> Vec<Written> {
        let all = self.regions[r].space.siblings(&place.address()).into_iter();
        all.map(|s| Written {
            dot: s.dot,
            at: s.hlc,
            envelope: Envelope::from_bytes(&s.value).expect("an envelope"),
        })
        .collect()
    }
    /// What a region sees there.
    pub(crate) fn siblings(&self, r: usize, place: &Place) -> Vec<Sibling> {
        meet(&self.written(r, place)).siblings
    }
    /// What a region's clock shows, in milliseconds since 1970.
    pub(crate) fn clock(&self, r: usize) -> u64 {
        (BEGIN + self.now).saturating_add_signed(self.regions[r].off)
    }
    /// Whether all regions have a write.
    pub(crate) fn everyone_has(&self, dot: Dot) -> bool {
        self.regions.iter().all(|r| r.space.version().contains(dot))
    }
    /// Whether a region has a write.
    pub(crate) fn has(&self, r: usize, dot: Dot) -> bool {
        self.regions[r].space.version().contains(dot)
    }
    /// Someone has worked on a machine.
    pub(crate) fn acted(&mut self, r: usize, key: &str, what: &'static str, dot: Dot, word: (u8, bool)) {
        let saw = self.regions[r].space.version().clone();
        let act = Act { what, dot, rank: word.0, wants: word.1, saw };
        self.acts.entry(key.into()).or_default().push(act);
    }
    /// Someone writes, several places at once.
    pub(crate) fn write(
        &mut self,
        r: usize,
        by: &Writer,
        writes: Vec<Doing>,
        settles: Option<Decided>,
    ) -> Vec<Dot> {
        let seen: Vec<Vec<Dot>> =
            writes.iter().map(|w| self.written(r, &w.place).iter().map(|s| s.dot).collect()).collect();
        let envelope = |w: &Doing| Envelope {
            writer: by.clone(),
            value: Some(w.value.clone()),
            resolves: w.resolves,
            line: w.line.clone(),
        };
        let edits: Vec<Edit> = writes
            .iter()
            .map(|w| Edit::new(w.place.address(), Change::Write(envelope(w).to_bytes())))
            .collect();
        let clock = self.clock(r);
        let saw = self.regions[r].space.version().clone();
        let batch = self.regions[r].space.transact(clock, &edits).expect("allowed").expect("a change");
        let mut dots = Vec::new();
        for ((op, w), seen) in batch.ops().zip(writes).zip(seen) {
            let Doing { place, value, meant, .. } = w;
            let dot = op.expect("own bytes").dot;
            self.recent.entry(place.clone()).or_default().push(dot);
            if matches!(meant, Meant::Gone { .. }) && settles != Some(Decided::Policy) {
                self.saw.insert(dot, saw.clone());
            }
            self.truth.insert(dot, Told { place, value, meant, at: self.now, seen, settles });
            dots.push(dot);
        }
        self.batches[r].push(batch);
        self.regions[r].have[r] = self.batches[r].len();
        dots
    }
    /// Everyone who hears someone with more gets it.
    pub(crate) fn exchange(&mut self) {
        for r in 0..REGIONS {
            for maker in 0..REGIONS {
                let most =
                    (0..REGIONS).filter(|s| self.hear(r, *s)).map(|s| self.regions[s].have[maker]).max();
                while self.regions[r].have[maker] < most.unwrap_or(0) {
                    let batch = self.batches[maker][self.regions[r].have[maker]].clone();
                    self.receive(r, &batch);
                    self.regions[r].have[maker] += 1;
                }
            }
        }
    }
    /// A batch arrives: what detection says of each write must be what the space then shows.
    fn receive(&mut self, r: usize, batch: &Batch) {
        let space = &mut self.regions[r].space;
        let mut seen = space.version().clone();
        let mut said: Vec<(Address, Arrival)> = Vec::new();
        for op in batch.ops() {
            let op = op.expect("own bytes");
            let container = Address::decode(&mut Reader::new(op.container)).expect("an address");
            let at = container.field(Kind::Mv, op.name);
            let live: Vec<Live> =
                space.siblings(&at).into_iter().map(|s| Live { dot: s.dot, hlc: s.hlc }).collect();
            let new = Incoming { dot: op.dot, hlc: op.hlc, supersedes: op.supersedes.as_slice() };
            said.push((at, arrival(&seen, &live, &new)));
            seen.raise(op.dot.replica(), op.dot.sequence());
        }
        let clock = self.clock(r);
        let space = &mut self.regions[r].space;
        space.receive(batch, clock).expect("sound");
        for (at, said) in said {
            self.checked.0 += 1;
            let several = space.siblings(&at).len() > 1;
            match said {
                Arrival::Beside { .. } => {
                    self.checked.1 += 1;
                    // What it stands beside may have superseded it before it came.
                    assert!(!space.siblings(&at).is_empty());
                }
                Arrival::Follows { .. } => assert!(!several, "{at}: said to follow, and stands beside"),
                other => panic!("{at}: {other:?} of a batch in order"),
            }
        }
    }
    /// Whether all regions hold one state.
    pub(crate) fn agree(&self) -> bool {
        let first = self.regions[0].space.version();
        self.regions.iter().all(|r| r.space.version() == first)
    }
}

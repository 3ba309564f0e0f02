//! Twelve hours of a fleet: what people and programs do, links that fail, and what is settled when they are back.

use crate::fleet::{Decided, Doing, Draw, Fleet, Meant, REGIONS, region, vm};
use crate::oracle::{Tally, Verdict, Want, alone, between, deletions, judge};
use dwcp_conflict::audit::{Audit, Retention, Settlement};
use dwcp_conflict::checkpoint::Tree;
use dwcp_conflict::lineage::{Line, Meeting, Name, meet};
use dwcp_conflict::policy::class_of;
use dwcp_conflict::queue::{Choice, Put, Queue};
use dwcp_conflict::schema::Field;
use dwcp_conflict::{
    Answer, Base, Class, Outcome, Place, Pointer, Policy, Question, Schema, Sibling, Value, Writer,
};
use dwcp_crdt::{Dot, Hlc, ReplicaIndex};
use std::collections::{BTreeMap, BTreeSet};

const TICK: u64 = 10_000;
const MINUTE: u64 = 60_000;
const HOURS: u64 = 12;
const MACHINES: usize = 40;

const VM: &str = r#"{"schema":"vm","version":1,"fields":{
    "name":"atomic","lifecycle":"atomic",
    "cpu":{"kind":"atomic","owner":"operator"},"memory":{"kind":"atomic","owner":"operator"},"power":{"kind":"atomic","owner":"operator"},
    "team":"atomic","title":"atomic",
    "labels":{"kind":"map","of":"atomic"},"addresses":"set","notes":"text","restarts":"counter",
    "placement":{"kind":"max","type":"any"},"state":{"kind":"max","type":"any"}}}"#;
const ADDRESS: &str = r#"{"schema":"address","version":1,"fields":{"holder":{"kind":"max","type":"any"}}}"#;
const NAME: &str = r#"{"schema":"name","version":1,"fields":{"holder":{"kind":"min","type":"text"}}}"#;

fn schema(text: &str) -> Schema {
    Schema::read(&serde_json::from_str(text).expect("JSON")).expect("a schema")
}

struct Run {
    mutant: Mutant,
    fleet: Fleet,
    draw: Draw,
    policy: Policy,
    schemas: [Schema; 2],
    audits: Vec<Audit>,
    queue: Queue,
    /// When a person will have answered.
    people: BTreeMap<Place, u64>,
    /// What everyone had when all last had heard all.
    base: Tree<Place, Value>,
    /// What a side of a cut had when all on it last had heard each other, and when that was.
    side_base: [(Tree<Place, Value>, u64); 2],
    keys: Vec<String>,
    /// The lease service: the next epoch.
    epoch: i64,
    count: u64,
    /// Deletions that met a word, and were judged with it.
    judged: BTreeSet<Dot>,
    tally: Tally,
}

/// What makes sense only if a machine lives on.
const STARTED: &str = "started";
const HANDED: &str = "handed to another team";

const fn rank_of(role: &str) -> u8 {
    match role.as_bytes() {
        b"oncall" => 3,
        b"operator" => 2,
        b"autoscaler" | b"inventory" => 1,
        _ => 0,
    }
}

/// The policy of the run.
pub(crate) const POLICY: &str = include_str!("policy.toml");

/// What is done wrong on purpose, for the oracle to see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(dead_code, reason = "the tests do it")]
pub(crate) enum Mutant {
    /// Nothing.
    None,
    /// What is not remembered counts as nothing.
    Forgetful,
}

/// One seed, under a policy.
pub(crate) fn run(seed: u64, policy: &str) -> Tally {
    run_with(seed, policy, Mutant::None)
}

/// The same, with something done wrong.
pub(crate) fn run_with(seed: u64, policy: &str, mutant: Mutant) -> Tally {
    let mut draw = Draw(seed);
    let policy: Value = toml::from_str(policy).expect("TOML");
    let audit = |r| Audit::new(ReplicaIndex(r), Retention::default(), 1 << 26);
    let mut run = Run {
        mutant,
        fleet: Fleet::new(schema(VM), &mut draw),
        policy: Policy::read(&policy).expect("a policy"),
        schemas: [schema(ADDRESS), schema(NAME)],
        audits: (0..REGIONS as u16).map(audit).collect(),
        queue: Queue::new(1_000),
        people: BTreeMap::new(),
        base: Tree::new(),
        side_base: [(Tree::new(), 0), (Tree::new(), 0)],
        keys: Vec::new(),
        epoch: 0,
        count: 0,
        judged: BTreeSet::new(),
        tally: Tally { fleets: 1, ..Tally::default() },
        draw,
    };
    for _ in 0..MACHINES {
        run.create(0);
    }
    let mut turn = 5 * MINUTE;
    for tick in 1..=HOURS * 60 * MINUTE / TICK {
        if tick * TICK >= turn {
            run.cut_or_mend();
            let least = if run.fleet.is_cut() { 1 } else { 5 };
            turn = tick * TICK + (least + run.draw.below(30)) * MINUTE;
        }
        let mut moments: Vec<u64> = (0..run.draw.below(6)).map(|_| run.draw.below(TICK)).collect();
        moments.sort_unstable();
        for moment in moments {
            run.fleet.now = tick * TICK + moment;
            let r = run.draw.below(REGIONS as u64) as usize;
            run.someone_acts(r);
        }
        run.fleet.now = (tick + 1) * TICK - 1;
        run.fleet.exchange();
        if run.fleet.is_cut() {
            run.settle_sides();
        } else {
            run.settle_all();
        }
    }
    run.fleet.sides = 0;
    run.fleet.exchange();
    run.settle_all();
    run.examine()
}

impl Run {
    fn cut_or_mend(&mut self) {
        self.fleet.sides = if self.fleet.is_cut() {
            0
        } else {
            self.tally.cuts += 1;
            // A checkpoint each.
            self.side_base = [(self.base.clone(), self.fleet.now), (self.base.clone(), self.fleet.now)];
            1 + self.draw.below((1 << REGIONS) - 2) as u32
        };
    }
    fn who(&mut self, role: &str, r: usize) -> Writer {
        let name = format!("{role} {}", self.draw.below(3));
        Writer::new(&name, role, region(r))
    }
    /// What a region shows at a place: what stands, or what the policy makes of siblings.
    fn view(&self, r: usize, place: &Place) -> Option<Value> {
        let meeting = meet(&self.fleet.written(r, place));
        match &meeting.siblings[..] {
            [] => None,
            [one] => one.value.clone(),
            _ => self.answer(place, &meeting).settled.outcome.shown().cloned(),
        }
    }
    fn field(&self, place: &Place) -> Option<&Field> {
        let schema = match &*place.kind {
            "vm" => &self.fleet.schema,
            "address" => &self.schemas[0],
            _ => &self.schemas[1],
        };
        schema.field(&place.pointer)
    }
    fn class(&self, place: &Place, siblings: &[Sibling]) -> Class {
        match (&*place.kind, place.pointer.as_str()) {
            ("address", _) => Class::Invariant,
            ("name", _) | (_, "/lifecycle") => Class::Structure,
            _ => class_of(self.field(place), siblings),
        }
    }
    /// Someone writes what they mean, over what their region shows them.
    fn write(&mut self, r: usize, by: &Writer, writes: Vec<(Place, Value, Meant)>) -> Vec<Dot> {
        let doing = writes.into_iter().map(|(place, value, meant)| {
            let written = self.fleet.written(r, &place);
            let meeting = meet(&written);
            let shown = match meeting.siblings.len() {
                0 | 1 => None,
                _ => self.answer(&place, &meeting).settled.outcome.shown().cloned(),
            };
            let name = self.name(&meeting);
            let line = Line::over(&written, (name, shown.as_ref()), &|dot| self.fleet.everyone_has(dot));
            Doing { place, value, meant, line, resolves: None }
        });
        let doing = doing.collect();
        self.fleet.write(r, by, doing, None)
    }
    fn name(&self, meeting: &Meeting) -> Name {
        Name::resolution(meeting.names.iter().copied(), &[self.policy.digest()])
    }
    /// The last value of a place that all had whom a region hears: for the oracle.
    fn base(&self, r: usize, place: &Place) -> Option<&Value> {
        if self.fleet.is_cut() {
            self.side_base[self.fleet.side(r)].0.get(place)
        } else {
            self.base.get(place)
        }
    }
    fn answer(&self, place: &Place, meeting: &Meeting) -> Answer {
        let siblings = &meeting.siblings[..];
        let class = self.class(place, siblings);
        let base = match self.mutant {
            Mutant::Forgetful => Base::Nothing,
            _ => meeting.base.as_ref(),
        };
        self.policy.settle(&Question { place, class, field: self.field(place), base, siblings })
    }

    fn create(&mut self, r: usize) {
        let key = format!("vm-{:05}", self.keys.len());
        // Scripts name machines after what they are for: the same thing at the same time.
        let name = format!("batch-{}-{}", self.fleet.now / (10 * MINUTE), self.draw.below(3));
        let by = self.who("operator", r);
        let set = || Meant::Set { rank: 2 };
        let text = |s: &str| Value::from(s);
        self.epoch += 1;
        let taken = Place::new("name", &name, Pointer::parse("/holder").expect("a pointer"));
        let mut writes = vec![
            (vm(&key, "/lifecycle"), text("present"), Meant::Stays),
            (vm(&key, "/name"), text(&name), set()),
            (vm(&key, "/cpu"), Value::Int(2), set()),
            (vm(&key, "/memory"), Value::Int(4), set()),
            (vm(&key, "/power"), text("on"), set()),
            (vm(&key, "/placement"), pair(self.epoch, "host-0"), Meant::Epoch(self.epoch)),
        ];
        // Names that are seen to be taken are not taken again.
        if self.view(r, &taken).is_none() {
            writes.push((taken, text(&key), Meant::Epoch(-(self.keys.len() as i64))));
        } else {
            writes[1].1 = text(&format!("{name}-{key}"));
        }
        self.keys.push(key);
        self.write(r, &by, writes);
    }

    /// Someone in a region does something to a machine that they see.
    fn someone_acts(&mut self, r: usize) {
        let key = self.draw.pick(&self.keys);
        // Who sees that somebody wants it sees a machine like any other; only one that is deleted is left alone.
        if !["present", "wanted"]
            .iter()
            .any(|word| self.view(r, &vm(&key, "/lifecycle")) == Some((*word).into()))
        {
            return;
        }
        let set = |rank| Meant::Set { rank };
        let text = |s: String| Value::from(s.as_str());
        self.count += 1;
        match self.draw.below(100) {
            0..20 => {
                let cpu = Value::Int(1 + self.draw_int(16));
                self.works(r, "autoscaler", &key, "resized", vec![(vm(&key, "/cpu"), cpu, set(1))]);
            }
            20..30 => {
                let (cpu, memory) = (Value::Int(1 + self.draw_int(16)), Value::Int(1 + self.draw_int(64)));
                let writes = vec![(vm(&key, "/cpu"), cpu, set(2)), (vm(&key, "/memory"), memory, set(2))];
                self.works(r, "operator", &key, "resized", writes);
            }
            30..33 => {
                let cpu = Value::Int(1 + self.draw_int(16));
                self.works(r, "oncall", &key, "resized", vec![(vm(&key, "/cpu"), cpu, set(3))]);
            }
            33..39 => self.power(r, &key),
            39..54 => {
                let at = vm(&key, "/state");
                let last = self.view(r, &at).map_or(0, |v| epoch_of(&v));
                let state = self.draw.pick(&["running", "paused", "stopping"]);
                // A machine is on one host; only that one speaks of it, under the lease's epoch and its own count.
                let home = self.home(&key);
                if self.fleet.hear(home, r) {
                    let next = last + 1;
                    let by = self.who("host", home);
                    self.write(home, &by, vec![(at, pair(next, state), Meant::Epoch(next))]);
                }
            }
            54..60 => self.migrate(r, &key),
            60..68 => self.address(r, &key),
            68..80 => {
                let label = format!("/labels/{}", self.draw.pick(&["team", "tier", "cost"]));
                let (role, rank) = if self.draw.below(3) == 0 { ("operator", 2) } else { ("inventory", 1) };
                let value = Value::Int(self.draw_int(50));
                self.works(r, role, &key, "labelled", vec![(vm(&key, &label), value, set(rank))]);
            }
            80 => {
                let team = text(format!("team-{}", self.draw.below(5)));
                self.works(r, "operator", &key, HANDED, vec![(vm(&key, "/team"), team, set(2))]);
            }
            81 => {
                let title = text(format!("title {}", self.count));
                self.works(r, "operator", &key, "renamed", vec![(vm(&key, "/title"), title, set(2))]);
            }
            82..88 => {
                let at = vm(&key, "/notes");
                let word = format!("note{}", self.count);
                let had =
                    if let Some(Value::Text(t)) = self.view(r, &at) { t.to_string() } else { String::new() };
                let text = format!("{had}{word}\n");
                let writes = vec![(at, text.as_str().into(), Meant::Word(word))];
                self.works(r, "operator", &key, "noted", writes);
            }
            88..95 => {
                let at = vm(&key, "/restarts");
                let n = if let Some(Value::Int(n)) = self.view(r, &at) { n } else { 0 };
                let by = self.who("host", r);
                self.write(r, &by, vec![(at, Value::Int(n + 1), Meant::More(1))]);
            }
            95..99 => self.create(r),
            _ => {
                let role = match self.draw.below(10) {
                    0 => "oncall",
                    1 | 2 => "autoscaler",
                    _ => "operator",
                };
                let by = self.who(role, r);
                let gone = Meant::Gone { rank: rank_of(role) };
                self.write(r, &by, vec![(vm(&key, "/lifecycle"), "deleted".into(), gone)]);
            }
        }
    }
    fn draw_int(&mut self, n: u64) -> i64 {
        self.draw.below(n) as i64
    }
    const fn home(&self, key: &str) -> usize {
        (key.as_bytes()[key.len() - 1] as usize) % REGIONS
    }
    /// Who works on a machine says with it that it is there, or wanted: so that a deletion elsewhere meets them. A stronger word that not
    /// everyone is known to have heard is left to stand, and so is a question that is open.
    fn works(
        &mut self,
        r: usize,
        role: &str,
        key: &str,
        what: &'static str,
        mut writes: Vec<(Place, Value, Meant)>,
    ) {
        let by = self.who(role, r);
        let (life, word) = (vm(key, "/lifecycle"), (rank_of(role), matches!(what, STARTED | HANDED)));
        let weaker = match &self.fleet.siblings(r, &life)[..] {
            [one] => {
                let known = (rank_of(&one.writer.role), one.value == Some("wanted".into()));
                known < word || self.fleet.everyone_has(one.dot)
            }
            _ => false,
        };
        if weaker {
            let said = if word.1 { "wanted" } else { "present" };
            writes.push((life, said.into(), Meant::Stays));
        }
        let dot = self.write(r, &by, writes)[0];
        self.fleet.acted(r, key, what, dot, word);
    }
    fn power(&mut self, r: usize, key: &str) {
        let (role, rank) =
            self.draw.pick(&[("operator", 2), ("operator", 2), ("oncall", 3), ("autoscaler", 1)]);
        let to = self.draw.pick(&["on", "off", "paused"]);
        let at = vm(key, "/power");
        let was = self.view(r, &at);
        let what = if to == "on" && was != Some("on".into()) { STARTED } else { "switched" };
        self.works(r, role, key, what, vec![(at, to.into(), Meant::Set { rank })]);
    }
    /// The lease service is where the machine's home is: who can't reach it moves nothing.
    fn migrate(&mut self, r: usize, key: &str) {
        if !self.fleet.hear(r, self.home(key)) {
            return;
        }
        self.epoch += 1;
        let host = format!("host-{}", self.draw.below(9));
        let at = vm(key, "/placement");
        let writes = vec![(at, pair(self.epoch, &host), Meant::Epoch(self.epoch))];
        self.works(r, "operator", key, "moved to another host", writes);
    }
    /// Addresses come and go; now and then one is held under a lease that has ended, because somebody does not know yet.
    fn address(&mut self, r: usize, key: &str) {
        let at = vm(key, "/addresses");
        let had = self.view(r, &at).map_or(Vec::new(), |v| v.items().to_vec());
        if self.draw.below(3) == 0
            && let Some(first) = had.first()
        {
            let rest = Value::from(had[1..].to_vec());
            let writes = vec![(at, rest, Meant::Out(first.clone()))];
            self.works(r, "operator", key, "rid of an address", writes);
            return;
        }
        self.epoch += 1;
        let address = format!("10.0.{}.{}", self.count / 250, self.count % 250);
        let mut all = had;
        all.push(address.as_str().into());
        all.sort();
        let holder = Place::new("address", &address, Pointer::parse("/holder").expect("a pointer"));
        let stale = (self.draw.below(8) == 0)
            .then(|| (self.draw.below(REGIONS as u64) as usize, self.draw.pick(&self.keys)));
        if let Some((other, key)) = stale {
            let by = self.who("operator", other);
            let claim = (holder.clone(), pair(self.epoch, &key), Meant::Epoch(self.epoch));
            self.write(other, &by, vec![claim]);
            self.epoch += 1;
        }
        let claim = (holder, pair(self.epoch, key), Meant::Epoch(self.epoch));
        let add = (at, Value::from(all), Meant::In(address.as_str().into()));
        self.works(r, "operator", key, "given an address", vec![add, claim]);
    }

    /// All have heard all: what stands beside something is settled, and what was asked of people is answered.
    fn settle_all(&mut self) {
        assert!(self.fleet.agree(), "links are whole, and regions differ");
        let recent = std::mem::take(&mut self.fleet.recent);
        for (place, dots) in &recent {
            if self.fleet.siblings(0, place).len() > 1 {
                self.settle(place, dots, &[0, 1, 2, 3, 4]);
            }
        }
        self.people_answer();
        self.fleet.exchange();
        for (place, dots) in recent {
            match &self.fleet.siblings(0, &place)[..] {
                [one] => {
                    let v = one.value.clone().expect("registers are written");
                    self.base.insert(place.clone(), v);
                    self.fleet.recent.remove(&place);
                }
                // Someone is asked: it stays open, on the base it has.
                _ => {
                    let later = self.fleet.recent.remove(&place).unwrap_or_default();
                    self.fleet.recent.insert(place, dots.into_iter().chain(later).collect());
                }
            }
        }
    }
    /// During a cut the regions of a side settle what stands beside something among themselves: what is left for later is one value a
    /// side, and the base of all is what both had. Siblings that shared a younger write would count twice what that one added.
    fn settle_sides(&mut self) {
        for side in 0..2 {
            let members: Vec<usize> = (0..REGIONS).filter(|r| self.fleet.side(*r) == side).collect();
            let since = self.side_base[side].1;
            let young =
                |f: &Fleet, d: &Dot| members.contains(&usize::from(d.replica().0)) && f.truth[d].at > since;
            let recent: Vec<(Place, Vec<Dot>)> = self
                .fleet
                .recent
                .iter()
                .map(|(p, d)| {
                    (p.clone(), d.iter().copied().filter(|d| young(&self.fleet, d)).collect::<Vec<_>>())
                })
                .filter(|(_, dots)| !dots.is_empty())
                .collect();
            for (place, dots) in &recent {
                if self.fleet.siblings(members[0], place).len() > 1 {
                    self.settle(place, dots, &members);
                }
            }
            self.fleet.exchange();
            for (place, _) in recent {
                if let [one] = &self.fleet.siblings(members[0], &place)[..] {
                    let v = one.value.clone().expect("registers are written");
                    self.side_base[side].0.insert(place, v);
                }
            }
            self.side_base[side].1 = self.fleet.now;
        }
    }
    fn settle(&mut self, place: &Place, dots: &[Dot], members: &[usize]) {
        let meeting = meet(&self.fleet.written(members[0], place));
        let siblings = &meeting.siblings[..];
        let answer = self.answer(place, &meeting);
        for r in &members[1..] {
            let theirs = self.answer(place, &meet(&self.fleet.written(*r, place)));
            assert_eq!(theirs, answer, "{place}: regions settle it differently");
        }
        // People are asked when all sides can be shown to them.
        if self.fleet.is_cut() && matches!(answer.settled.outcome, Outcome::Asked { .. }) {
            return;
        }
        let class = self.class(place, siblings);
        let field = self.field(place).cloned();
        let base = meeting.base.as_ref();
        let question = Question { place, class, field: field.as_ref(), base, siblings };
        let verdict = {
            let base = self.base(members[0], place);
            judge(&self.fleet, place, siblings, dots, base, &answer.settled.outcome, members[0])
        };
        self.judged.extend(deletions(&self.fleet, siblings));
        let between = (class == Class::Structure).then(|| between(&self.fleet, place, siblings, members[0]));
        if let Some(ticket) = answer.ticket(&question, self.fleet.now) {
            if self.queue.put(ticket) == Put::Open {
                self.tally.count(class, between, verdict);
                let minutes = 5 + self.draw.below(55);
                self.people.insert(place.clone(), self.fleet.now + minutes * MINUTE);
            }
            return;
        }
        self.tally.bases[usize::from(base.is_known())] += 1;
        // Nobody deletes, and nobody's word is lost.
        let all_stay = place.pointer.as_str() == "/lifecycle"
            && siblings.iter().all(|s| s.value != Some("deleted".into()))
            && verdict == Verdict::Right;
        let said_the_same = siblings.windows(2).all(|w| w[0].value == w[1].value)
            && matches!(
                self.fleet.truth[&siblings[0].dot].meant,
                Meant::Stays | Meant::Gone { .. } | Meant::Set { .. }
            );
        if all_stay || said_the_same && verdict == Verdict::Right {
            self.tally.alike += 1;
        } else {
            self.tally.count(class, between, verdict);
        }
        let Outcome::One(Some(value)) = answer.settled.outcome.clone() else { panic!("{place}: one value") };
        let (owner, output) = self.carry_out(place, &meeting, &question, &answer, &value, members);
        let settlement = Settlement {
            output: Some(output),
            ..Settlement::new(&question, &answer, self.policy.version(), Hlc::at(self.fleet.now))
        };
        self.audits[owner].record(&settlement).expect("room");
        if &*place.kind == "name" {
            self.rename(owner, place, siblings, &value);
        }
    }
    /// The write that settles it, by whose home it is, or on the other side of a cut the first that is left.
    fn carry_out(
        &mut self,
        place: &Place,
        meeting: &Meeting,
        question: &Question<'_>,
        answer: &Answer,
        value: &Value,
        members: &[usize],
    ) -> (usize, Dot) {
        let home = self.home(&place.key);
        let owner = if members.contains(&home) { home } else { members[0] };
        let siblings = question.siblings;
        let stands = siblings.iter().find(|s| s.value.as_ref() == Some(value)).unwrap_or(&siblings[0]);
        let meant = self.fleet.truth[&stands.dot].meant.clone();
        let nobody = Writer::new("resolver", "resolver", region(owner));
        let by = answer.author(question).map_or(nobody, |s| s.writer.clone());
        let resolves = match self.name(meeting) {
            Name::Resolution(name) => Some((name, answer.meant(question))),
            _ => None,
        };
        let line = meeting.line_of_resolution();
        let doing = Doing { place: place.clone(), value: value.clone(), meant, line, resolves };
        (owner, self.fleet.write(owner, &by, vec![doing], Some(Decided::Policy))[0])
    }
    /// Whoever did not get the name lives on under another.
    fn rename(&mut self, r: usize, place: &Place, siblings: &[Sibling], keeps: &Value) {
        let losers: BTreeSet<&Value> =
            siblings.iter().filter_map(|s| s.value.as_ref()).filter(|v| *v != keeps).collect();
        for key in losers {
            let Value::Text(key) = key else { continue };
            let by = Writer::new("resolver", "resolver", region(r));
            let name = format!("{}-{key}", place.key);
            let write = (vm(key, "/name"), name.as_str().into(), Meant::Set { rank: 2 });
            self.write(r, &by, vec![write]);
        }
    }
    fn people_answer(&mut self) {
        let now = self.fleet.now;
        let due: Vec<Place> =
            self.people.iter().filter(|(_, at)| **at <= now).map(|(p, _)| p.clone()).collect();
        for place in due {
            self.people.remove(&place);
            let written = self.fleet.written(0, &place);
            let meeting = meet(&written);
            let siblings = &meeting.siblings[..];
            let Some(ticket) = self.queue.open().find(|t| t.place == place).cloned() else { continue };
            if siblings.len() < 2 {
                // Somebody who saw both sides wrote meanwhile.
                self.queue.withdraw(&place);
                continue;
            }
            let ana = Writer::new("ana", "operator", region(0));
            let choice = if self.draw.below(2) == 0 { Choice::Suggestion } else { Choice::Default };
            let schema = self.fleet.schema.clone();
            let closed = self.queue.answer(&schema, ticket.id, &place, &choice, &ana).expect("open");
            let value = closed.write.value.clone().expect("a register is written");
            let answer = self.answer(&place, &meeting);
            let field = self.field(&place).cloned();
            let question = Question {
                place: &place,
                class: ticket.class,
                field: field.as_ref(),
                base: meeting.base.as_ref(),
                siblings,
            };
            let at = Hlc::at(now);
            let owner = self.home(&place.key);
            let settlement = Settlement {
                decision: Some(&closed),
                ..Settlement::new(&question, &answer, self.policy.version(), at)
            };
            self.audits[owner].record(&settlement).expect("room");
            let gone = value == "deleted".into();
            let meant = if gone { Meant::Gone { rank: 2 } } else { Meant::Stays };
            let shown = answer.settled.outcome.shown();
            let line = Line::over(&written, (self.name(&meeting), shown), &|_| false);
            let doing = Doing { place, value, meant, line, resolves: None };
            let key = doing.place.key.clone();
            let dot = self.fleet.write(owner, &ana, vec![doing], Some(Decided::Person))[0];
            if !gone {
                self.fleet.acted(owner, &key, "kept when asked", dot, (2, true));
            }
        }
    }

    /// What was lost, and what can be had back.
    fn examine(mut self) -> Tally {
        let mut recorded: BTreeSet<Dot> = BTreeSet::new();
        for audit in &self.audits {
            let head = audit.chain().head();
            audit.chain().verify(Some(&head)).expect("nobody touched it");
            let (bytes, n) = audit.chain().size();
            self.tally.records += n as u64;
            self.tally.record_bytes += bytes as u64;
            recorded.extend(audit.chain().records().flat_map(|(_, r)| r.inputs.into_iter().map(|i| i.dot)));
            for loser in audit.losers() {
                self.tally.losers += 1;
                let same = loser.is_ok_and(|l| l.value.as_ref() == Some(&self.fleet.truth[&l.dot].value));
                self.tally.recovered += u64::from(same);
            }
        }
        let seen: BTreeSet<Dot> = self
            .fleet
            .truth
            .values()
            .filter(|t| t.settles.is_none())
            .flat_map(|t| t.seen.iter().copied())
            .collect();
        for (dot, told) in &self.fleet.truth {
            let live = || self.fleet.siblings(0, &told.place).iter().any(|s| s.dot == *dot);
            if told.settles.is_none() && !seen.contains(dot) && !recorded.contains(dot) && !live() {
                self.tally.silent += 1;
            }
        }
        self.unmet();
        self.tally.writes = self.fleet.truth.len() as u64;
        self.tally.arrivals = self.fleet.checked;
        self.tally
    }
}

impl Run {
    /// Deletions that met nobody's word, beside work that they did not see: its word was left out under a stronger one.
    fn unmet(&mut self) {
        let fleet = &self.fleet;
        let gone = fleet.saw.keys().filter(|dot| !self.judged.contains(dot));
        for (want, beside) in gone.filter_map(|dot| alone(fleet, *dot)) {
            if want == Want::Goes {
                self.tally.unmet += 1;
            } else {
                self.tally.overrun += 1;
                self.tally.wrong_told.push(format!("unmet: {beside}: {want:?}"));
            }
        }
    }
}

/// Ordered by epoch first.
fn pair(epoch: i64, what: &str) -> Value {
    Value::from(vec![Value::Int(epoch), Value::from(what)])
}
fn epoch_of(v: &Value) -> i64 {
    if let Some(Value::Int(n)) = v.items().first() { *n } else { 0 }
}

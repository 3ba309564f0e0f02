//! One run: a cluster, clients, a schedule of nemeses, a heal, the last reads.
//!
//! ```text
//! start ── settle ── windows and rests ── time ── heal ── serve on ── stop ── last answers ── last reads ── end
//!                       clients at work all the while                |
//! ```
//!
//! Ctrl-C cuts the windows short: what is broken is healed, and what was recorded is judged.

use super::cluster::{Cluster, Spec};
use super::drive::{Load, Tally, drive};
use super::{eventual, last, strike};
use crate::config::Timing;
use dwcp_env::{Duration, Instant, Seed};
use dwcp_nemesis::link;
use dwcp_nemesis::netns::Wire;
use dwcp_nemesis::{Act, Need, Nemesis, Schedule, Window};
use dwcp_workload::history::Remark;
use dwcp_workload::{Log, Use};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// After the heal clients go on for so long: that everybody serves is seen by them too.
const SERVE_ON: Duration = Duration::secs(4);
/// An operation succeeds within this after the heal, or the cluster has not recovered.
const SERVE_WITHIN: Duration = Duration::secs(30);
/// How often a wait looks at the processes.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(100);

/// What is asked for.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) kind: Use,
    pub(super) nemeses: Vec<Nemesis>,
    /// Those a mix may draw.
    pub(super) allowed: Vec<Nemesis>,
    pub(super) time: Duration,
    pub(super) nodes: usize,
    /// The engine that the strong keyspace begins with.
    pub(super) engine: dwcp_node::EngineKind,
    pub(super) clients: u32,
    pub(super) rate: u32,
    pub(super) keys: u32,
    pub(super) seed: Seed,
    pub(super) dir: PathBuf,
    pub(super) extra: Vec<String>,
}

impl Order {
    /// What is to join the nodes.
    fn wire(&self) -> Option<Wire> {
        if self.needs(Need::Tun) {
            Some(Wire::Link)
        } else {
            self.needs(Need::Namespaces).then_some(Wire::Bridge)
        }
    }
    /// Whether a nemesis of this run needs this of the machine.
    fn needs(&self, need: Need) -> bool {
        let mixed = self.nemeses.contains(&Nemesis::Mix);
        let parts = self.allowed.iter().filter(|_| mixed);
        self.nemeses.iter().chain(parts).any(|n| n.card().needs.contains(&need))
    }
}

/// A nemesis that struck.
#[derive(Debug)]
pub(super) struct Struck {
    /// Whose window it was: itself, or the mix.
    pub(super) window_of: Nemesis,
    pub(super) nemesis: &'static str,
    pub(super) act: Act,
    pub(super) words: String,
    pub(super) begin: Instant,
    pub(super) end: Instant,
    pub(super) evidence: Vec<strike::Evidence>,
    before: strike::Before,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) log: Log,
    pub(super) remarks: Vec<Remark>,
    pub(super) struck: Vec<Struck>,
    /// What the nodes hold in the end; nothing if that could not be read.
    pub(super) kept: Option<last::Kept>,
    pub(super) differ: Vec<String>,
    /// What did not serve though everything was healed.
    pub(super) unhealed: Vec<String>,
    pub(super) surprises: Vec<String>,
    /// Why it may prove nothing.
    pub(super) doubts: Vec<String>,
    /// How late our own link was at its 99th percentile, where there was one.
    pub(super) link_late: Option<std::time::Duration>,
    pub(super) lasted: Duration,
}

/// A run in progress.
struct Run<'a> {
    order: &'a Order,
    cluster: Cluster,
    origin: std::time::Instant,
    stop: watch::Receiver<bool>,
    struck: Vec<Struck>,
    remarks: Vec<Remark>,
    doubts: Vec<String>,
}

/// Runs it. `tell` hears how far it is.
///
/// # Errors
/// It could not begin, or a nemesis could not be carried out.
pub(super) async fn run(
    order: &Order,
    stop: watch::Receiver<bool>,
    tell: &dyn Fn(Duration, &Tally, &str),
) -> Result<Ran, String> {
    let spec = Spec {
        dir: order.dir.clone(),
        nodes: order.nodes,
        // A site whose links are slowed to those of regions keeps their time.
        timing: if order.needs(Need::Tun) { Timing::Wan } else { Timing::Lan },
        engine: order.engine,
        wire: order.wire(),
        seed: order.seed,
        disks: order.needs(Need::Fuse),
        extra: order.extra.clone(),
    };
    tell(Duration::ZERO, &Tally::default(), "starting the nodes");
    let cluster = Cluster::start(spec).await?;
    let origin = std::time::Instant::now();
    let load = Load {
        kind: order.kind,
        clients: order.clients,
        rate: order.rate,
        keys: order.keys,
        seed: order.seed,
    };
    let tally = Arc::new(Tally::default());
    let (stop_clients, clients_stop) = watch::channel(false);
    let doors = if order.kind.is_eventual() { cluster.redis_doors() } else { cluster.doors() };
    let clients = tokio::spawn(drive(load, doors, origin, clients_stop, tally.clone()));
    let mut run =
        Run { order, cluster, origin, stop, struck: Vec::new(), remarks: Vec::new(), doubts: Vec::new() };
    let broke = run.windows(&tally, tell).await;
    let unhealed = run.heal(&tally, tell).await;
    stop_clients.send_replace(true);
    let log = clients.await.map_err(|e| format!("the clients ended badly: {e}"))?;
    let lasted = Duration::from_std(origin.elapsed());
    tell(order.time, &tally, "reading what the nodes hold");
    let (kept, differ) = run.read_all().await.unwrap_or_else(|why| {
        run.doubts.push(why);
        (None, Vec::new())
    });
    run.cluster.notice_ends();
    run.cluster.end().await;
    broke?;
    let Run { cluster, struck, remarks, mut doubts, .. } = run;
    let link_late = cluster.network.as_ref().and_then(|n| n.counts()).map(|c| c.late_p99());
    if let Some(late) = link_late
        && late > link::LATE
    {
        doubts.push(format!(
            "time: the link was late, p99 {late:?} (its bound is {:?}); the machine is too busy",
            link::LATE
        ));
    }
    Ok(Ran {
        log,
        remarks,
        struck,
        kept,
        differ,
        unhealed,
        surprises: cluster.surprises,
        doubts,
        link_late,
        lasted,
    })
}

impl Run<'_> {
    fn now(&self) -> Instant {
        Instant::ZERO + Duration::from_std(self.origin.elapsed())
    }
    /// What the nodes hold, and where they differ.
    async fn read_all(&self) -> Result<(Option<last::Kept>, Vec<String>), String> {
        if self.order.kind.is_eventual() {
            let read = eventual::read(&self.cluster.redis_doors(), u64::from(self.order.keys)).await;
            return read.map(|(contents, differ)| (Some(last::Kept::Eventual(contents)), differ));
        }
        let read = last::read(&self.cluster.doors()).await;
        read.map(|(past, differ)| (Some(last::Kept::Strong(past)), differ))
    }
    async fn windows(&mut self, tally: &Tally, tell: &dyn Fn(Duration, &Tally, &str)) -> Result<(), String> {
        let order = self.order;
        let schedule = Schedule::draw(order.seed, &order.nemeses, &order.allowed, order.time);
        for (i, window) in schedule.windows.iter().enumerate() {
            let of = order.nemeses[i % order.nemeses.len()];
            self.wait_until(window.begin, tally, tell, "resting").await;
            // What took longer than its window leaves no time for the last ones.
            if self.stopped() || self.now() > Instant::ZERO + order.time {
                break;
            }
            self.strike(of, window, tally, tell).await?;
        }
        self.wait_until(order.time, tally, tell, "resting").await;
        Ok(())
    }
    async fn strike(
        &mut self,
        of: Nemesis,
        window: &Window,
        tally: &Tally,
        tell: &dyn Fn(Duration, &Tally, &str),
    ) -> Result<(), String> {
        let seen = self.cluster.seen().await;
        let first = self.struck.len();
        let mut failed = Ok(());
        for striker in &window.strikers {
            let act = striker.draw(self.order.seed, window.nth, &seen);
            let name = striker.card().name;
            let begin = self.now();
            self.remark(name, "begin", &act);
            let before = strike::before(&self.cluster);
            let begun = strike::begin(&mut self.cluster, &act, self.order.seed).await;
            let words = act.words();
            let mut struck = Struck {
                window_of: of,
                nemesis: name,
                act,
                words,
                begin,
                end: begin,
                evidence: Vec::new(),
                before,
            };
            match begun {
                Ok(evidence) => struck.evidence.extend(evidence),
                Err(e) => failed = Err(format!("{name}: {e}")),
            }
            self.struck.push(struck);
        }
        let words: Vec<String> = self.struck[first..].iter().map(|s| s.words.clone()).collect();
        if failed.is_ok() {
            self.wait_until(window.end, tally, tell, &words.join(" + ")).await;
        }
        for i in (first..self.struck.len()).rev() {
            let act = self.struck[i].act.clone();
            match strike::end(&mut self.cluster, &act, self.struck[i].before).await {
                Ok(evidence) => self.struck[i].evidence.extend(evidence),
                Err(e) => failed = Err(format!("{}: {e}", self.struck[i].nemesis)),
            }
            self.struck[i].end = self.now();
            self.remark(self.struck[i].nemesis, "end", &act);
        }
        failed
    }
    /// Makes the world whole and lets clients go on for a while; says what does not serve.
    async fn heal(&mut self, tally: &Tally, tell: &dyn Fn(Duration, &Tally, &str)) -> Vec<String> {
        tell(self.order.time, tally, "healing");
        let mut unhealed = strike::heal(&mut self.cluster).await;
        let (healed, before) = (self.now(), tally.ok.load(std::sync::atomic::Ordering::Relaxed));
        self.remarks.push(Remark {
            who: "healer".into(),
            at: healed,
            what: "healed",
            detail: json!(unhealed),
        });
        while tally.ok.load(std::sync::atomic::Ordering::Relaxed) == before {
            if self.now() > healed + SERVE_WITHIN {
                unhealed
                    .push(format!("no operation succeeded within {} s of the heal", SERVE_WITHIN.as_secs()));
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        tokio::time::sleep(SERVE_ON.to_std()).await;
        unhealed
    }
    fn remark(&mut self, who: &str, what: &'static str, act: &Act) {
        let detail = serde_json::to_value(act).unwrap_or_default();
        self.remarks.push(Remark { who: who.into(), at: self.now(), what, detail });
    }
    fn stopped(&self) -> bool {
        *self.stop.borrow()
    }
    async fn wait_until(
        &mut self,
        at: Duration,
        tally: &Tally,
        tell: &dyn Fn(Duration, &Tally, &str),
        doing: &str,
    ) {
        while !self.stopped() && self.now() < Instant::ZERO + at {
            let left = (Instant::ZERO + at).since(self.now()).to_std();
            // A change of `stop` is seen at once, an end of a process soon.
            let _changed = tokio::time::timeout(left.min(LOOK_EVERY), self.stop.changed()).await;
            self.cluster.notice_ends();
            tell(self.now().since(Instant::ZERO), tally, doing);
        }
    }
}

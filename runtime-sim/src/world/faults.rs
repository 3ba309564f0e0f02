//! Faults coming and going.

use super::process::End;
use super::{Next, SimWorld, host};
use crate::disk::Ills;
use crate::fault::{Effect, FaultKind, Target};
use crate::net::{Burden, LinkFault};
use crate::trace::What;
use dwcp_env::{Machine, NodeId, Ratio};

impl<M: Machine> SimWorld<M> {
    pub(super) fn fault_on(&mut self, index: u32) {
        let fault = self.windows[index as usize].clone();
        let kind = fault.kind();
        self.note(u64::from(index), || What::FaultOn { index, fault: kind });
        self.reset_wrongly(kind);
        if !fault.effect.at_a_point() {
            self.queue.push(fault.until.as_nanos(), Next::FaultOff(index));
        }
        match &fault.target {
            Target::Links { .. } => {
                self.burdens.push(index);
                self.burden_links(index);
            }
            Target::Node(node) => {
                if let Some(i) = self.index(*node) {
                    self.node_fault_on(i, index, &fault.effect, fault.until.as_nanos());
                }
            }
        }
    }

    pub(super) fn fault_off(&mut self, index: u32) {
        let fault = self.windows[index as usize].clone();
        let kind = fault.kind();
        self.note(u64::from(index), || What::FaultOff { index, fault: kind });
        match &fault.target {
            Target::Links { .. } => {
                self.burdens.retain(|b| *b != index);
                self.burden_links(index);
            }
            Target::Node(node) => {
                if let Some(i) = self.index(*node) {
                    self.node_fault_off(i, index, &fault.effect);
                }
            }
        }
    }

    // --- links ---

    fn side(&self, nodes: &[NodeId]) -> Vec<usize> {
        if nodes.is_empty() {
            return (0..self.hosts.len()).collect();
        }
        nodes.iter().filter_map(|n| self.index(*n)).collect()
    }

    /// The links a window concerns, both directions where it acts both ways.
    fn links_of(&self, index: u32) -> Vec<(usize, usize)> {
        let fault = &self.windows[index as usize];
        let Target::Links { from, to } = &fault.target else { return Vec::new() };
        let (from, to) = (self.side(from), self.side(to));
        let mut all = Vec::with_capacity(from.len() * to.len());
        for &a in &from {
            for &b in to.iter().filter(|b| **b != a) {
                all.push((a, b));
                if matches!(fault.effect, Effect::Partition {}) {
                    all.push((b, a));
                }
            }
        }
        all
    }

    /// Recomputes what lies on the links that a window concerns.
    fn burden_links(&mut self, index: u32) {
        let n = self.hosts.len();
        let concerned = self.links_of(index);
        let mut burdens: Vec<Option<Burden>> = vec![None; n * n];
        for &on in &self.burdens {
            let window = &self.windows[on as usize];
            let fault = LinkFault { effect: window.effect.clone(), until: window.until.as_nanos() };
            for (a, b) in self.links_of(on) {
                burdens[a * n + b].get_or_insert_default().add(&fault);
            }
        }
        for (a, b) in concerned {
            self.net.burden(a, b, burdens[a * n + b].clone());
        }
    }

    // --- nodes ---

    fn node_fault_on(&mut self, i: usize, index: u32, effect: &Effect, until: u64) {
        match effect {
            Effect::ClockSkew { nanos, honest } => {
                self.step_calendar(i, *nanos, *honest, FaultKind::ClockSkew);
            }
            Effect::ClockJump { nanos } => self.step_calendar(i, *nanos, false, FaultKind::ClockJump),
            Effect::ClockDrift { ppm } => {
                self.hosts[i].clock.drift(self.now, i64::from(*ppm));
                self.hosts[i].unseen.push(FaultKind::ClockDrift);
                self.rearm(i);
            }
            Effect::Crash { mid_write: false } => self.strike_now(i, index),
            Effect::Crash { mid_write: true } | Effect::TornWrite {} => self.wait_for_write(i, index),
            Effect::Wipe {} => self.strike_now(i, index),
            Effect::Pause {} => {
                self.hosts[i].pauses += 1;
                let node = self.hosts[i].id;
                self.note(0, || What::Paused { node });
            }
            Effect::VersionChange { .. } => {
                self.hosts[i].upgrades += 1;
                self.ask_to_stop(i, until);
            }
            Effect::Byzantine { .. } => self.hosts[i].lies = host::lies(effect),
            Effect::LatentSectorError { sectors, spare_tail } => {
                // Fires when a read meets it.
                self.hosts[i].disk.lock().decay(*sectors, *spare_tail, true);
            }
            Effect::BitRot { bits, spare_tail } => {
                let hit = self.hosts[i].disk.lock().decay(*bits, *spare_tail, false);
                self.fired.add(FaultKind::BitRot, hit.into());
            }
            _ => {
                self.hosts[i].ills.push(index);
                self.make_ill(i);
            }
        }
    }

    fn node_fault_off(&mut self, i: usize, index: u32, effect: &Effect) {
        match effect {
            Effect::ClockSkew { nanos, honest } => {
                let host = &mut self.hosts[i];
                host.clock.step(nanos.saturating_neg());
                if *honest {
                    host.clock.state(nanos.saturating_abs().saturating_neg());
                }
            }
            Effect::ClockDrift { ppm } => {
                self.hosts[i].clock.drift(self.now, -i64::from(*ppm));
                self.rearm(i);
            }
            Effect::Crash { .. } | Effect::TornWrite {} | Effect::Wipe {} => self.recover(i, index),
            Effect::Pause {} => self.go_on(i),
            Effect::VersionChange { version } => self.change_version(i, *version),
            Effect::Byzantine { .. } => {
                self.hosts[i].lies = None;
                self.hosts[i].said.clear();
            }
            Effect::ClockJump { .. } | Effect::LatentSectorError { .. } | Effect::BitRot { .. } => {}
            _ => {
                self.hosts[i].ills.retain(|x| *x != index);
                self.make_ill(i);
            }
        }
    }

    fn step_calendar(&mut self, i: usize, nanos: i64, honest: bool, kind: FaultKind) {
        let host = &mut self.hosts[i];
        host.clock.step(nanos);
        if honest {
            host.clock.state(nanos.saturating_abs());
        }
        host.unseen.push(kind);
    }

    /// What is wrong with a disk, from all windows that are on.
    fn make_ill(&mut self, i: usize) {
        let host = &self.hosts[i];
        let mut ills = Ills::default();
        let mut disk = host.disk.lock();
        let left = disk.ills.free;
        for &on in &host.ills {
            let window = &self.windows[on as usize];
            add_ill(&mut ills, &window.effect, window.until.as_nanos());
        }
        // What growth has used of the rest stays used.
        if let (Some(left), Some(free)) = (left, &mut ills.free) {
            *free = left.min(*free);
        }
        disk.ills = ills;
    }

    // --- ends ---

    /// Waits for the next disk request or job; takes the one under way if there is one.
    fn wait_for_write(&mut self, i: usize, index: u32) {
        self.hosts[i].strikes.push(index);
        let under_way = self.hosts[i].requests.queue.front().map(|r| r.ends);
        if let Some(ends) = under_way {
            self.strike_within(i, self.now, ends);
        }
    }

    pub(super) fn strike(&mut self, i: usize, life: u32, index: u32) {
        let open = self.now < self.windows[index as usize].until.as_nanos();
        if open && self.hosts[i].life == life {
            self.strike_now(i, index);
        }
    }

    fn strike_now(&mut self, i: usize, index: u32) {
        let effect = &self.windows[index as usize].effect;
        let (kind, how) = (
            effect.kind(),
            match effect {
                Effect::TornWrite {} => End::Power { torn: true },
                Effect::Wipe {} => End::Wiped,
                _ => End::Power { torn: false },
            },
        );
        self.struck[index as usize] = true;
        self.hosts[i].downs += 1;
        if let Some(report) = self.end(i, how) {
            let node = self.hosts[i].id;
            self.note(report.lost << 32 | report.torn, || What::Down { node, by: kind });
            match kind {
                FaultKind::Crash => self.fired.count(kind),
                FaultKind::TornWrite if report.torn > 0 => self.fired.count(kind),
                _ => {}
            }
        }
    }

    fn recover(&mut self, i: usize, index: u32) {
        self.hosts[i].strikes.retain(|s| *s != index);
        if std::mem::take(&mut self.struck[index as usize]) {
            self.hosts[i].downs -= 1;
            if self.hosts[i].may_boot() {
                self.boot(i);
            }
        }
    }

    fn go_on(&mut self, i: usize) {
        let host = &mut self.hosts[i];
        host.pauses -= 1;
        if host.pauses > 0 {
            return;
        }
        let node = host.id;
        if !host.has_nothing() || !host.held.is_empty() {
            self.fired.count(FaultKind::Pause);
        }
        self.note(0, || What::Resumed { node });
        self.let_go_held(i);
        self.schedule_resume(i);
    }

    fn change_version(&mut self, i: usize, version: u32) {
        if self.hosts[i].machine.is_some() {
            let node = self.hosts[i].id;
            self.end(i, End::Killed);
            self.note(u64::from(version), || What::Down { node, by: FaultKind::VersionChange });
        }
        let host = &mut self.hosts[i];
        host.upgrades -= 1;
        if host.version != version {
            self.fired.count(FaultKind::VersionChange);
        }
        host.version = version;
        if host.may_boot() {
            self.boot(i);
        }
    }
}

fn add_ill(ills: &mut Ills, effect: &Effect, until: u64) {
    let worse = |a: &mut Ratio, b: Ratio| {
        if u64::from(a.num) * u64::from(b.den) < u64::from(b.num) * u64::from(a.den) {
            *a = b;
        }
    };
    match effect {
        Effect::SlowDisk { extra, stalled } => {
            ills.extra += *extra;
            ills.extra_until = ills.extra_until.max(until);
            if *stalled {
                ills.stalled_until = ills.stalled_until.max(until);
            }
        }
        Effect::DiskError { reads, writes, syncs } => {
            worse(&mut ills.eio_reads, *reads);
            worse(&mut ills.eio_writes, *writes);
            worse(&mut ills.eio_syncs, *syncs);
        }
        Effect::DiskFull { free } => ills.free = Some(ills.free.map_or(free.0, |f| f.min(free.0))),
        Effect::MisdirectedWrite { rate } => worse(&mut ills.misdirected_writes, *rate),
        Effect::MisdirectedRead { rate } => worse(&mut ills.misdirected_reads, *rate),
        Effect::PhantomWrite { rate, lying_sync } => {
            worse(&mut ills.phantom, *rate);
            worse(&mut ills.lying_sync, *lying_sync);
        }
        _ => {}
    }
}

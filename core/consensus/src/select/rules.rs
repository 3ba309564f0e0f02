//! The rules: which candidate is picked, and why each other is not.

use super::choice::{Candidate, Choice, EngineKind, Facts, Forecast, Part, Placement, Refused, Rule};
use super::measure::{Class, Measurements, NEVER, Space, Trust, View};
use super::policy::Policy;
use super::predict::{At, Model, bears_regions, systems};
use super::quantity::Share;
use crate::quorum::{Quorums, System};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use dwcp_env::{Duration, RegionId};

/// Looks at every candidate and picks one. `running` is what the group has now, if anything: the ends at which
/// engines are left lie beyond those at which they are entered.
#[must_use]
pub fn choose(measured: &Measurements, policy: &Policy, running: Option<&Placement>) -> Choice {
    let view = View::of(measured);
    let model = Model::new(&view, policy);
    let mut looking = Looking { view: &view, policy, running, model: &model, candidates: Vec::new() };
    looking.gather();
    looking.decide()
}

struct Looking<'a> {
    view: &'a View,
    policy: &'a Policy,
    running: Option<&'a Placement>,
    model: &'a Model<'a>,
    candidates: Vec<Candidate>,
}

/// Members a group with a liar must have.
const LIARS_MEMBERS_MIN: usize = 4;

impl Looking<'_> {
    fn runs(&self, engine: EngineKind) -> bool {
        self.running.is_some_and(|r| r.engine == engine)
    }

    // ---- candidates -------------------------------------------------------------------------------------

    fn gather(&mut self) {
        let members = self.view.members.len();
        if members == 0 {
            return;
        }
        let majority = System::Majority { members: members as u8 };
        let leaders = self.leaders();
        let mut led = systems(self.view, self.policy);
        if let Some(own) = self.running.and_then(|r| r.quorums.clone())
            && self.runs(EngineKind::MultiPaxos)
            && own.members() == members
            && own.check().is_ok()
            && !led.contains(&own)
        {
            led.push(own);
        }
        for system in &led {
            for leader in &leaders {
                let forecast = self.model.led(system, *leader, &self.view.writes);
                if *system == majority {
                    self.add(EngineKind::Raft, Some(system), Some(*leader), forecast.clone());
                }
                self.add(EngineKind::MultiPaxos, Some(system), Some(*leader), forecast);
            }
        }
        self.add(EngineKind::EPaxos, Some(&majority), None, self.model.leaderless(&majority));
        let byzantine = System::Byzantine { members: members as u8 };
        if (LIARS_MEMBERS_MIN..=crate::pbft::config::GROUP_MAX).contains(&members) {
            for primary in &leaders {
                let forecast = self.model.byzantine(&byzantine, *primary);
                self.add(EngineKind::Pbft, Some(&byzantine), Some(*primary), forecast);
            }
        }
        self.add(EngineKind::Eventual, None, None, self.model.local(&self.view.writes));
        if self.view.keyspaces.len() > 1 {
            self.add_hybrid(&led, &leaders);
            self.add_running_hybrid();
        }
        self.candidates.sort_by_key(|c| c.placement.engine);
    }

    /// A member of each region that may lead: the one that does, else the first that is up.
    fn leaders(&self) -> Vec<usize> {
        let now = self.running.and_then(|r| self.view.place(r.leader?)).filter(|m| self.view.up[*m]);
        (0..self.view.regions.len())
            .filter_map(|region| {
                now.filter(|m| self.view.home[*m] == region).or_else(|| self.view.up_in(region).next())
            })
            .collect()
    }

    fn add(
        &mut self,
        engine: EngineKind,
        quorums: Option<&System>,
        leader: Option<usize>,
        forecast: Forecast,
    ) {
        let placement = Placement {
            engine,
            quorums: quorums.cloned(),
            leader: leader.map(|m| self.view.members[m]),
            parts: Vec::new(),
        };
        let region = leader.map(|m| self.view.regions[self.view.home[m]]);
        self.candidates.push(Candidate { placement, region, forecast, refused: None });
    }

    /// Each strong keyspace under a leader in the region that owns it, else under the best; the others eventual.
    fn add_hybrid(&mut self, systems: &[System], leaders: &[usize]) {
        let mut parts = Vec::new();
        let mut forecasts = Vec::new();
        for space in &self.view.keyspaces {
            if space.class == Class::Mergeable {
                let part =
                    Part { keyspace: space.id, engine: EngineKind::Eventual, quorums: None, leader: None };
                parts.push(part);
                forecasts.push(self.model.local(&space.writes));
                continue;
            }
            let owner = self.owner(space);
            let owned = |m: &&usize| owner.is_some_and(|o| self.view.home[**m] == o);
            let from: Vec<usize> = match leaders.iter().find(owned) {
                Some(leader) => [*leader].into(),
                None => leaders.to_vec(),
            };
            let every =
                systems.iter().filter(|s| self.admits(s)).flat_map(|s| from.iter().map(move |m| (s, *m)));
            let best = every
                .map(|(system, leader)| (self.model.led(system, leader, &space.writes), system, leader))
                .min_by_key(|(f, _, leader)| (f.unserved, f.cost, *leader));
            let Some((forecast, system, leader)) = best else { return };
            parts.push(Part {
                keyspace: space.id,
                engine: EngineKind::MultiPaxos,
                quorums: Some(system.clone()),
                leader: Some(self.view.members[leader]),
            });
            forecasts.push(forecast);
        }
        let together: Vec<(&[u64], &Forecast)> =
            self.view.keyspaces.iter().map(|k| &k.writes[..]).zip(&forecasts).collect();
        let forecast = self.model.together(&together);
        self.push_hybrid(parts, forecast);
    }

    /// The hybrid that runs, as it is, if it keeps all there is to keep.
    fn add_running_hybrid(&mut self) {
        let Some(running) = self.running.filter(|r| r.engine == EngineKind::Hybrid) else { return };
        let mut forecasts = Vec::new();
        for space in &self.view.keyspaces {
            let Some(part) = running.parts.iter().find(|p| p.keyspace == space.id) else { return };
            let leader = part.leader.and_then(|node| self.view.place(node));
            forecasts.push(match (&part.quorums, leader, part.engine) {
                (Some(system), Some(leader), _) => self.model.led(system, leader, &space.writes),
                (_, _, EngineKind::Eventual) if space.class == Class::Mergeable => {
                    self.model.local(&space.writes)
                }
                _ => return,
            });
        }
        let spaces = self.view.keyspaces.iter().map(|k| &k.writes[..]);
        let forecast = self.model.together(&spaces.zip(&forecasts).collect::<Vec<_>>());
        if self.candidates.iter().all(|c| c.placement != *running) {
            self.push_hybrid(running.parts.clone(), forecast);
        }
    }

    fn push_hybrid(&mut self, parts: Vec<Part>, forecast: Forecast) {
        let placement = Placement { engine: EngineKind::Hybrid, quorums: None, leader: None, parts };
        self.candidates.push(Candidate { placement, region: None, forecast, refused: None });
    }

    /// The region that owns a keyspace, if one does.
    fn owner(&self, space: &Space) -> Option<usize> {
        let least = if self.runs(EngineKind::Hybrid) {
            self.policy.hybrid_owner_leave
        } else {
            self.policy.hybrid_owner_enter
        };
        let all: u128 = space.writes.iter().map(|w| u128::from(*w)).sum();
        let (region, most) =
            space.writes.iter().enumerate().max_by_key(|(r, w)| (**w, core::cmp::Reverse(*r)))?;
        (*most > 0 && Share::of(u128::from(*most), all) >= least).then_some(region)
    }

    /// Whether the policy's wish to bear a region's loss is met, as far as majorities would meet it.
    fn admits(&self, system: &System) -> bool {
        let majority = System::Majority { members: self.view.members.len() as u8 };
        !self.policy.bear_region
            || *system == majority
            || bears_regions(self.view, system)
            || !bears_regions(self.view, &majority)
    }

    // ---- the pick ---------------------------------------------------------------------------------------

    fn decide(mut self) -> Choice {
        self.refuse_outright();
        let mut facts = self.facts();
        let agreed = self.agreed(&facts).1.map(|at| self.candidates[at].forecast.unserved);
        facts.cut_off = agreed.unwrap_or(Share::WHOLE);
        let (rule, pick) = self.rule(&facts);
        for at in 0..self.candidates.len() {
            if Some(at) != pick && self.candidates[at].refused.is_none() {
                self.candidates[at].refused = Some(self.why_not(at, pick, &facts));
            }
        }
        Choice {
            regions: self.view.regions.clone(),
            members: self.view.members.clone(),
            candidates: self.candidates,
            pick,
            rule: if pick.is_none() && rule == Rule::Leader { Rule::Nothing } else { rule },
            facts,
        }
    }

    /// What no rule may pick.
    fn refuse_outright(&mut self) {
        let untrusted = self.view.trust == Trust::Untrusted;
        let byzantine = untrusted || self.runs(EngineKind::Pbft);
        let strong =
            self.view.keyspaces.is_empty() || self.view.keyspaces.iter().any(|k| k.class == Class::Strong);
        let mut refusals = Vec::with_capacity(self.candidates.len());
        for candidate in &self.candidates {
            let engine = candidate.placement.engine;
            let system = candidate.placement.quorums.as_ref();
            refusals.push(if engine == EngineKind::Pbft && !byzantine && !self.only(engine) {
                Some(Refused::Trusted)
            } else if engine != EngineKind::Pbft && untrusted {
                Some(Refused::Untrusted)
            } else if engine == EngineKind::Eventual && strong {
                Some(Refused::StrongClass)
            } else if !(self.policy.allows(engine) || engine == EngineKind::Pbft && byzantine) {
                Some(Refused::NotAllowed)
            } else if !candidate.forecast.serves() {
                Some(Refused::NoQuorum)
            } else if engine == EngineKind::MultiPaxos && system.is_some_and(|s| !self.admits(s)) {
                Some(Refused::RegionLoss)
            } else {
                None
            });
        }
        for (candidate, refused) in self.candidates.iter_mut().zip(refusals) {
            candidate.refused = refused;
        }
    }

    /// The policy names nothing else.
    fn only(&self, engine: EngineKind) -> bool {
        self.policy.engines.iter().all(|e| *e == engine)
    }

    /// The best candidate of these engines.
    fn best(&self, engines: &[EngineKind]) -> Option<usize> {
        let of = |c: &Candidate| engines.contains(&c.placement.engine) && c.refused.is_none();
        let all = self.candidates.iter().enumerate().filter(|(_, c)| of(c));
        all.min_by_key(|(at, c)| (c.forecast.unserved, c.forecast.cost, *at)).map(|(at, _)| at)
    }
    fn key(&self, at: usize) -> (Share, Duration) {
        (self.candidates[at].forecast.unserved, self.candidates[at].forecast.cost)
    }

    fn rule(&self, facts: &Facts) -> (Rule, Option<usize>) {
        use EngineKind::{Eventual, Hybrid, Pbft};
        if self.runs(Pbft) {
            return (Rule::StaysByzantine, self.best(&[Pbft]));
        }
        if self.view.trust == Trust::Untrusted {
            return (Rule::Untrusted, self.best(&[Pbft]));
        }
        let agreed = self.agreed(facts);
        if let Some(pick) = self.best(&[Eventual])
            && (self.wants_local(agreed.1) || self.only(Eventual))
        {
            return (Rule::Mergeable, Some(pick));
        }
        if let Some(pick) = self.best(&[Hybrid])
            && (self.mixed() || self.only(Hybrid))
        {
            return (Rule::Locality, Some(pick));
        }
        agreed
    }

    /// The rules for one chain of trusted members.
    fn agreed(&self, facts: &Facts) -> (Rule, Option<usize>) {
        use EngineKind::{EPaxos, MultiPaxos, Pbft, Raft};
        let led = self.best(&[MultiPaxos]).or_else(|| self.best(&[Raft]));
        if let Some(pick) = led
            && self.near(facts).is_some()
        {
            return (Rule::Near, Some(pick));
        }
        if let Some(pick) = self.best(&[EPaxos])
            && self.unfit(facts).is_none()
            && led.is_none_or(|led| self.key(pick) < self.key(led))
        {
            return (Rule::Leaderless, Some(pick));
        }
        (Rule::Leader, led.or_else(|| self.best(&[EPaxos])).or_else(|| self.best(&[Pbft])))
    }

    /// Whether writers of mergeable data can't, or need not, wait for a quorum under what would be picked else.
    fn wants_local(&self, agreed: Option<usize>) -> bool {
        let Some(agreed) = agreed.map(|at| &self.candidates[at].forecast) else { return true };
        let Some(budget) = self.view.keyspaces.iter().filter_map(|k| k.budget).min() else {
            return agreed.unserved > Share::NONE;
        };
        // Left again when a quorum is well within the budget.
        let runs = self.runs(EngineKind::Eventual);
        let budget = if runs { self.policy.gain_min.rest().part(budget) } else { budget };
        agreed.unserved > Share::NONE || budget < agreed.cost.as_nanos()
    }

    /// Whether keyspaces are of both classes, or owned by several regions.
    fn mixed(&self) -> bool {
        let of = |class| self.view.keyspaces.iter().filter(move |k| k.class == class);
        let owners: BTreeSet<usize> = of(Class::Strong).filter_map(|k| self.owner(k)).collect();
        owners.len() > 1 || of(Class::Strong).next().is_some() && of(Class::Mergeable).next().is_some()
    }

    /// Why a leader is taken whatever else would save: few regions, near each other.
    fn near(&self, facts: &Facts) -> Option<Refused> {
        let (rtt, least) = (facts.rtt_max?, self.policy.near_rtt_max);
        let few = facts.homes <= u16::from(self.policy.near_regions_max);
        (few && rtt < least).then_some(Refused::Near { rtt, least })
    }

    /// Why EPaxos is not for here.
    fn unfit(&self, facts: &Facts) -> Option<Refused> {
        let needs = u16::from(self.policy.epaxos_regions_min);
        if facts.homes < needs {
            return Some(Refused::FewRegions { have: facts.homes, needs });
        }
        if facts.members > crate::epaxos::GROUP_MAX as u16 {
            return Some(Refused::NotAllowed);
        }
        if let Some((region, share)) = facts.writer.filter(|(_, share)| *share > facts.writer_max) {
            return Some(Refused::Concentrated { region, share, max: facts.writer_max });
        }
        let (share, max) = (facts.conflict, facts.conflict_max);
        (share > max).then_some(Refused::Conflicts { share, max })
    }

    fn facts(&self) -> Facts {
        let view = self.view;
        let homes = view.homes();
        let pairs = homes.iter().flat_map(|a| homes.iter().map(move |b| (*a, *b)));
        let rtt_max = pairs.map(|(a, b)| self.model.rtt(At::Mean, a, b)).max().unwrap_or(0);
        let all: u128 = view.writes.iter().map(|w| u128::from(*w)).sum();
        let most = view.writes.iter().enumerate().max_by_key(|(r, w)| (**w, core::cmp::Reverse(*r)));
        let share = |(r, w): (usize, &u64)| -> (RegionId, Share) {
            (view.regions[r], Share::of(u128::from(*w), all))
        };
        let running = self.runs(EngineKind::EPaxos);
        let strong = view.keyspaces.iter().filter(|k| k.class == Class::Strong).count();
        Facts {
            homes: homes.len() as u16,
            members: view.members.len() as u16,
            up: view.up.iter().filter(|up| **up).count() as u16,
            rtt_max: (rtt_max != NEVER).then_some(Duration::nanos(rtt_max)),
            conflict: view.conflict,
            conflict_max: self.policy.conflict_max(view.members.len(), running),
            writer: most.map(share),
            writer_max: if running {
                self.policy.epaxos_writers_leave
            } else {
                self.policy.epaxos_writers_enter
            },
            cut_off: Share::NONE,
            strong: strong as u32,
            mergeable: (view.keyspaces.len() - strong) as u32,
        }
    }

    /// Why a candidate that nothing speaks against outright is not the pick.
    fn why_not(&self, at: usize, pick: Option<usize>, facts: &Facts) -> Refused {
        let engine = |at: usize| self.candidates[at].placement.engine;
        let alike = |pick| engine(pick) == EngineKind::MultiPaxos && self.key(at) == self.key(pick);
        let own = match engine(at) {
            EngineKind::Raft if pick.is_some_and(alike) => Some(Refused::Alike),
            EngineKind::EPaxos => self.unfit(facts).or_else(|| self.near(facts)),
            EngineKind::Eventual if !self.wants_local(self.agreed(facts).1) => Some(Refused::WithinBudget),
            EngineKind::Hybrid if !self.mixed() => Some(Refused::NotMixed),
            _ => None,
        };
        let Some(pick) = pick else { return own.unwrap_or(Refused::EarlierRule) };
        let (mine, best) = (self.key(at), self.key(pick));
        own.unwrap_or(if mine.0 > best.0 {
            Refused::ServesFewer
        } else if mine.1 > best.1 {
            Refused::Slower { cost: mine.1, best: best.1 }
        } else {
            Refused::EarlierRule
        })
    }
}

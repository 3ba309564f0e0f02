//! The choice in words.

use super::choice::{Candidate, Choice, EngineKind, Facts, Forecast, Placement, Refused, Rule};
use super::decision::{Brake, Decision, Verdict, Why};
use super::quantity::Share;
use crate::quorum::{RegionRule, System};
use alloc::string::{String, ToString};
use core::fmt::{self, Write};
use dwcp_env::{Duration, NodeId};

/// A span in milliseconds with one decimal.
struct Ms(Duration);

impl fmt::Display for Ms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = self.0.as_nanos().saturating_add(50_000) / 100_000;
        write!(f, "{}.{} ms", tenths / 10, tenths % 10)
    }
}

/// A share as people say it: one decimal, and none where it says nothing.
struct About(Share);

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millionths = self.0.as_millionths();
        match (millionths + 500) / 1_000 {
            0 if millionths > 0 => write!(f, "less than 0.1%"),
            tenths if tenths % 10 == 0 => write!(f, "{}%", tenths / 10),
            tenths => write!(f, "{}.{}%", tenths / 10, tenths % 10),
        }
    }
}

/// Quorums in a few words.
struct Quorums<'a>(&'a System);

impl fmt::Display for Quorums<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            System::Majority { members } => write!(f, "majorities of {members}"),
            System::Threshold { members, prepare, accept, .. } => {
                write!(f, "{accept} of {members} to decide and {prepare} to elect")
            }
            System::Grid { rows, columns } => write!(f, "a grid of {rows} x {columns}"),
            System::Weighted { accept, .. } => write!(f, "{accept} votes"),
            System::Regional { rule: RegionRule::InRegion, .. } => write!(f, "a majority of one region"),
            System::Regional { .. } => write!(f, "majorities of a majority of regions"),
            System::Witness { members, .. } => write!(f, "majorities of {members} with a witness"),
            System::Byzantine { members } => write!(f, "quorums of {members} that share an honest member"),
        }
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.engine.name())?;
        if let Some(leader) = self.leader {
            write!(f, " led by {leader}")?;
        }
        if let Some(system) = self.quorums.as_ref().filter(|_| self.engine != EngineKind::Pbft) {
            write!(f, " with {}", Quorums(system))?;
        }
        for (at, part) in self.parts.iter().enumerate() {
            write!(f, "{} keyspace {} ", if at == 0 { ":" } else { "," }, part.keyspace)?;
            match part.leader {
                Some(leader) => write!(f, "led by {leader}")?,
                None => write!(f, "{}", part.engine.name())?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.serves() {
            return write!(f, "serves nobody");
        }
        write!(f, "{} on average, {} at p99", Ms(self.mean), Ms(self.p99))?;
        if self.unserved.as_millionths() > 0 {
            write!(f, ", {} of the writes without a quorum", About(self.unserved))?;
        }
        Ok(())
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EarlierRule => write!(f, "an earlier rule matched"),
            Self::NotAllowed => write!(f, "the policy does not allow it"),
            Self::Untrusted => write!(f, "its members must be trusted, and they are not"),
            Self::NoQuorum => write!(f, "too few members are up, or reach each other, for a quorum"),
            Self::FewMembers { have, needs } => write!(f, "{have} members; it needs {needs}"),
            Self::Trusted => write!(f, "nobody is distrusted"),
            Self::StrongClass => write!(f, "a keyspace is declared strong, and is not weakened"),
            Self::WithinBudget => write!(f, "everybody reaches a quorum within the budget"),
            Self::NotMixed => write!(f, "keyspaces are of one class and owned alike"),
            Self::Near { rtt, least } => {
                write!(f, "regions are at most {} apart; used from {} on", Ms(*rtt), Ms(*least))
            }
            Self::FewRegions { have, needs } => write!(f, "{have} regions; used from {needs} on"),
            Self::Alike => {
                write!(f, "as many round trips as the pick, and longer pauses when a leader fails")
            }
            Self::Conflicts { share, max } => {
                write!(f, "{} of the writes conflict; used up to {max}", About(*share))
            }
            Self::Concentrated { region, share, max } => {
                write!(f, "{} of the writes come from {region}; used up to {max}", About(*share))
            }
            Self::RegionLoss => write!(f, "the loss of a region would stop it"),
            Self::ServesFewer => write!(f, "fewer writes would reach a quorum"),
            Self::Slower { cost, best } => write!(f, "costs {}, the pick {}", Ms(*cost), Ms(*best)),
        }
    }
}

/// The rule with the numbers it looked at.
struct Because<'a>(Rule, &'a Facts);

impl fmt::Display for Because<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let facts = self.1;
        match self.0 {
            Rule::StaysByzantine => write!(f, "PBFT is left by an operator only"),
            Rule::Untrusted => write!(f, "members may lie"),
            Rule::Mergeable if facts.cut_off.as_millionths() > 0 => {
                write!(f, "all data is mergeable, and {} of the writes reach no quorum", About(facts.cut_off))
            }
            Rule::Mergeable => write!(f, "all data is mergeable, and a quorum is beyond its writers' budget"),
            Rule::Locality if facts.strong > 0 && facts.mergeable > 0 => {
                write!(f, "{} keyspaces are strong and {} mergeable", facts.strong, facts.mergeable)
            }
            Rule::Locality => write!(f, "keyspaces are owned by different regions"),
            Rule::Near if facts.homes <= 1 => write!(f, "all members are in one region"),
            Rule::Near => {
                let rtt = Ms(facts.rtt_max.unwrap_or_default());
                write!(f, "members are in {} regions, at most {rtt} apart", facts.homes)
            }
            Rule::Leaderless => {
                let conflict = About(facts.conflict);
                write!(f, "it costs less than any leader, and {conflict} of the writes conflict")?;
                write!(f, " (allowed {})", facts.conflict_max)?;
                match facts.writer.filter(|_| facts.writer_max < Share::WHOLE) {
                    Some((region, share)) => {
                        let (share, max) = (About(share), facts.writer_max);
                        write!(f, "; {share} of them come from {region} (allowed {max})")
                    }
                    None => Ok(()),
                }
            }
            Rule::Leader => {
                write!(f, "no earlier rule matched, and no other place of the leader costs less")?;
                let conflict = About(facts.conflict);
                match facts.writer {
                    Some((region, share)) => {
                        let share = About(share);
                        write!(f, " ({share} of the writes come from {region}, {conflict} of all conflict)")
                    }
                    None => write!(f, " ({conflict} of the writes conflict)"),
                }
            }
            Rule::Nothing => {
                write!(
                    f,
                    "nothing that is allowed serves anybody: {} of {} members are up",
                    facts.up, facts.members
                )
            }
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trust => write!(f, "members may lie"),
            Self::Class => write!(f, "a keyspace is strong and must be agreed on"),
            Self::Policy => write!(f, "the policy does not allow what runs"),
            Self::Restored => write!(f, "a quorum is within the writers' budget again"),
            Self::Serves => write!(f, "more writes reach a quorum"),
            Self::Saves(share) => write!(f, "saves {} of the predicted cost", About(*share)),
            Self::Same => write!(f, "what runs is what the rules pick"),
            Self::Idle => {
                write!(f, "a change would be cheaper for writes from everywhere, and nobody writes")
            }
            Self::TooLittle(Share::NONE) => write!(f, "a change would save nothing"),
            Self::TooLittle(share) => {
                write!(f, "a change would save only {} of the predicted cost", About(*share))
            }
            Self::Nothing => write!(f, "there is nothing to change to"),
        }
    }
}

impl fmt::Display for Brake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SealInFlight => write!(f, "a seal is in flight"),
            Self::Dwell { left, returns: 0 } => {
                write!(f, "the last change is too fresh: {} more", Secs(*left))
            }
            Self::Dwell { left, returns } => {
                write!(f, "it went back {returns} time(s) lately, so it waits longer: {} more", Secs(*left))
            }
            Self::DryRun => write!(f, "the policy is a dry run"),
        }
    }
}

struct Secs(Duration);

impl fmt::Display for Secs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0.as_nanos().div_ceil(1_000_000_000))
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stay => write!(f, "stay"),
            Self::Transfer(to) => write!(f, "hand leadership to {to}, within the epoch"),
            Self::Seal(to) => write!(f, "seal, and go on with {to}"),
        }
    }
}

impl Choice {
    /// The pick and its reason in two sentences, then every other kind of candidate with what speaks against it.
    #[must_use]
    pub fn explain(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> fmt::Result {
        let because = Because(self.rule, &self.facts);
        match self.picked() {
            Some(pick) => {
                writeln!(text, "Pick: {}, because {because}.", pick.placement)?;
                writeln!(text, "Predicted commit: {}.", pick.forecast)?;
            }
            None => writeln!(text, "Pick: none, because {because}.")?,
        }
        writeln!(text, "Not picked:")?;
        for engine in EngineKind::ALL {
            // Of each engine its best; the others differ in who leads.
            let of = self.candidates.iter().filter(|c| c.placement.engine == engine && c.refused.is_some());
            let best = of.min_by_key(|c| (c.forecast.unserved, c.forecast.cost));
            match best {
                Some(Candidate { placement, forecast, refused: Some(refused), .. }) => {
                    writeln!(text, "  {placement}: {refused} ({forecast}).")?;
                }
                _ if engine == EngineKind::Pbft && self.facts.members < 4 => {
                    let few = Refused::FewMembers { have: self.facts.members, needs: 4 };
                    writeln!(text, "  PBFT: {few}.")?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Predicted latencies by client region, of the pick and of the best of each other engine, as a table.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "{:<24} {:>8} {:>20} {:>20} {:>20}",
            "engine, leader", "clients", "mean", "p50", "p99"
        );
        for (at, candidate) in self.candidates.iter().enumerate() {
            let same = |c: &&Candidate| c.placement.engine == candidate.placement.engine;
            let best =
                self.candidates.iter().filter(same).min_by_key(|c| (c.forecast.unserved, c.forecast.cost));
            if Some(at) != self.pick && best != Some(candidate) {
                continue;
            }
            let leader = candidate.placement.leader.map_or_else(String::new, |n: NodeId| n.to_string());
            for (region, latency) in self.regions.iter().zip(&candidate.forecast.by_region) {
                let name = alloc::format!("{} {leader}", candidate.placement.engine.name());
                let figures = latency.map_or(["-".into(), "-".into(), "-".into()], |l| {
                    [l.mean, l.p50, l.p99].map(|d| Ms(d).to_string())
                });
                let [mean, p50, p99] = figures;
                let region = region.to_string();
                let _ = writeln!(text, "{name:<24} {region:>8} {mean:>20} {p50:>20} {p99:>20}");
            }
        }
        text
    }
}

impl Verdict {
    /// What runs, what was chosen and why, what is done about it and why not more.
    #[must_use]
    pub fn explain(&self, running: &Placement) -> String {
        let mut text = String::new();
        let now = self.choice.of(running).map(|c| alloc::format!(" ({})", c.forecast)).unwrap_or_default();
        let _ = writeln!(text, "Running: {running}{now}.");
        text.push_str(&self.choice.explain());
        let _ = match &self.brake {
            Some(brake) => writeln!(text, "Decision: stay, as {brake}; else {}: {}.", self.wanted, self.why),
            None => writeln!(text, "Decision: {}: {}.", self.decision, self.why),
        };
        text
    }
}

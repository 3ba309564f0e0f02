//! What faults add to a link.

use super::{Fate, FaultKind, Fired, Key, Link, Message, Narrows, Passage, place};
use crate::fault::Effect;
use crate::trace::Lost;
use bytes::Bytes;
use dwcp_env::{Duration, Lane, Purpose, Rate, Ratio, wire};

const DROP: Purpose = Purpose::named("net.drop");
const CORRUPT: Purpose = Purpose::named("net.corrupt");
const CORRUPT_BIT: Purpose = Purpose::named("net.corrupt_bit");
const JITTER: Purpose = Purpose::named("net.jitter");
const REORDER: Purpose = Purpose::named("net.reorder");
const REORDER_BY: Purpose = Purpose::named("net.reorder_by");
const DUPLICATE: Purpose = Purpose::named("net.duplicate");
const DUPLICATE_BY: Purpose = Purpose::named("net.duplicate_by");

/// A fault of links that is on, with the end of its window.
#[derive(Clone, Debug)]
pub(crate) struct LinkFault {
    pub(crate) effect: Effect,
    pub(crate) until: u64,
}

/// All that is wrong with a link at the moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Burden {
    cut: bool,
    cut_one_way: bool,
    clogged_until: u64,
    extra: Duration,
    jitter: Duration,
    reorder: Ratio,
    reorder_by: Duration,
    duplicate: Ratio,
    duplicate_by: Duration,
    drop: Ratio,
    burst: u32,
    pub(super) burst_left: u32,
    narrow: Option<(Rate, u64)>,
    corrupt: Ratio,
    corrupt_bits: u32,
}

fn more(a: Ratio, b: Ratio) -> Ratio {
    let (x, y) = (u64::from(a.num) * u64::from(b.den), u64::from(b.num) * u64::from(a.den));
    if x >= y { a } else { b }
}

impl Burden {
    /// Adds a fault; of two of a kind the stronger acts.
    pub(crate) fn add(&mut self, fault: &LinkFault) {
        match fault.effect {
            Effect::Partition {} => self.cut = true,
            Effect::PartitionOneWay {} => self.cut_one_way = true,
            Effect::Clog {} => self.clogged_until = self.clogged_until.max(fault.until),
            Effect::Delay { extra, jitter } => {
                self.extra += extra;
                self.jitter = self.jitter.max(jitter);
            }
            Effect::Reorder { rate, extra } => {
                self.reorder = more(self.reorder, rate);
                self.reorder_by = self.reorder_by.max(extra);
            }
            Effect::Duplicate { rate, extra } => {
                self.duplicate = more(self.duplicate, rate);
                self.duplicate_by = self.duplicate_by.max(extra);
            }
            Effect::Drop { rate, burst } => {
                self.drop = more(self.drop, rate);
                self.burst = self.burst.max(burst);
            }
            Effect::Bandwidth { rate, queue } => {
                let tighter = self.narrow.is_none_or(|(r, _)| rate < r);
                if tighter {
                    self.narrow = Some((rate, queue.0));
                }
            }
            Effect::CorruptPacket { rate, bits } => {
                self.corrupt = more(self.corrupt, rate);
                self.corrupt_bits = self.corrupt_bits.max(bits).max(1);
            }
            _ => {}
        }
    }

    /// Whether the message is lost, and through what.
    fn loses(&mut self, key: &Key, fired: &mut Fired) -> Option<Lost> {
        if self.cut || self.cut_one_way {
            fired.count(if self.cut { FaultKind::Partition } else { FaultKind::PartitionOneWay });
            return Some(Lost::Cut);
        }
        let hit = self.drop.num > 0 && self.drop.hit(key.draw(DROP));
        if self.drop.num == 0 {
            self.burst_left = 0;
        } else if self.burst_left == 0 && hit {
            self.burst_left = self.burst.max(1);
        }
        if self.burst_left > 0 {
            self.burst_left -= 1;
            fired.count(FaultKind::Drop);
            return Some(Lost::Loss);
        }
        None
    }

    /// The frame after its way: as it was, altered but checking, or none.
    fn corrupts(&self, key: &Key, lane: Lane, body: &Bytes, fired: &mut Fired) -> Option<Result<Bytes, ()>> {
        if self.corrupt.num == 0 || !self.corrupt.hit(key.draw(CORRUPT)) {
            return None;
        }
        let frame = wire::frame(lane as u8, body).ok()?;
        let mut bytes = frame.to_vec();
        let bits = bytes.len() as u64 * 8;
        let flips = 1 + key.below(u64::from(self.corrupt_bits), CORRUPT_BIT);
        for k in 0..flips {
            let bit = ((u128::from(key.nth(CORRUPT_BIT, k)) * u128::from(bits)) >> 64) as u64;
            bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
        }
        if bytes[..] == frame[..] {
            // Flipped there and back.
            return None;
        }
        fired.count(FaultKind::CorruptPacket);
        // The same checks as in production decide.
        Some(wire::parse(&bytes.into()).map(|(_, body)| body).map_err(drop))
    }
}

impl Link {
    /// Sends over a link that has a rate or faults.
    pub(super) fn pass_narrow(
        &mut self,
        narrows: &mut Narrows,
        m: &Message<'_>,
        fired: &mut Fired,
    ) -> Passage {
        let mut burden = narrows.burden.take();
        let passage = match &mut burden {
            Some(burden) => self.pass_burdened(narrows, burden, m, fired),
            None => match narrows.queue(m, m.own.0, m.own.1) {
                Some(departs) => {
                    let at = self.in_order(m.lane, departs + m.way);
                    Passage { fate: Fate::Arrives(at), copy: None, altered: None }
                }
                None => Passage::lost(Lost::Queue),
            },
        };
        narrows.burden = burden;
        passage
    }

    fn pass_burdened(
        &mut self,
        narrows: &mut Narrows,
        burden: &mut Burden,
        m: &Message<'_>,
        fired: &mut Fired,
    ) -> Passage {
        if let Some(why) = burden.loses(&m.key, fired) {
            return Passage::lost(why);
        }
        let (rate, room) = burden.narrow.unwrap_or(m.own);
        let free = narrows.free[place(m.lane)];
        let Some(departs) = narrows.queue(m, rate, room) else {
            if burden.narrow.is_some() {
                fired.count(FaultKind::Bandwidth);
            }
            return Passage::lost(Lost::Queue);
        };
        if burden.narrow.is_some() && free > m.now {
            fired.count(FaultKind::Bandwidth);
        }
        let altered = match burden.corrupts(&m.key, m.lane, m.body, fired) {
            Some(Err(())) => return Passage::lost(Lost::Corrupt),
            Some(Ok(body)) => Some(body),
            None => None,
        };
        let mut at = departs + m.way + burden.extra.as_nanos();
        if burden.jitter > Duration::ZERO {
            at += m.key.below(burden.jitter.as_nanos() + 1, JITTER);
        }
        if at > departs + m.way {
            fired.count(FaultKind::Delay);
        }
        if burden.clogged_until > at {
            at = burden.clogged_until;
            fired.count(FaultKind::Clog);
        }
        let overtakable = &mut narrows.overtakable[place(m.lane)];
        let at = self.reordered(overtakable, burden, at, m, fired);
        Passage { fate: Fate::Arrives(at), copy: duplicate(burden, at, &m.key, fired), altered }
    }

    /// A message that is let be overtaken does not hold up the later ones.
    fn reordered(
        &mut self,
        overtakable: &mut u64,
        burden: &Burden,
        at: u64,
        m: &Message<'_>,
        fired: &mut Fired,
    ) -> u64 {
        if burden.reorder.num == 0 || !burden.reorder.hit(m.key.draw(REORDER)) {
            let at = self.in_order(m.lane, at);
            if m.lane != Lane::Datagram && at < *overtakable {
                fired.count(FaultKind::Reorder);
            }
            return at;
        }
        let late = at + m.key.below(burden.reorder_by.as_nanos() + 1, REORDER_BY);
        if m.lane == Lane::Datagram {
            fired.count(FaultKind::Reorder);
            return late;
        }
        if late < self.last[m.lane as usize] {
            // It overtakes one sent before it.
            fired.count(FaultKind::Reorder);
        } else if late > at {
            *overtakable = late.max(*overtakable);
        }
        late
    }
}

fn duplicate(burden: &Burden, at: u64, key: &Key, fired: &mut Fired) -> Option<u64> {
    if burden.duplicate.num == 0 || !burden.duplicate.hit(key.draw(DUPLICATE)) {
        return None;
    }
    fired.count(FaultKind::Duplicate);
    Some(at + 1 + key.below(burden.duplicate_by.as_nanos() + 1, DUPLICATE_BY))
}

//! Requests: own proposals into bundles, bundles into batches, and for how long one may wait.
//!
//! A member keeps `outstanding` bundles under way; what is proposed meanwhile goes into the next, so bundles
//! grow with the load. A bundle goes to the primary; after half a patience without effect to everybody,
//! and everybody then waits for it: a primary that ignores one member is found out by all. Each bundle a
//! member knows has its own time of arrival, so that a primary that serves everybody but one is found out too.
//!
//! Each origin may have [`super::config::OUTSTANDING_MAX`] bundles in the pool, of one lifetime, and no more bytes
//! than a correct one keeps under way: a flood hurts its origin.

use super::bundle::{self, BATCH_BYTES, BODY_BYTES_MAX, BUNDLES_MAX, Batch, Bundle, Name, PAYLOADS_MAX};
use super::crypto::{Kind, Signature};
use super::{Bug, Message, Mine, Out, Pbft, Record, Waiting, planted};
use crate::engine::{EngineError, Token};
use crate::step::{Fault, Output, Payload};
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use dwcp_env::{Duration, Instant};

/// Payloads and bytes that wait here for a bundle; beyond, proposals are refused.
const QUEUE_MAX: usize = 65_536;
const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;
const READS_MAX: usize = 65_536;
/// Names of forgotten bundles that a primary's list may hold beside as many as wait.
const UNORDERED_SLACK: usize = 64;
/// A patience doubles at most this often: 256 times the configured one.
const DOUBLINGS_MAX: u32 = 8;

impl Pbft {
    pub(super) fn propose(&mut self, proposals: Vec<(Token, Payload)>, out: &mut Out) {
        for (token, payload) in proposals {
            let room = self.queue.len() < QUEUE_MAX && self.queue_bytes + payload.len() <= QUEUE_BYTES_MAX;
            let holds = !matches!(&payload, Payload::Seal(seal) if !self.config.seal_holds(seal));
            if room && holds && payload.len() + 5 <= BODY_BYTES_MAX {
                self.queue_bytes += payload.len();
                self.queue.push_back((token, payload));
            } else {
                let why = if !holds {
                    let what =
                        "a seal without the operator's signature over this epoch and the successor's record";
                    format!("{what}: have the operator sign it")
                } else if payload.len() + 5 > BODY_BYTES_MAX {
                    format!("a command of {} bytes; at most {} are taken", payload.len(), BODY_BYTES_MAX - 5)
                } else {
                    "more proposals wait than may: try again later".to_string()
                };
                out.push(Output::Refused { token, error: EngineError::Refused(why) });
            }
        }
    }

    /// A read takes a place in the order: what was decided before it was asked for has an earlier one.
    pub(super) fn read(&mut self, token: Token, out: &mut Out) {
        if self.reads.len() < READS_MAX {
            self.reads.push_back(token);
        } else {
            let why = "more reads wait than may: try again later";
            out.push(Output::Refused { token, error: EngineError::Refused(why.to_string()) });
        }
    }

    pub(super) fn bundle_up(&mut self, now: Instant, out: &mut Out) {
        while (self.mine.len() as u64) < self.config.outstanding
            && (!self.queue.is_empty() || !self.reads.is_empty())
            // Names count from the first bundle that has not taken effect: stay within what others accept.
            && self.mine.first_key_value().is_none_or(|(first, _)| {
                self.number + 1 - first < super::config::OUTSTANDING_MAX
            })
        {
            if self.born.is_none() {
                // A member that lost its disk hears from the order how often it has lived.
                self.lifetime = self.lifetime.max(self.point.seen[self.me()].lifetime()) + 1;
                self.number = 0;
                self.born = Some(self.persist(Record::Lifetime(self.lifetime), out));
            }
            let mut tokens = Vec::new();
            let mut payloads = Vec::new();
            let mut bytes = 0;
            while payloads.len() < PAYLOADS_MAX
                && let Some((_, payload)) = self.queue.front()
                && (payloads.is_empty() || bytes + payload.len() + 5 <= BATCH_BYTES)
            {
                let Some((token, payload)) = self.queue.pop_front() else { break };
                self.queue_bytes -= payload.len();
                bytes += payload.len() + 5;
                tokens.push(token);
                // One seal a bundle, so that nobody has others verify thousands.
                let last = matches!(payload, Payload::Seal(_));
                payloads.push(payload);
                if last {
                    break;
                }
            }
            self.number += 1;
            let name = Name { origin: self.me() as u8, lifetime: self.lifetime, number: self.number };
            let mut bundle =
                Bundle { name, body: bundle::pack(payloads.iter()), signature: Signature::default() };
            bundle.signature = self.config.sign(Kind::Bundle, &bundle.digest(&self.config.realm));
            let reads = self.reads.drain(..).collect();
            let mine = Mine { bundle: bundle.clone(), tokens, reads, sent: now, since: now };
            self.mine.insert(self.number, mine);
            self.hand_in(now, bundle, out);
        }
    }

    /// Gives an own bundle to the primary.
    fn hand_in(&mut self, now: Instant, bundle: Bundle, out: &mut Out) {
        let primary = self.config.primary(self.view);
        if primary == self.me() {
            self.know(now, bundle, false);
        } else if self.active && self.pace.complains() {
            self.send_all(&Message::Request(bundle), self.born, out);
        } else if self.active {
            self.send(primary, Message::Request(bundle), self.born, out);
        }
    }

    /// Hands all own bundles to the primary of a view just entered.
    pub(super) fn hand_in_again(&mut self, now: Instant, out: &mut Out) {
        let bundles: Vec<Bundle> = self.mine.values().map(|m| m.bundle.clone()).collect();
        for bundle in bundles {
            self.hand_in(now, bundle, out);
        }
    }

    /// Whether the origin said this, in a shape a correct one says.
    pub(super) fn check_bundle(&self, bundle: &Bundle) -> Result<(), Fault> {
        let origin = usize::from(bundle.name.origin);
        if origin >= self.config.n() {
            return Err(Fault::Bound);
        }
        let known = self.pool.get(&bundle.name).is_some_and(|waiting| waiting.bundle == *bundle);
        if !known {
            bundle.check(|seal| self.config.seal_holds(seal))?;
        }
        let signed = || {
            let digest = bundle.digest(&self.config.realm);
            self.config.signed_by(origin, Kind::Bundle, &digest, &bundle.signature)
        };
        let holds = known || planted::is(Bug::BundleUnsigned) || signed();
        holds.then_some(()).ok_or(Fault::Forged)
    }

    fn wanted(&self, name: Name) -> bool {
        self.point.seen[usize::from(name.origin)].fresh(name.lifetime, name.number)
            && !self.pool.contains_key(&name)
    }

    /// Since when this member knows a bundle that has no place yet.
    pub(super) fn known_since(&self, name: Name) -> Option<Instant> {
        if usize::from(name.origin) == self.me() && name.lifetime == self.lifetime && self.born.is_some() {
            return self.mine.get(&name.number).map(|mine| mine.since);
        }
        self.pool.get(&name).filter(|waiting| !waiting.ordered).map(|waiting| waiting.since)
    }

    pub(super) fn on_request(&mut self, now: Instant, bundle: Bundle, out: &mut Out) -> Result<(), Fault> {
        if usize::from(bundle.name.origin) >= self.config.n() {
            return Err(Fault::Bound);
        }
        if self.wanted(bundle.name) {
            self.check_bundle(&bundle)?;
            self.know(now, bundle.clone(), false);
            // Its origin complains: nobody is to make the primary look slow by keeping this from it.
            let primary = self.config.primary(self.view);
            if self.active && primary != self.me() && self.pool.contains_key(&bundle.name) {
                self.send(primary, Message::Request(bundle), None, out);
            }
        }
        Ok(())
    }

    /// A checked bundle waits for its place from now on.
    pub(super) fn know(&mut self, now: Instant, bundle: Bundle, ordered: bool) {
        let name = bundle.name;
        if let Some(waiting) = self.pool.get_mut(&name) {
            waiting.ordered |= ordered;
            return;
        }
        let of_origin =
            Name { lifetime: 0, number: 0, ..name }..=Name { lifetime: u64::MAX, number: u64::MAX, ..name };
        let newest = self.pool.range(of_origin.clone()).next_back().map_or(0, |(n, _)| n.lifetime);
        if !self.wanted(name) || name.lifetime < newest {
            return;
        }
        if name.lifetime > newest {
            let older: Vec<Name> = self.pool.range(of_origin).map(|(n, _)| *n).collect();
            older.into_iter().for_each(|n| self.forget(n));
        } else {
            let held: usize = self.pool.range(of_origin).map(|(_, w)| w.bundle.body.len()).sum();
            let most = (self.config.outstanding as usize + 1) * BODY_BYTES_MAX;
            if held + bundle.body.len() > most {
                return;
            }
        }
        self.arrivals += 1;
        self.arrived.insert(self.arrivals, name);
        self.pool.insert(name, Waiting { bundle, since: now, arrival: self.arrivals, ordered });
        // A view of its own begins with this list made anew: who does not lead keeps none.
        if !ordered && self.leads() {
            self.unordered.push_back(name);
            if self.unordered.len() > 2 * self.pool.len() + UNORDERED_SLACK {
                self.unordered.retain(|name| self.pool.contains_key(name));
            }
        }
    }

    pub(super) fn forget(&mut self, name: Name) {
        if let Some(waiting) = self.pool.remove(&name) {
            self.arrived.remove(&waiting.arrival);
        }
    }

    /// Forgets bundles that will have no effect any more.
    pub(super) fn forget_past(&mut self) {
        let past =
            |name: &&Name| !self.point.seen[usize::from(name.origin)].fresh(name.lifetime, name.number);
        let past: Vec<Name> = self.pool.keys().filter(past).copied().collect();
        past.into_iter().for_each(|name| self.forget(name));
    }

    /// Bundles wait again, all but those that the view just entered carries on.
    pub(super) fn wait_again(&mut self) {
        let mut carried: Vec<Name> = Vec::new();
        for digest in self.entered.iter().flat_map(|view| &view.chosen) {
            if let Some(held) = self.batches.get(digest) {
                carried.extend(held.batch.bundles.iter().map(|b| b.name));
            }
        }
        carried.sort_unstable();
        for waiting in self.pool.values_mut() {
            waiting.ordered = carried.binary_search(&waiting.bundle.name).is_ok();
        }
        self.unordered = self.arrived.values().filter(|name| !self.pool[name].ordered).copied().collect();
    }

    /// What the next place is to carry, if anything waits.
    pub(super) fn next_batch(&mut self) -> Option<Batch> {
        let mut batch = Batch::default();
        while batch.bundles.len() < BUNDLES_MAX
            && let Some(name) = self.unordered.front()
        {
            if let Some(waiting) = self.pool.get_mut(name).filter(|waiting| !waiting.ordered) {
                let size: usize = batch.bundles.iter().map(|b| b.body.len()).sum();
                if !batch.bundles.is_empty() && size + waiting.bundle.body.len() > BATCH_BYTES {
                    break;
                }
                waiting.ordered = true;
                batch.bundles.push(waiting.bundle.clone());
            }
            self.unordered.pop_front();
        }
        (!batch.bundles.is_empty()).then_some(batch)
    }

    /// The patience of this view.
    pub(super) fn patience(&self) -> Duration {
        self.config.patience * (1 << self.failed.min(DOUBLINGS_MAX))
    }

    /// When this member leaves its view, if nothing happens.
    pub(super) fn deadline(&self) -> Instant {
        if !self.active {
            return self.asked_at.map_or(Instant::FAR, |at| at + self.patience());
        }
        let oldest = self.arrived.first_key_value().and_then(|(_, name)| self.pool.get(name));
        oldest.map_or(Instant::FAR, |waiting| waiting.since.max(self.entered_at) + self.patience())
    }

    /// Tells everybody of own bundles that have waited for half a patience, and the primary of others'.
    pub(super) fn appeal(&mut self, now: Instant, out: &mut Out) {
        let half = self.config.patience / 2;
        let late: Vec<Bundle> = self
            .mine
            .values_mut()
            .filter(|mine| now.since(mine.sent) >= half)
            .map(|mine| {
                mine.sent = now;
                mine.bundle.clone()
            })
            .collect();
        for bundle in late {
            self.counts.appealed += 1;
            self.send_all(&Message::Request(bundle.clone()), self.born, out);
            self.know(now, bundle, false);
        }
        let primary = self.config.primary(self.view);
        if primary == self.me() || !self.active {
            return;
        }
        for name in self.arrived.values().take(8) {
            if let Some(waiting) = self.pool.get(name)
                && !waiting.ordered
                && usize::from(name.origin) != self.me()
            {
                self.send(primary, Message::Request(waiting.bundle.clone()), None, out);
            }
        }
    }
}

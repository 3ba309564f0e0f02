//! Blocks and prefixes: added, split, lent, taken back.
//!
//! ```text
//!   the fleet:  free ──lend──► to R, epoch e ───────────────────────────────► free
//!   region R:                       └─► Active e ──► Returning e ──► Returned e ┘
//! ```
//!
//! R takes epoch e only if it never had e or more; the fleet takes back epoch e only if R says `Returned` at e. Between the
//! two, either side's record is what the other relies on and can't change under it.

use super::desk::Desk;
use super::fleet::active;
use super::{Planned, Step, Then};
use crate::cidr::{BLOCK_ADDRESSES_MAX, Cidr};
use crate::command::Answer;
use crate::key::{Key, Scope};
use crate::name::{Prefix, Region};
use crate::planted::{self, Bug};
use crate::record::{Held, HeldState, Lent, Thing};
use crate::refusal::{Code, Refusal};
use crate::view::Fetch;
use alloc::format;

/// The most parts that a block is split into at once.
const PARTS_MAX: u128 = 64;
/// The most blocks, and the most prefixes, of a fleet: all are read when one is added.
const THINGS_MAX: usize = 16_384;

fn full(at: &impl core::fmt::Display) -> Refusal {
    Refusal::new(Code::Invalid, at, format!("the fleet has {THINGS_MAX} of them already"), "use larger ones")
}

pub(super) fn add_block(desk: &mut Desk<'_>, block: Cidr) -> Planned {
    let key = Key::lent(&Thing::Block(block));
    if desk.get::<Lent>(&key)?.is_some() {
        return Ok(Step::Done(Answer::Done));
    }
    let all = desk.keys_settled(&Scope::Global, "block")?;
    if all.len() >= THINGS_MAX {
        return Err(full(&block).into());
    }
    for other in &all {
        if let Some(Thing::Block(other)) = other.thing()
            && other.overlaps(&block)
        {
            let what = format!("it shares addresses with {other}, which the fleet has");
            return Err(Refusal::new(Code::Exists, block, what, "add what lies beside it").into());
        }
    }
    desk.put(key, &Lent::default());
    desk.commit(Scope::Global, Then::Answer(Answer::Done))
}

pub(super) fn add_prefix(desk: &mut Desk<'_>, prefix: &Prefix) -> Planned {
    let key = Key::lent(&Thing::Prefix(prefix.clone()));
    if desk.get::<Lent>(&key)?.is_some() {
        return Ok(Step::Done(Answer::Done));
    }
    let all = desk.keys_settled(&Scope::Global, "prefix")?;
    if all.len() >= THINGS_MAX {
        return Err(full(prefix).into());
    }
    for other in &all {
        let other = other.last();
        if other.starts_with(prefix.as_str()) || prefix.as_str().starts_with(other) {
            let what = format!("names could begin with it and with {other}, which the fleet has");
            return Err(Refusal::new(Code::Exists, prefix, what, "use a prefix that begins otherwise").into());
        }
    }
    desk.put(key, &Lent::default());
    desk.commit(Scope::Global, Then::Answer(Answer::Done))
}

fn unknown(thing: &Thing) -> Refusal {
    Refusal::new(Code::NotFound, thing, "the fleet has no such block or prefix", "add it first")
}

pub(super) fn split(desk: &mut Desk<'_>, block: Cidr, length: u8) -> Planned {
    let mut parts = block.split(length);
    let (Some(first), Some(_)) = (parts.next(), parts.next()) else {
        let remedy = format!("give a prefix longer than {}", block.length());
        return Err(Refusal::new(
            Code::Invalid,
            "length",
            format!("/{length} does not split {block}"),
            remedy,
        )
        .into());
    };
    if block.size() / first.size() > PARTS_MAX {
        let remedy = format!("split in steps: at most into {PARTS_MAX}");
        return Err(Refusal::new(
            Code::Invalid,
            "length",
            format!("{block} has too many parts of /{length}"),
            remedy,
        )
        .into());
    }
    let key = Key::lent(&Thing::Block(block));
    let Some(lent) = desk.get::<Lent>(&key)? else {
        // Asked again: the parts are there, the whole is not.
        return if desk.get::<Lent>(&Key::lent(&Thing::Block(first)))?.is_some() {
            Ok(Step::Done(Answer::Done))
        } else {
            Err(unknown(&Thing::Block(block)).into())
        };
    };
    if let Some(region) = &lent.to {
        return Err(
            Refusal::new(Code::BadState, block, format!("{region} has it"), "take it back first").into()
        );
    }
    desk.remove(key);
    for part in block.split(length) {
        desk.put(Key::lent(&Thing::Block(part)), &Lent { epoch: lent.epoch, ..Lent::default() });
    }
    desk.commit(Scope::Global, Then::Answer(Answer::Done))
}

pub(super) fn lend(desk: &mut Desk<'_>, thing: &Thing, region: &Region) -> Planned {
    if let Thing::Block(block) = thing
        && block.size() > BLOCK_ADDRESSES_MAX
    {
        let what = format!("a region holds blocks of at most {BLOCK_ADDRESSES_MAX} addresses");
        return Err(Refusal::new(Code::Invalid, block, what, "split it first: dwcp address split").into());
    }
    let (global, regional) = (Key::lent(thing), Key::held(region, thing));
    desk.want([global.clone(), regional.clone()].map(Fetch::One))?;
    let Some(mut lent) = desk.get::<Lent>(&global)? else { return Err(unknown(thing).into()) };
    let done = lent.done.has(desk.key) && !planted::is(Bug::DoneTwice);
    match &lent.to {
        // It was lent by this request, and has come back since.
        to if done && to.as_ref() != Some(region) => return Ok(Step::Done(Answer::Done)),
        None => {
            active(desk, region)?;
            lent.epoch += 1;
            lent.to = Some(region.clone());
            lent.done.add(desk.key);
            desk.put(global, &lent);
            return desk.commit(Scope::Global, Then::Again);
        }
        Some(other) if other != region => {
            return Err(
                Refusal::new(Code::BadState, thing, format!("{other} has it"), "take it back first").into()
            );
        }
        Some(_) => {}
    }
    // The fleet takes `lent.epoch` back only after this region's record says `Returned` at that epoch: then it is not
    // lower any more, and the check below fails.
    let held = desk.get::<Held>(&regional)?;
    let used = held.as_ref().map_or(0, |held| held.used);
    match held {
        Some(held) if held.epoch >= lent.epoch && !planted::is(Bug::AdoptAnyEpoch) => match held.state {
            HeldState::Active => Ok(Step::Done(Answer::Done)),
            HeldState::Returning | HeldState::Returned => Err(Refusal::new(
                Code::BadState,
                thing,
                "it is on its way back",
                "wait until it is free, then lend it again",
            )
            .into()),
        },
        _ => {
            desk.put(regional, &Held { epoch: lent.epoch, state: HeldState::Active, used });
            desk.commit(Scope::Region(region.clone()), Then::Answer(Answer::Done))
        }
    }
}

pub(super) fn take_back(desk: &mut Desk<'_>, thing: &Thing, region: &Region) -> Planned {
    let (global, regional) = (Key::lent(thing), Key::held(region, thing));
    desk.want([global.clone(), regional.clone()].map(Fetch::One))?;
    let Some(mut lent) = desk.get::<Lent>(&global)? else { return Err(unknown(thing).into()) };
    let done = lent.done.has(desk.key) && !planted::is(Bug::DoneTwice);
    if lent.to.as_ref() != Some(region) || done {
        return Ok(Step::Done(Answer::Done));
    }
    let held = desk.get::<Held>(&regional)?;
    let used = held.as_ref().map_or(0, |held| held.used);
    match held {
        Some(held) if held.epoch == lent.epoch && held.state == HeldState::Returned => {
            // Only a higher epoch ends `Returned`, and there is none before the fleet's record changes.
            lent.to = None;
            lent.done.add(desk.key);
            desk.put(global, &lent);
            desk.commit(Scope::Global, Then::Answer(Answer::Done))
        }
        Some(held) if held.epoch == lent.epoch && held.state == HeldState::Active => {
            desk.put(regional, &Held { epoch: lent.epoch, state: HeldState::Returning, used });
            desk.commit(Scope::Region(region.clone()), Then::Again)
        }
        // Returning; or lent and never taken, which must not be taken any more.
        _ => {
            let (first, end) = Key::uses(region, thing);
            let uses = desk.keys(&first, &end)?.len();
            if uses > 0 {
                let what = format!("{uses} of it in use; nothing more is given of it");
                return Err(
                    Refusal::new(Code::InUse, thing, what, "it comes back when they are freed").into()
                );
            }
            desk.demand_empty(first, end);
            desk.put(regional, &Held { epoch: lent.epoch, state: HeldState::Returned, used: 0 });
            desk.commit(Scope::Region(region.clone()), Then::Again)
        }
    }
}

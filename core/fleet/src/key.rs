//! Where records lie: keys under one reserved prefix, which say themselves in which store.
//!
//! ```text
//!  /dwcp/fleet/g/region/<region>            /dwcp/fleet/r/<region>/vm/<number>
//!  /dwcp/fleet/g/host/<host>                /dwcp/fleet/r/<region>/place/<number>
//!  /dwcp/fleet/g/block/<first>-<length>     /dwcp/fleet/r/<region>/status/<number>
//!  /dwcp/fleet/g/prefix/<prefix>            /dwcp/fleet/r/<region>/past/<number>
//!  /dwcp/fleet/g/quota/<group>              /dwcp/fleet/r/<region>/name/<name>
//!  /dwcp/fleet/g/owner/<number>             /dwcp/fleet/r/<region>/host/<host>
//!                                           /dwcp/fleet/r/<region>/image/<image>
//!                                           /dwcp/fleet/r/<region>/block/<first>-<length>
//!                                           /dwcp/fleet/r/<region>/prefix/<prefix>
//!                                           /dwcp/fleet/r/<region>/quota/<group>
//!                                           /dwcp/fleet/r/<region>/addr/<4|6>/<hex>
//!                                           /dwcp/fleet/r/<region>/live/charter
//!                                           /dwcp/fleet/r/<region>/live/agent/<host>
//! ```
//!
//! What lies under `live/` ends with the life of the store: a backup leaves it out ([`Key::of_a_life`]).
//!
//! Addresses are hexadecimal of fixed width, so that a block is a range of keys. Which keyspaces the
//! scopes are is the node's to say: all may be one, since keys of different scopes never meet.

use crate::cidr::{self, Cidr, Family};
use crate::name::{Group, HostName, Image, Region, VmId, VmName};
use crate::record::Thing;
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;
use core::net::IpAddr;

/// What all keys begin with.
pub const ROOT: &str = "/dwcp/fleet/";

/// Which store.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Scope {
    /// The fleet's.
    Global,
    /// A region's.
    Region(Region),
}

impl Scope {
    /// The parts that its keys begin with.
    fn root(&self) -> [&str; 4] {
        match self {
            Self::Global => [ROOT, "g/", "", ""],
            Self::Region(region) => [ROOT, "r/", region.as_str(), "/"],
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Global => f.write_str("the fleet's store"),
            Self::Region(region) => write!(f, "the store of {region}"),
        }
    }
}

/// A key, or what keys of a range begin with.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key(String);

fn block_text(block: &Cidr) -> String {
    format!("{}-{}", block.first(), block.length())
}

impl Key {
    /// Keys are made all the time: of parts, at once.
    fn of<const N: usize>(parts: [&str; N]) -> Self {
        let mut text = String::with_capacity(parts.iter().map(|part| part.len()).sum());
        parts.iter().for_each(|part| text.push_str(part));
        Self(text)
    }
    fn global(kind: &str, name: &str) -> Self {
        Self::of([ROOT, "g/", kind, "/", name])
    }
    fn regional(region: &Region, kind: &str, name: &str) -> Self {
        Self::of([ROOT, "r/", region.as_str(), "/", kind, "/", name])
    }
    /// All keys of one kind in a scope begin so.
    #[must_use]
    pub fn all(scope: &Scope, kind: &str) -> Self {
        let [a, b, c, d] = scope.root();
        Self::of([a, b, c, d, kind, "/"])
    }
    /// A region.
    #[must_use]
    pub fn region(name: &Region) -> Self {
        Self::global("region", name.as_str())
    }
    /// A host in the roster.
    #[must_use]
    pub fn roster(host: &HostName) -> Self {
        Self::global("host", host.as_str())
    }
    /// What the fleet knows of a block or prefix.
    #[must_use]
    pub fn lent(thing: &Thing) -> Self {
        match thing {
            Thing::Block(block) => Self::global("block", &block_text(block)),
            Thing::Prefix(prefix) => Self::global("prefix", prefix.as_str()),
        }
    }
    /// What a region knows of it.
    #[must_use]
    pub fn held(region: &Region, thing: &Thing) -> Self {
        match thing {
            Thing::Block(block) => Self::regional(region, "block", &block_text(block)),
            Thing::Prefix(prefix) => Self::regional(region, "prefix", prefix.as_str()),
        }
    }
    /// What a key of the fleet's or a region's blocks and prefixes stands for.
    #[must_use]
    pub fn thing(&self) -> Option<Thing> {
        let mut parts = self.0.rsplit('/');
        let (name, kind) = (parts.next()?, parts.next()?);
        match kind {
            "prefix" => name.parse().ok().map(Thing::Prefix),
            "block" => {
                let (first, length) = name.rsplit_once('-')?;
                Cidr::new(first.parse().ok()?, length.parse().ok()?).ok().map(Thing::Block)
            }
            _ => None,
        }
    }
    /// A group's ledger.
    #[must_use]
    pub fn ledger(group: &Group) -> Self {
        Self::global("quota", group.as_str())
    }
    /// A group's rights in a region.
    #[must_use]
    pub fn rights(region: &Region, group: &Group) -> Self {
        Self::regional(region, "quota", group.as_str())
    }
    /// Where a machine that moved is at home.
    #[must_use]
    pub fn owner(vm: VmId) -> Self {
        Self::global("owner", vm.text().as_str())
    }
    /// A machine.
    #[must_use]
    pub fn vm(region: &Region, vm: VmId) -> Self {
        Self::regional(region, "vm", vm.text().as_str())
    }
    /// Its place.
    #[must_use]
    pub fn place(region: &Region, vm: VmId) -> Self {
        Self::regional(region, "place", vm.text().as_str())
    }
    /// Its status.
    #[must_use]
    pub fn status(region: &Region, vm: VmId) -> Self {
        Self::regional(region, "status", vm.text().as_str())
    }
    /// A machine's number that was used.
    #[must_use]
    pub fn past(region: &Region, vm: VmId) -> Self {
        Self::regional(region, "past", vm.text().as_str())
    }
    /// A name in use.
    #[must_use]
    pub fn name(region: &Region, name: &VmName) -> Self {
        Self::regional(region, "name", name.as_str())
    }
    /// A host.
    #[must_use]
    pub fn host(region: &Region, host: &HostName) -> Self {
        Self::regional(region, "host", host.as_str())
    }
    /// By what a region's store gives.
    #[must_use]
    pub fn charter(region: &Region) -> Self {
        Self::regional(region, "live", "charter")
    }
    /// Which life of a host's agent is the current one.
    #[must_use]
    pub fn agent(region: &Region, host: &HostName) -> Self {
        Self::regional(region, "live/agent", host.as_str())
    }
    /// Whether what lies here ends with the life of its store: who makes a backup leaves it out, who restores one deletes it.
    #[must_use]
    pub fn of_a_life(&self) -> bool {
        let region = self.0.strip_prefix(ROOT).and_then(|rest| rest.strip_prefix("r/")?.split_once('/'));
        region.is_some_and(|(_, rest)| rest.starts_with("live/"))
    }
    /// An image.
    #[must_use]
    pub fn image(region: &Region, image: &Image) -> Self {
        Self::regional(region, "image", image.as_str())
    }
    /// An address in use.
    #[must_use]
    pub fn address(region: &Region, ip: IpAddr) -> Self {
        let n = cidr::number(ip);
        match cidr::family(ip) {
            Family::V4 => Self::regional(region, "addr/4", &format!("{n:08x}")),
            Family::V6 => Self::regional(region, "addr/6", &format!("{n:032x}")),
        }
    }
    /// The keys of everything in use of a block or prefix: first, and one past the last.
    #[must_use]
    pub fn uses(region: &Region, thing: &Thing) -> (Self, Self) {
        match thing {
            Thing::Prefix(prefix) => {
                let first = Self::regional(region, "name", prefix.as_str());
                let end = first.end();
                (first, end)
            }
            Thing::Block(block) => {
                let last = block.at(block.size() - 1).unwrap_or(block.first());
                let mut end = Self::address(region, last);
                end.0.push('0');
                (Self::address(region, block.first()), end)
            }
        }
    }
    /// One past the last key that begins so.
    #[must_use]
    pub fn end(&self) -> Self {
        let mut bytes = self.0.clone();
        // Keys are ASCII, and none ends with its last character.
        let last = bytes.pop().map_or('\u{1}', |c| char::from(c as u8 + 1));
        bytes.push(last);
        Self(bytes)
    }
    /// Which store it lies in; `None` if it is no key of the fleet's.
    #[must_use]
    pub fn scope(&self) -> Option<Scope> {
        let rest = self.0.strip_prefix(ROOT)?;
        if rest.starts_with("g/") {
            return Some(Scope::Global);
        }
        let (region, _) = rest.strip_prefix("r/")?.split_once('/')?;
        region.parse().ok().map(Scope::Region)
    }
    /// Its last part.
    #[must_use]
    pub fn last(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }
    /// The bytes stored under.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// A key as a store gave it.
    #[must_use]
    pub fn stored(bytes: &[u8]) -> Option<Self> {
        let key = Self(core::str::from_utf8(bytes).ok()?.to_string());
        key.scope().is_some().then_some(key)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_say_where_they_lie() {
        let eu: Region = "eu".parse().unwrap();
        assert_eq!(Key::region(&eu).scope(), Some(Scope::Global));
        assert_eq!(Key::vm(&eu, VmId(1)).scope(), Some(Scope::Region(eu.clone())));
        assert_eq!(Key::stored(b"/dwcp/fleet/r/EU/vm/1"), None);
        assert_eq!(Key::stored(b"/registry/pods"), None);
        assert_eq!(Key::stored(&[0xff]), None);
        assert!(Key::charter(&eu).of_a_life() && Key::agent(&eu, &"h1".parse().unwrap()).of_a_life());
        assert!(!Key::vm(&eu, VmId(1)).of_a_life() && !Key::region(&eu).of_a_life());
        for thing in ["10.1.0.0/24", "2001:db8::/116", "web-"] {
            let thing: Thing = thing.parse().unwrap();
            assert_eq!(Key::lent(&thing).thing(), Some(thing.clone()));
            assert_eq!(Key::held(&eu, &thing).thing(), Some(thing));
        }
    }

    #[test]
    fn a_block_is_a_range_of_keys() {
        let eu: Region = "eu".parse().unwrap();
        for (block, inside, outside) in [
            ("10.0.0.0/24", "10.0.0.255", "10.0.1.0"),
            ("10.0.0.254/32", "10.0.0.254", "10.0.0.255"),
            ("2001:db8::/116", "2001:db8::fff", "2001:db8::1000"),
        ] {
            let (first, end) = Key::uses(&eu, &Thing::Block(block.parse().unwrap()));
            let within = |ip: &str| {
                let key = Key::address(&eu, ip.parse().unwrap());
                first <= key && key < end
            };
            assert!(within(inside) && !within(outside), "{block}");
        }
    }
}

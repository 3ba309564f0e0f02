//! Blocks of addresses, and the order of addresses in keys.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The most addresses of a block that a region may hold: all keys of one block are read to find a free one.
pub const BLOCK_ADDRESSES_MAX: u128 = 4096;

/// Version 4 or 6 of IP.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub enum Family {
    /// Four bytes.
    #[default]
    #[serde(rename = "ipv4")]
    V4,
    /// Sixteen bytes.
    #[serde(rename = "ipv6")]
    V6,
}

/// A block of addresses, such as `10.1.0.0/24`: the bits behind the prefix are zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Cidr {
    first: IpAddr,
    length: u8,
}

/// The number an address stands for.
#[must_use]
pub fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

/// An address's version.
#[must_use]
pub const fn family(ip: IpAddr) -> Family {
    match ip {
        IpAddr::V4(_) => Family::V4,
        IpAddr::V6(_) => Family::V6,
    }
}

const fn bits(family: Family) -> u8 {
    match family {
        Family::V4 => 32,
        Family::V6 => 128,
    }
}

impl Cidr {
    /// The block that begins at an address.
    ///
    /// # Errors
    /// A prefix longer than the address, or bits behind it that are not zero.
    pub fn new(first: IpAddr, length: u8) -> Result<Self, String> {
        let all = bits(family(first));
        if length > all {
            return Err(format!("{first}/{length}: a prefix of this address has at most {all} bits"));
        }
        let host = u32::from(all - length);
        let low = if host == 128 { u128::MAX } else { (1_u128 << host) - 1 };
        if number(first) & low != 0 {
            return Err(format!(
                "{first}/{length}: bits behind the prefix are set; give the block's first address"
            ));
        }
        Ok(Self { first, length })
    }
    /// Its first address.
    #[must_use]
    pub const fn first(&self) -> IpAddr {
        self.first
    }
    /// The bits that all its addresses share.
    #[must_use]
    pub const fn length(&self) -> u8 {
        self.length
    }
    /// Version 4 or 6.
    #[must_use]
    pub const fn family(&self) -> Family {
        family(self.first)
    }
    /// How many addresses it has; `u128::MAX` stands for all of version 6.
    #[must_use]
    pub fn size(&self) -> u128 {
        1_u128.checked_shl(u32::from(bits(self.family()) - self.length)).unwrap_or(u128::MAX)
    }
    /// The address at a place in it.
    #[must_use]
    pub fn at(&self, place: u128) -> Option<IpAddr> {
        if place >= self.size() {
            return None;
        }
        let n = number(self.first) + place;
        Some(match self.family() {
            Family::V4 => IpAddr::V4(Ipv4Addr::from(u32::try_from(n).ok()?)),
            Family::V6 => IpAddr::V6(Ipv6Addr::from(n)),
        })
    }
    /// Whether an address lies in it.
    #[must_use]
    pub fn holds(&self, ip: IpAddr) -> bool {
        family(ip) == self.family()
            && number(ip).checked_sub(number(self.first)).is_some_and(|n| n < self.size())
    }
    /// Whether two blocks share an address.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.holds(other.first) || other.holds(self.first)
    }
    /// The blocks of a longer prefix that it consists of: itself, if it is not longer; none, if no address is that long.
    pub fn split(self, length: u8) -> impl Iterator<Item = Self> {
        let bits = bits(self.family());
        let size = 1_u128.checked_shl(u32::from(bits.saturating_sub(length))).unwrap_or(u128::MAX);
        let count = match length {
            _ if length > bits => 0,
            _ if length > self.length => 1_u128 << (length - self.length).min(64),
            _ => 1,
        };
        (0..count).filter_map(move |i| Some(Self { first: self.at(i.checked_mul(size)?)?, length }))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.length)
    }
}
impl FromStr for Cidr {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no block of addresses; write it as 10.1.0.0/24 or 2001:db8::/116");
        let (first, length) = text.split_once('/').ok_or_else(wrong)?;
        Self::new(first.parse().map_err(|_| wrong())?, length.parse().map_err(|_| wrong())?)
    }
}
impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            to.serialize_str(&self.to_string())
        } else {
            (self.first, self.length).serialize(to)
        }
    }
}
impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if from.is_human_readable() {
            String::deserialize(from)?.parse().map_err(D::Error::custom)
        } else {
            let (first, length) = <(IpAddr, u8)>::deserialize(from)?;
            Self::new(first, length).map_err(D::Error::custom)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn block(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn nothing_is_split_beyond_an_address() {
        for (block, length) in
            [("10.0.0.0/24", 33), ("10.0.0.0/26", 33), ("10.0.0.0/8", 255), ("2001:db8::/126", 129)]
        {
            let block: Cidr = block.parse().unwrap();
            assert_eq!(block.split(length).count(), 0, "{block} by /{length}");
        }
        let block: Cidr = "10.0.0.0/31".parse().unwrap();
        assert_eq!(
            block.split(32).map(|b| b.to_string()).collect::<Vec<_>>(),
            ["10.0.0.0/32", "10.0.0.1/32"]
        );
    }

    #[test]
    fn blocks_are_read_and_refused() {
        assert_eq!(block("10.1.0.0/24").size(), 256);
        assert_eq!(block("::/0").size(), u128::MAX);
        assert_eq!(block("2001:db8::/116").size(), BLOCK_ADDRESSES_MAX);
        for bad in ["10.1.0.1/24", "10.1.0.0", "10.1.0.0/33", "x/8", "10.1.0.0/-1", "::1/64"] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }

    #[test]
    fn overlaps_are_seen_both_ways() {
        for (a, b, overlap) in [
            ("10.0.0.0/8", "10.1.0.0/24", true),
            ("10.0.0.0/24", "10.0.1.0/24", false),
            ("0.0.0.0/0", "::/0", false),
            ("10.0.0.0/24", "10.0.0.0/24", true),
        ] {
            assert_eq!(block(a).overlaps(&block(b)), overlap, "{a} {b}");
            assert_eq!(block(b).overlaps(&block(a)), overlap, "{b} {a}");
        }
    }

    proptest! {
        #[test]
        fn parts_cover_the_whole_and_nothing_else(length in 20_u8..30, more in 0_u8..3, first in any::<u32>()) {
            let first = Ipv4Addr::from(first & !((1 << (32 - length)) - 1));
            let whole = Cidr::new(first.into(), length).unwrap();
            let parts: Vec<Cidr> = whole.split(length + more).collect();
            prop_assert_eq!(parts.iter().map(Cidr::size).sum::<u128>(), whole.size());
            for (i, a) in parts.iter().enumerate() {
                prop_assert!(whole.overlaps(a));
                prop_assert!(parts[i + 1..].iter().all(|b| !a.overlaps(b)));
            }
            prop_assert_eq!(dwcp_env::wire::decode::<Cidr>(&dwcp_env::wire::encode(&whole)), Ok(whole));
            prop_assert_eq!(whole.to_string().parse::<Cidr>(), Ok(whole));
        }
    }
}

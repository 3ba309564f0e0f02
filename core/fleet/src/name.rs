//! Names and numbers of the fleet's things, checked when they are made: whoever holds one need not look again.
//!
//! Names are labels of DNS (RFC 1123): they stand in keys, in host names and on command lines, and must mean the same in
//! all three. Numbers of requests are 128 bits, drawn by who asks first; a machine's is made of its region and of the number of
//! the request that creates it ([`VmId::born`]), so that asking twice creates one.

use crate::planted::{self, Bug};
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;
use core::str::FromStr;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The most bytes of a name.
pub const NAME_MAX: usize = 63;

/// Why a text is no name.
fn complaint(text: &str, open_ended: bool) -> Option<String> {
    let edge = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return Some("an empty name; use 1 to 63 of a-z, 0-9 and -".into());
    };
    if bytes.len() > NAME_MAX {
        return Some(format!("a name of {} bytes; at most {NAME_MAX} are allowed", bytes.len()));
    }
    let plain = |c: &u8| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == b'-';
    if !bytes.iter().all(plain)
        && let Some(bad) = text.chars().find(|c| !(c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-'))
    {
        return Some(format!("{text:?} holds {bad:?}; names are of a-z, 0-9 and -"));
    }
    if !edge(*first) || !(open_ended || edge(*last)) {
        return Some(format!("{text:?} begins or ends with -; names begin and end with a letter or digit"));
    }
    None
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident $open:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// As text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                complaint(text, $open).map_or_else(|| Ok(Self(text.to_string())), Err)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                String::deserialize(from)?.parse().map_err(D::Error::custom)
            }
        }
    )*};
}

names! {
    /// A region.
    Region false;
    /// A host; unique in the fleet.
    HostName false;
    /// A machine's name; unique in the fleet.
    VmName false;
    /// Who pays: a quota group.
    Group false;
    /// An image that machines start from.
    Image false;
    /// A disk or an interface of a machine; unique in it.
    Part false;
    /// What names of a region begin with; may end with `-`.
    Prefix true;
}

/// A number as text.
#[derive(Clone, Copy, Debug)]
pub struct Digits([u8; 32]);

impl Digits {
    fn of(number: u128) -> Self {
        let mut text = [b'0'; 32];
        for (i, digit) in text.iter_mut().enumerate() {
            *digit = b"0123456789abcdef"[(number >> (124 - 4 * i)) as usize & 15];
        }
        Self(text)
    }
    /// Lower case, from the highest digit.
    ///
    /// # Panics
    /// Never: digits are ASCII.
    #[must_use]
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).expect("digits are ASCII")
    }
}

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u128);

        impl $name {
            /// Its 32 digits.
            #[must_use]
            pub fn text(&self) -> Digits {
                Digits::of(self.0)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.text().as_str())
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                let wrong = || format!("{text:?} is no number of a machine or request; it has 32 hexadecimal digits");
                let digit = |b: u8| match b {
                    b'0'..=b'9' => Some(u128::from(b - b'0')),
                    b'a'..=b'f' => Some(u128::from(b - b'a' + 10)),
                    _ => None,
                };
                if text.len() != 32 {
                    return Err(wrong());
                }
                let number = text.bytes().try_fold(0, |number, b| Some(number << 4 | digit(b)?));
                number.map(Self).ok_or_else(wrong)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                if to.is_human_readable() { to.serialize_str(&self.to_string()) } else { to.serialize_u128(self.0) }
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                if from.is_human_readable() {
                    String::deserialize(from)?.parse().map_err(D::Error::custom)
                } else {
                    u128::deserialize(from).map(Self)
                }
            }
        }
    )*};
}

numbers! {
    /// A machine; never used again after its end.
    VmId;
    /// A request of a client: asked again under the same number it is done once.
    RequestKey;
}

impl VmId {
    /// The number of the machine that a request creates in a region. It is bound to both: one request that is asked in two
    /// regions makes two machines of two numbers, whose fencing epochs never meet in storage, and neither region has to
    /// ask anybody. A hash that nobody can aim, so that no client chooses another's number.
    #[must_use]
    pub fn born(region: &Region, key: RequestKey) -> Self {
        if planted::is(Bug::NumberUnbound) {
            return Self(key.0);
        }
        let mut hash = blake3::Hasher::new();
        hash.update(b"dwcp machine 1\0")
            .update(region.0.as_bytes())
            .update(b"\0")
            .update(&key.0.to_le_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.finalize().as_bytes()[..16]);
        Self(u128::from_le_bytes(bytes))
    }
}

impl VmName {
    /// The name that a machine gets where two regions gave one name to two: a function of what all know, so that
    /// everyone computes the same. `digits` of its number, from 1 to 32: more, where fewer would meet another's name.
    ///
    /// # Panics
    /// Never: the text keeps the rules by construction.
    #[must_use]
    pub fn beside(&self, vm: VmId, digits: usize) -> Self {
        let number = format!("{vm}");
        let tail = format!("-x{}", &number[..digits.clamp(1, number.len())]);
        let mut head = self.0.clone();
        head.truncate(NAME_MAX - tail.len());
        format!("{head}{tail}").parse().expect("a label's beginning, letters and digits")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels_of_dns() {
        for good in ["a", "eu-west-1", "0", "x".repeat(63).as_str()] {
            assert_eq!(good.parse::<VmName>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", "a-", "A", "a_b", "a.b", "ä", "a b", "x".repeat(64).as_str()] {
            assert!(bad.parse::<VmName>().is_err(), "{bad}");
        }
        assert!("web-".parse::<Prefix>().is_ok());
        assert!("web-".parse::<Region>().is_err());
    }

    #[test]
    fn numbers_are_text_for_people_and_bytes_for_disks() {
        let id = VmId(0x0102);
        let text = serde_json::to_string(&id).unwrap();
        assert_eq!(text, "\"00000000000000000000000000000102\"");
        assert_eq!(serde_json::from_str::<VmId>(&text).unwrap(), id);
        assert_eq!(dwcp_env::wire::decode::<VmId>(&dwcp_env::wire::encode(&id)), Ok(id));
        for bad in ["", "0102", "g0000000000000000000000000000000", "+0000000000000000000000000000001"] {
            assert!(bad.parse::<VmId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_number_is_its_regions() {
        let (eu, us): (Region, Region) = ("eu".parse().unwrap(), "us".parse().unwrap());
        assert_eq!(VmId::born(&eu, RequestKey(7)), VmId::born(&eu, RequestKey(7)));
        assert_ne!(VmId::born(&eu, RequestKey(7)), VmId::born(&us, RequestKey(7)));
        assert_ne!(VmId::born(&eu, RequestKey(7)), VmId::born(&eu, RequestKey(8)));
    }

    #[test]
    fn a_second_name_is_a_name_and_differs() {
        let long: VmName = "x".repeat(63).parse().unwrap();
        let other = long.beside(VmId(7 << 96), 8);
        assert_ne!(long.beside(VmId(1), 32), long.beside(VmId(2), 32));
        assert_eq!(other.as_str().len(), 63);
        assert!(other.as_str().ends_with("-x00000007"));
    }
}

//! Shares, and spans of time, as people write them: `2%`, `10s`.

use alloc::format;
use alloc::string::String;
use core::fmt;
use dwcp_env::Duration;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A part of a whole, in millionths. Written with its unit where people read it: `12.5%`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Share(u32);

impl Share {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// The whole.
    pub const WHOLE: Self = Self(1_000_000);

    /// So many hundredths; the whole at the most.
    #[must_use]
    pub const fn percent(n: u32) -> Self {
        Self::millionths(n as u64 * 10_000)
    }
    /// So many millionths; the whole at the most.
    #[must_use]
    pub const fn millionths(n: u64) -> Self {
        Self(if n > 1_000_000 { 1_000_000 } else { n as u32 })
    }
    /// `part` of `whole`; nothing of nothing.
    #[must_use]
    pub fn of(part: u128, whole: u128) -> Self {
        if whole == 0 {
            return Self::NONE;
        }
        // Halved until the product fits: a share of such numbers is not told apart anyway.
        let shift = part.max(whole).leading_zeros().min(20);
        let (part, whole) = (part >> (20 - shift), (whole >> (20 - shift)).max(1));
        Self::millionths(u64::try_from(part * 1_000_000 / whole).unwrap_or(u64::MAX))
    }
    /// In millionths.
    #[must_use]
    pub const fn as_millionths(self) -> u32 {
        self.0
    }
    /// What the whole has beside it.
    #[must_use]
    pub const fn rest(self) -> Self {
        Self(1_000_000 - self.0)
    }
    /// This share of a span; of an endless one nothing less.
    #[must_use]
    pub(super) fn part(self, span: u64) -> u64 {
        if span == u64::MAX && self.0 > 0 {
            return u64::MAX;
        }
        (u128::from(span) * u128::from(self.0) / 1_000_000) as u64
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.0 / 10_000, self.0 % 10_000);
        if fraction == 0 {
            return write!(f, "{whole}%");
        }
        let digits = format!("{fraction:04}");
        write!(f, "{whole}.{}%", digits.trim_end_matches('0'))
    }
}
impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() { to.collect_str(self) } else { to.serialize_u32(self.0) }
    }
}
impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if !from.is_human_readable() {
            let n = u32::deserialize(from)?;
            return if n <= 1_000_000 {
                Ok(Self(n))
            } else {
                Err(D::Error::custom("a share above the whole"))
            };
        }
        let text = String::deserialize(from)?;
        let say = || D::Error::custom(format!("{text:?} is no share: write \"2%\", from 0% to 100%"));
        let n = decimal(text.strip_suffix('%').ok_or_else(say)?.trim_end(), 10_000).ok_or_else(say)?;
        if n <= 1_000_000 { Ok(Self(n as u32)) } else { Err(say()) }
    }
}

/// `12.5` in units of `1 / scale`, exactly or not at all.
fn decimal(text: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    let place = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    if !digits(whole) || !digits(fraction) || !scale.is_multiple_of(place) && fraction != "0" {
        return None;
    }
    let fraction = if fraction == "0" { 0 } else { fraction.parse::<u64>().ok()? * (scale / place) };
    whole.parse::<u64>().ok()?.checked_mul(scale)?.checked_add(fraction)
}

/// Units of time, longest first, in nanoseconds.
const UNITS: [(&str, u64); 6] = [
    ("h", 3_600_000_000_000),
    ("min", 60_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
    ("s", 1_000_000_000),
];

/// Spans with their unit: `10s`, `1.5ms`. For `#[serde(with = …)]`.
pub(super) mod span {
    use super::{Deserialize, Deserializer, Duration, Serialize, Serializer, String, UNITS, decimal, format};
    use serde::de::Error as _;

    pub(in super::super) fn serialize<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
        if !to.is_human_readable() {
            return span.serialize(to);
        }
        let n = span.as_nanos();
        let fits = |unit: u64| n != 0 && n.is_multiple_of(unit);
        let name = UNITS.iter().filter(|(_, unit)| fits(*unit)).max_by_key(|(_, unit)| *unit);
        let (name, unit) = name.copied().unwrap_or(("s", 1_000_000_000));
        to.collect_str(&format_args!("{}{name}", n / unit))
    }
    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        if !from.is_human_readable() {
            return Duration::deserialize(from);
        }
        let text = String::deserialize(from)?;
        UNITS
            .iter()
            .find_map(|(name, unit)| decimal(text.strip_suffix(name)?.trim_end(), *unit))
            .map(Duration::nanos)
            .ok_or_else(|| D::Error::custom(format!("{text:?} is no span of time: write \"10s\", \"1.5ms\"")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Both {
        share: Share,
        #[serde(with = "span")]
        span: Duration,
    }

    fn read(share: &str, time: &str) -> Option<Both> {
        serde_json::from_str(&format!(r#"{{"share":"{share}","span":"{time}"}}"#)).ok()
    }

    #[test]
    fn what_is_written_is_read_again() {
        for (share, time) in
            [(0, 0), (20_000, 10_000_000_000), (1, 1_500), (125_000, 7), (1_000_000, u64::MAX)]
        {
            let both = Both { share: Share::millionths(share), span: Duration::nanos(time) };
            let text = serde_json::to_string(&both).unwrap();
            assert_eq!(serde_json::from_str::<Both>(&text).unwrap(), both, "{text}");
        }
        assert_eq!(Share::millionths(125_000).to_string(), "12.5%");
        assert_eq!(read("0.01%", "1.5ms"), read("0.0100%", "1500us"));
        assert_eq!(read("2 %", "2 min").unwrap().span, Duration::secs(120));
        assert_eq!(read("2%", "0s").unwrap().span, Duration::ZERO);
    }

    #[test]
    fn what_has_no_unit_or_no_sense_is_refused() {
        for (share, time) in [
            ("2", "1s"),
            ("101%", "1s"),
            ("-1%", "1s"),
            ("1.00001%", "1s"),
            ("%", "1s"),
            ("2%", "1"),
            ("2%", "s"),
            ("2%", "0.5ns"),
            ("2%", "999999999999h"),
        ] {
            assert_eq!(read(share, time), None, "{share} {time}");
        }
    }

    #[test]
    fn shares_of_anything_are_shares() {
        assert_eq!(Share::of(1, 4), Share::percent(25));
        assert_eq!(Share::of(5, 0), Share::NONE);
        assert_eq!(Share::of(u128::MAX, u128::MAX), Share::WHOLE);
        assert_eq!(Share::of(u128::from(u64::MAX), u128::from(u64::MAX) * 2), Share::percent(50));
        assert_eq!(Share::of(9, 3), Share::WHOLE);
        assert_eq!(Share::percent(30).part(1_000), 300);
        assert_eq!(Share::percent(30).part(u64::MAX), u64::MAX);
    }
}

//! Quantities as people write them: a number, a unit, and nothing that rounds in secret.
//!
//! | kind | written | means |
//! |---|---|---|
//! | span | `20s`, `1.5ms`, `250us`, `2min`, `1h` | [`Duration`], exact to the nanosecond |
//! | range | `20s..24s`, or one span | drawn from the seed, both ends included |
//! | rate | `200/s`, `3/min` | operations a second, in thousandths |
//! | chance | `1/5000`, `0.1%`, `20ppm` | [`Ratio`], exact |
//! | sizes | `1KiB..64KiB`, or one size | bytes that a write carries |
//! | bits | `1Gbit/s`, `250Mbit/s` | [`Rate`] in bytes a second |
//!
//! Numbers are read as integers of a billionth: no float takes part, so that a file means
//! the same on every machine.

use dwcp_env::{ByteCount, Duration, Instant, Purpose, Rate, Ratio, Seed};
use dwcp_workload::Sizes;

/// A span, or two with everything between.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// The shortest.
    pub low: Duration,
    /// The longest.
    pub high: Duration,
}

impl Span {
    /// Exactly `d`.
    #[must_use]
    pub const fn exactly(d: Duration) -> Self {
        Self { low: d, high: d }
    }
    /// One of the range, by the seed; `what` and `nth` name the draw.
    #[must_use]
    pub fn draw(&self, seed: Seed, what: Purpose, nth: u64) -> Duration {
        let width = self.high.saturating_sub(self.low).as_nanos();
        self.low + Duration::nanos(seed.below(width + 1, what, nth, Instant::ZERO, 0))
    }
}

/// Splits `1.5ms` into 1,500,000,000 billionths and `ms`.
fn number(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || part.len() > 9 || (digits.contains('.') && part.is_empty()) {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let mut billionths: u64 = if part.is_empty() { 0 } else { part.parse().ok()? };
    for _ in part.len()..9 {
        billionths *= 10;
    }
    Some((whole.checked_mul(1_000_000_000)?.checked_add(billionths)?, unit.trim()))
}

/// A span of time.
///
/// # Errors
/// What was expected.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong =
        || format!("{text:?} is not a span of time; write it as \"20s\", \"1.5ms\", \"250us\" or \"2min\"");
    let (n, unit) = number(text).ok_or_else(wrong)?;
    let nanos_per: u128 = match unit {
        "ns" => 1,
        "us" | "µs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "min" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return Err(wrong()),
    };
    let nanos = u128::from(n) * nanos_per / 1_000_000_000;
    Ok(Duration::nanos(u64::try_from(nanos).map_err(|_| wrong())?))
}

/// A span, or a range of them.
///
/// # Errors
/// What was expected.
pub fn span(text: &str) -> Result<Span, String> {
    let Some((low, high)) = text.split_once("..") else {
        return Ok(Span::exactly(duration(text)?));
    };
    let (low, high) = (duration(low)?, duration(high)?);
    if low > high {
        return Err(format!("the range {text:?} ends before it begins; swap its ends"));
    }
    Ok(Span { low, high })
}

/// Operations a second, in thousandths.
///
/// # Errors
/// What was expected.
pub fn per_second(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a rate; write it as \"200/s\" or \"3/min\"");
    let (n, unit) = text.split_once('/').ok_or_else(wrong)?;
    let (n, none) = number(n).ok_or_else(wrong)?;
    let seconds = match unit.trim() {
        "s" => 1,
        "min" => 60,
        "h" => 3_600,
        _ => return Err(wrong()),
    };
    let thousandths = n / 1_000_000 / seconds;
    if !none.is_empty() || thousandths == 0 { Err(wrong()) } else { Ok(thousandths) }
}

/// A probability.
///
/// # Errors
/// What was expected.
pub fn chance(text: &str) -> Result<Ratio, String> {
    let wrong = || format!("{text:?} is not a probability; write it as \"1/5000\", \"0.1%\" or \"20ppm\"");
    let ratio = if let Some((num, den)) = text.split_once('/') {
        let part = |s: &str| s.trim().replace('_', "").parse::<u32>().ok();
        part(num).zip(part(den)).and_then(|(n, d)| Ratio::new(n, d))
    } else {
        let (n, unit) = number(text).ok_or_else(wrong)?;
        let ppm = match unit {
            "%" => n / 100_000,
            "ppm" => n / 1_000_000_000,
            _ => return Err(wrong()),
        };
        u32::try_from(ppm).ok().filter(|p| *p <= 1_000_000).map(Ratio::ppm)
    };
    ratio.ok_or_else(wrong)
}

/// A number of bytes.
///
/// # Errors
/// What was expected.
pub fn bytes(text: &str) -> Result<ByteCount, String> {
    let unit = |suffix: &str, of: fn(u64) -> ByteCount| {
        text.strip_suffix(suffix).and_then(|n| n.trim().parse::<u64>().ok()).filter(|n| *n < 1 << 40).map(of)
    };
    let found = unit("KiB", ByteCount::kib).or_else(|| unit("MiB", ByteCount::mib));
    found.ok_or_else(|| format!("{text:?} is not a size; write it as \"32KiB\" or \"4MiB\""))
}

/// How much a write may carry: one size, or two with everything between. It has to fit one transaction.
///
/// # Errors
/// What was expected.
pub fn sizes(text: &str) -> Result<Sizes, String> {
    let (low, high) = text.split_once("..").unwrap_or((text, text));
    let most = dwcp_eventual::api::WRITE_MAX as u64 * 9 / 10;
    let one = |text: &str| {
        let size = bytes(text.trim())?.0;
        let fits = u32::try_from(size).ok().filter(|_| (1..=most).contains(&size));
        fits.ok_or_else(|| {
            format!("{text:?} is not from 1 to {most} bytes, which is what one write may carry")
        })
    };
    let (low, high) = (one(low)?, one(high)?);
    if low > high {
        return Err(format!("the range {text:?} ends before it begins; swap its ends"));
    }
    Ok(Sizes { low, high })
}

/// A bandwidth.
///
/// # Errors
/// What was expected.
pub fn bandwidth(text: &str) -> Result<Rate, String> {
    let wrong = || format!("{text:?} is not a bandwidth; write it as \"1Gbit/s\" or \"250Mbit/s\"");
    let (n, unit) = number(text).ok_or_else(wrong)?;
    let bytes_per_s = match unit {
        "kbit/s" => n / 8_000_000,
        "Mbit/s" => n / 8_000,
        "Gbit/s" => n / 8,
        _ => return Err(wrong()),
    };
    Ok(Rate { bytes_per_s })
}

/// A signed jump of a clock: `+5s`, `-200ms`. Nanoseconds.
///
/// # Errors
/// What was expected.
pub fn jump(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is not a jump; write it with its sign, as \"+5s\" or \"-200ms\"");
    let (sign, rest) = match text.as_bytes().first() {
        Some(b'+') => (1, &text[1..]),
        Some(b'-') => (-1, &text[1..]),
        _ => return Err(wrong()),
    };
    let nanos = i64::try_from(duration(rest)?.as_nanos()).map_err(|_| wrong())?;
    Ok(sign * nanos)
}

/// A count, or two with everything between: `40..200`.
///
/// # Errors
/// What was expected.
pub fn counts(text: &str) -> Result<(u32, u32), String> {
    let wrong = || format!("{text:?} is not a count; write it as \"40\" or \"40..200\"");
    let one = |s: &str| s.trim().parse::<u32>().map_err(|_| wrong());
    let (low, high) = match text.split_once("..") {
        Some((low, high)) => (one(low)?, one(high)?),
        None => (one(text)?, one(text)?),
    };
    if low > high { Err(wrong()) } else { Ok((low, high)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_exact() {
        for (text, nanos) in [
            ("20s", 20_000_000_000),
            ("1.5ms", 1_500_000),
            ("250us", 250_000),
            ("2min", 120_000_000_000),
            ("0.000000001s", 1),
            ("7ns", 7),
            ("1h", 3_600_000_000_000),
        ] {
            assert_eq!(duration(text).map(Duration::as_nanos), Ok(nanos), "{text}");
        }
        for bad in ["", "20", "s", "1.s", "1.0000000001s", "-3s", "20 seconds", "99999999999999999999s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_range_is_drawn_inside_itself() {
        let r = span("20s..24s").unwrap();
        let mut seen = [false; 4];
        for seed in 0..64 {
            let d = r.draw(Seed(seed), Purpose::named("test"), 0);
            assert!((20..=24).contains(&d.as_secs()), "{d}");
            seen[(d.as_secs() as usize - 20).min(3)] = true;
        }
        assert_eq!(seen, [true; 4]);
        assert!(span("24s..20s").is_err());
    }

    #[test]
    fn rates_chances_and_bits() {
        assert_eq!(per_second("200/s"), Ok(200_000));
        assert_eq!(per_second("3/min"), Ok(50));
        assert!(per_second("200").is_err() && per_second("0/s").is_err());
        assert_eq!(chance("1/5000"), Ok(Ratio { num: 1, den: 5000 }));
        assert_eq!(chance("0.1%"), Ok(Ratio::ppm(1_000)));
        assert_eq!(chance("20ppm"), Ok(Ratio::ppm(20)));
        assert!(chance("2/1").is_err() && chance("101%").is_err() && chance("often").is_err());
        assert_eq!(bandwidth("1Gbit/s"), Ok(Rate { bytes_per_s: 125_000_000 }));
        assert_eq!(jump("-200ms"), Ok(-200_000_000));
        assert!(jump("5s").is_err());
        assert_eq!(counts("40..200"), Ok((40, 200)));
        assert!(counts("9..2").is_err());
    }
}

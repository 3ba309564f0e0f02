//! From the replica's answers to what the command's caller expects.

use super::cursor::Cursors;
use super::reply::Out;
use dwcp_eventual::Reply;
use dwcp_eventual::api::Type;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

/// What is made of an answer besides its plain form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shape {
    /// As it is.
    Plain,
    /// `+OK`, whatever it says.
    Ok,
    /// Elements as a set.
    Set,
    /// Milliseconds as seconds.
    Seconds,
    /// This many of the elements, by chance: as often as asked if negative.
    Sample(i64),
    /// A scan from this cursor.
    Scan(u64),
    /// A type's encoding.
    Encoding,
    /// This number, if there is such a key.
    IfThere(i64),
}

/// Writes an answer.
pub(super) fn write(out: &mut Out, cursors: &Cursors, shape: Shape, reply: &Reply) {
    match (shape, reply) {
        (Shape::Ok, _) | (_, Reply::Done) => out.ok(),
        (Shape::Seconds, Reply::Number(ms)) => {
            out.number(if *ms < 0 { *ms } else { ms.saturating_add(500) / 1_000 })
        }
        (_, Reply::Number(n)) => out.number(*n),
        (_, Reply::Value(value)) => out.bulk_or_null(value.as_ref()),
        (_, Reply::Values(values)) => {
            out.array(values.len());
            values.iter().for_each(|v| out.bulk_or_null(v.as_ref()));
        }
        (Shape::Sample(count), Reply::Elements(all)) => sample(out, count, all),
        (shape, Reply::Elements(all)) => {
            if shape == Shape::Set {
                out.set(all.len())
            } else {
                out.array(all.len())
            }
            all.iter().for_each(|e| out.bulk(e));
        }
        (_, Reply::Pairs(pairs)) => {
            out.map(pairs.len());
            for (name, value) in pairs {
                out.bulk(name);
                out.bulk(value);
            }
        }
        (_, Reply::Flags(flags)) => {
            out.array(flags.len());
            flags.iter().for_each(|f| out.number(i64::from(*f)));
        }
        (_, Reply::Numbers(all)) => {
            out.array(all.len());
            all.iter().for_each(|n| out.number(*n));
        }
        (Shape::Encoding, Reply::Type(kind)) => match kind {
            Type::None => out.null(),
            Type::String => out.bulk(b"raw"),
            Type::List => out.bulk(b"quicklist"),
            Type::Hash | Type::Set => out.bulk(b"hashtable"),
        },
        (Shape::IfThere(_), Reply::Type(Type::None)) => out.null(),
        (Shape::IfThere(n), Reply::Type(_)) => out.number(n),
        (_, Reply::Type(kind)) => out.simple(kind.name()),
        (_, Reply::Scan { next, found }) => {
            out.array(2);
            let cursor = next.as_ref().map_or(0, |name| cursors.of(name));
            out.bulk(cursor.to_string().as_bytes());
            out.array(found.len());
            found.iter().for_each(|f| out.bulk(f));
        }
    }
}

/// `SRANDMEMBER key count`: distinct ones, or as many as asked with repetitions.
fn sample(out: &mut Out, count: i64, all: &[bytes::Bytes]) {
    /// Repetitions are made here, so they have a bound.
    const REPEATED_MAX: u64 = 65_536;
    let mut state = RandomState::new().hash_one(0_u8) | 1;
    let mut draw = |below: usize| {
        // xorshift64*, Vigna 2016.
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below.max(1)
    };
    if count < 0 && !all.is_empty() {
        let n = count.unsigned_abs();
        if n > REPEATED_MAX {
            return out
                .error(&format!("ERR value is out of range, at most {REPEATED_MAX} repetitions are made"));
        }
        out.array(n as usize);
        return (0..n).for_each(|_| out.bulk(&all[draw(all.len())]));
    }
    let n = usize::try_from(count.max(0)).unwrap_or(usize::MAX).min(all.len());
    // The first n places of a shuffle (Fisher and Yates).
    let mut order: Vec<usize> = (0..all.len()).collect();
    for i in 0..n {
        let j = i + draw(all.len() - i);
        order.swap(i, j);
    }
    out.array(n);
    order[..n].iter().for_each(|i| out.bulk(&all[*i]));
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::collections::BTreeSet;

    #[test]
    fn a_sample_has_no_element_twice_unless_asked() {
        let all: Vec<Bytes> = (0..20_u8).map(|n| Bytes::from(vec![b'a' + n])).collect();
        let said = |count| {
            let mut out = Out::default();
            sample(&mut out, count, &all);
            let text = String::from_utf8(out.bytes.to_vec()).unwrap();
            text.split("\r\n")
                .filter(|l| l.starts_with(char::is_alphabetic))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(said(7).iter().collect::<BTreeSet<_>>().len(), 7);
        assert_eq!(said(100).len(), 20);
        assert_eq!(said(-100).len(), 100);
        assert_eq!(said(0).len(), 0);
    }

    #[test]
    fn seconds_are_rounded_as_redis_does_and_absences_are_not() {
        for (ms, want) in [(-1, ":-1"), (-2, ":-2"), (499, ":0"), (9_999, ":10"), (1_400, ":1")] {
            let mut out = Out::default();
            write(&mut out, &Cursors::default(), Shape::Seconds, &Reply::Number(ms));
            assert_eq!(&out.bytes[..], format!("{want}\r\n").as_bytes());
        }
    }
}

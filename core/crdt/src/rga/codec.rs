//! States as bytes: columns, small numbers, LZ4. Drawn byte by byte in `docs/formats/rga.md`.
//!
//! Canonical: a delta has one form, and the decoder refuses every other that it can tell. The order of
//! the document is not in the bytes, so it can't be wrong in them; what hangs on what is checked
//! when the delta becomes a state or is joined to one.

use super::content::Content;
use super::delta::{Chain, Delta};
use super::op::{Hang, INSERT_MAX, Op, Refused, SPANS_MAX, Side, Span, Spans};
use super::order::Origin;
use super::tree::ROOT;
use super::{PARKED_MAX, Rga};
use crate::code::{Malformed, Reader, Writer};
use crate::dot::{Dot, ReplicaIndex, SEQUENCE_MAX};
use crate::version::VersionVector;
use alloc::vec::Vec;

/// The version of the format.
const FORMAT: u8 = 1;
/// LZ4 can't make more of a byte.
const LZ4_MOST: usize = 256;

impl<C: Content> Rga<C> {
    /// The canonical bytes of the whole state.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.delta().encode()
    }

    /// A state from bytes.
    ///
    /// # Errors
    /// If they are not those of a state.
    pub fn decode(bytes: &[u8]) -> Result<Self, Refused> {
        let delta = Delta::decode(bytes).map_err(|e| Refused::Malformed { what: e.what })?;
        let mut rga = Self::new();
        rga.join(&delta)?;
        Ok(rga)
    }
}

impl<C: Content> Delta<C> {
    /// Its canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.byte(FORMAT);
        out.byte(C::KIND);
        self.seen.encode(&mut out);
        self.deleted.encode(&mut out);
        let mut columns = Writer::new();
        self.write_chains(&mut columns);
        self.write_dead(&mut columns);
        pack(columns.as_slice(), &mut out);
        out.varint(C::count(self.content.as_slice()) as u64);
        let mut content = Writer::new();
        C::write(self.content.as_slice(), &mut content);
        pack(content.as_slice(), &mut out);
        out.varint(self.parked.len() as u64);
        for (first, origin, content) in &self.parked {
            out.dot(Dot::from_bits(*first));
            write_origin(*origin, &mut out);
            out.varint(C::count(content.as_slice()) as u64);
            let mut bytes = Writer::new();
            C::write(content.as_slice(), &mut bytes);
            out.bytes(bytes.as_slice());
        }
        write_intervals(&self.doomed, &mut out);
        out.into_bytes()
    }

    /// Reads what [`Delta::encode`] wrote.
    ///
    /// # Errors
    /// If the bytes are not the canonical form of a delta.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(bytes);
        if from.byte()? != FORMAT {
            return Err(from.malformed("a format of another version"));
        }
        if from.byte()? != C::KIND {
            return Err(from.malformed("a sequence of another kind"));
        }
        let seen = VersionVector::decode(&mut from)?;
        let deleted = VersionVector::decode(&mut from)?;
        let unpacked = unpack(&mut from)?;
        let mut columns = Reader::new(&unpacked);
        let chains = read_chains(&mut columns, unpacked.len(), &seen)?;
        let dead = read_dead(&mut columns, &chains)?;
        end_of(&columns)?;
        let all: u64 = chains.iter().map(|c| c.end - c.first).sum();
        let gone: u64 = dead.iter().map(|(first, end)| end - first).sum();
        let live = from.varint()?;
        if live != all - gone {
            return Err(from.malformed("another number of elements than the names say"));
        }
        let content = unpack(&mut from)?;
        let content = C::read(&content, live as usize).ok_or(from.malformed("elements that are none"))?;
        let parked = read_parked(&mut from, &seen)?;
        let doomed = read_intervals(&mut from)?;
        end_of(&from)?;
        Ok(Self { seen, deleted, chains, dead, content, parked, doomed })
    }

    /// By column: replicas and how many chains each has; gaps before; lengths; sides and origins;
    /// whose the origins are.
    fn write_chains(&self, out: &mut Writer) {
        let groups: Vec<&[Chain]> = self.chains.chunk_by(|a, b| a.first >> 48 == b.first >> 48).collect();
        out.varint(groups.len() as u64);
        for group in &groups {
            out.varint(group[0].first >> 48);
            out.varint(group.len() as u64);
        }
        for group in &groups {
            let mut end = (group[0].first >> 48 << 48) + 1;
            let gaps = group.iter().map(|c| {
                let gap = c.first - end;
                end = c.end;
                gap
            });
            write_repeated(gaps, out);
        }
        for chain in &self.chains {
            out.varint(chain.end - chain.first - 1);
        }
        write_repeated(self.chains.iter().map(|c| c.origin.name >> 48), out);
        let mut last = 0;
        for chain in &self.chains {
            let at = chain.origin.name & SEQUENCE_MAX;
            out.varint(zigzag(at.wrapping_sub(last) as i64) << 1 | u64::from(chain.origin.left));
            last = at;
        }
    }

    /// Lengths of what is live and what is dead in turn, as if all chains were one.
    fn write_dead(&self, out: &mut Writer) {
        let mut dead = self.dead.iter().peekable();
        let (mut is_dead, mut run) = (false, 0);
        for chain in &self.chains {
            let mut at = chain.first;
            while at < chain.end {
                while dead.next_if(|(_, end)| *end <= at).is_some() {}
                let (end, what) = match dead.peek() {
                    Some((first, end)) if *first <= at => (chain.end.min(*end), true),
                    Some((first, _)) => (chain.end.min(*first), false),
                    None => (chain.end, false),
                };
                if what != is_dead {
                    out.varint(run);
                    (is_dead, run) = (what, 0);
                }
                run += end - at;
                at = end;
            }
        }
        out.varint(run);
    }
}

const fn zigzag(n: i64) -> u64 {
    (n << 1 ^ n >> 63) as u64
}
const fn unzigzag(n: u64) -> i64 {
    (n >> 1) as i64 ^ -((n & 1) as i64)
}

/// Numbers of which most equal the one before: (number, how often), as often as it takes.
fn write_repeated(numbers: impl Iterator<Item = u64>, out: &mut Writer) {
    let mut last: Option<(u64, u64)> = None;
    for n in numbers {
        match &mut last {
            Some((what, often)) if *what == n => *often += 1,
            _ => {
                if let Some((what, often)) = last.replace((n, 1)) {
                    out.varint(what);
                    out.varint(often);
                }
            }
        }
    }
    if let Some((what, often)) = last {
        out.varint(what);
        out.varint(often);
    }
}

fn read_repeated(from: &mut Reader<'_>, n: usize, to: &mut Vec<u64>) -> Result<(), Malformed> {
    let whole = to.len() + n;
    let mut before = None;
    while to.len() < whole {
        let what = from.varint()?;
        let often = from.varint()?;
        if often == 0 || often > (whole - to.len()) as u64 || before == Some(what) {
            return Err(from.malformed("a repetition that is none"));
        }
        to.extend(core::iter::repeat_n(what, often as usize));
        before = Some(what);
    }
    Ok(())
}

fn read_chains(from: &mut Reader<'_>, bytes: usize, seen: &VersionVector) -> Result<Vec<Chain>, Malformed> {
    let groups = from.count(usize::from(u16::MAX) + 1)?;
    let mut sizes = Vec::with_capacity(groups);
    let mut whole = 0usize;
    for _ in 0..groups {
        let replica = from.varint()?;
        let n = from.count(usize::MAX)?;
        let after = sizes.last().is_none_or(|(r, _)| *r < replica);
        if n == 0 || replica > u64::from(u16::MAX) || !after {
            return Err(from.malformed("replicas out of order, or with nothing"));
        }
        sizes.push((replica, n));
        whole = whole.saturating_add(n);
    }
    // Each chain takes two bytes at least, and a repetition can't say more than that.
    if whole > bytes {
        return Err(from.malformed("more chains than bytes"));
    }
    let mut gaps = Vec::with_capacity(whole);
    for (_, n) in &sizes {
        let n = *n;
        read_repeated(from, n, &mut gaps)?;
    }
    let mut chains = Vec::with_capacity(whole);
    let mut gaps = gaps.into_iter();
    for (replica, n) in sizes {
        let mut end = 1u64;
        for gap in gaps.by_ref().take(n) {
            let first = end.checked_add(gap).ok_or(from.malformed("a name beyond 48 bits"))?;
            let more = from.varint()?;
            end = first.checked_add(more).and_then(|e| e.checked_add(1)).unwrap_or(u64::MAX);
            if end - 1 > seen.get(ReplicaIndex(replica as u16)) {
                return Err(from.malformed("a name beyond what is said to be seen"));
            }
            let origin = Origin { name: ROOT, left: false };
            chains.push(Chain { first: replica << 48 | first, end: replica << 48 | end, origin });
        }
    }
    let mut owners = Vec::with_capacity(whole);
    read_repeated(from, whole, &mut owners)?;
    let mut last = 0u64;
    let mut before: Option<Chain> = None;
    for (chain, owner) in chains.iter_mut().zip(owners) {
        let code = from.varint()?;
        let at = last.wrapping_add(unzigzag(code >> 1) as u64);
        last = at;
        let left = code & 1 == 1;
        if owner > u64::from(u16::MAX) || at > SEQUENCE_MAX || (at == 0 && (left || owner > 0)) {
            return Err(from.malformed("an origin that can't be"));
        }
        chain.origin = Origin { name: owner << 48 | at, left };
        let longer = before.is_some_and(|b| b.end == chain.first && chain.origin.name == b.end - 1 && !left);
        if longer || (chain.origin.name >> 48 == chain.first >> 48 && chain.origin.name >= chain.first) {
            return Err(from.malformed("a chain in two, or that hangs on itself"));
        }
        before = Some(*chain);
    }
    Ok(chains)
}

fn read_dead(from: &mut Reader<'_>, chains: &[Chain]) -> Result<Vec<(u64, u64)>, Malformed> {
    let mut dead = Vec::new();
    let mut left = from.varint()?;
    let mut is_dead = false;
    for chain in chains {
        let mut at = chain.first;
        loop {
            let n = left.min(chain.end - at);
            if is_dead && n > 0 {
                super::delta::push_interval(&mut dead, at, at + n);
            }
            at += n;
            left -= n;
            if at == chain.end {
                break;
            }
            left = from.varint()?;
            if left == 0 {
                return Err(from.malformed("a stretch of nothing"));
            }
            is_dead = !is_dead;
        }
    }
    if left > 0 {
        return Err(from.malformed("a stretch beyond the last name"));
    }
    Ok(dead)
}

fn write_origin(origin: Origin, out: &mut Writer) {
    out.byte(u8::from(origin.left) | u8::from(origin.name == ROOT) << 1);
    if origin.name != ROOT {
        out.dot(Dot::from_bits(origin.name));
    }
}

fn read_origin(from: &mut Reader<'_>) -> Result<Origin, Malformed> {
    match from.byte()? {
        2 => Ok(Origin { name: ROOT, left: false }),
        side @ (0 | 1) => Ok(Origin { name: from.dot()?.bits(), left: side == 1 }),
        _ => Err(from.malformed("neither a left nor a right side")),
    }
}

type Waiting<C> = Vec<(u64, Origin, C)>;

fn read_parked<C: Content>(from: &mut Reader<'_>, seen: &VersionVector) -> Result<Waiting<C>, Malformed> {
    let n = from.count(PARKED_MAX)?;
    let mut parked: Waiting<C> = Vec::with_capacity(n);
    let mut elements = 0;
    let mut end = 0;
    for _ in 0..n {
        let first = from.dot()?;
        let origin = read_origin(from)?;
        let count = from.count(INSERT_MAX)?;
        let bytes = from.bytes(usize::MAX)?;
        let content = C::read(bytes, count).ok_or(from.malformed("elements that are none"))?;
        elements += count;
        let last = first.sequence() + count as u64 - u64::from(count > 0);
        let ordered = first.bits() >= end && count > 0 && elements <= PARKED_MAX;
        let older = origin.name >> 48 != first.bits() >> 48 || origin.name < first.bits();
        if !ordered || !older || origin.name == ROOT || last > seen.get(first.replica()) {
            return Err(from.malformed("a waiting insertion that can't be"));
        }
        end = first.bits() + count as u64;
        parked.push((first.bits(), origin, content));
    }
    Ok(parked)
}

fn write_intervals(intervals: &[(u64, u64)], out: &mut Writer) {
    out.varint(intervals.len() as u64);
    for (first, end) in intervals {
        out.dot(Dot::from_bits(*first));
        out.varint(end - first);
    }
}

fn read_intervals(from: &mut Reader<'_>) -> Result<Vec<(u64, u64)>, Malformed> {
    let n = from.count(PARKED_MAX)?;
    let mut intervals: Vec<(u64, u64)> = Vec::with_capacity(n);
    for _ in 0..n {
        let first = from.dot()?;
        let len = from.varint()?;
        let fits = len > 0 && len <= SEQUENCE_MAX && first.sequence() + len - 1 <= SEQUENCE_MAX;
        if !fits || intervals.last().is_some_and(|(_, end)| *end >= first.bits()) {
            return Err(from.malformed("names to die out of order, or none"));
        }
        intervals.push((first.bits(), first.bits() + len));
    }
    Ok(intervals)
}

/// Bytes, packed if that makes them fewer.
fn pack(bytes: &[u8], out: &mut Writer) {
    let packed = lz4_flex::block::compress(bytes);
    out.varint(bytes.len() as u64);
    if packed.len() < bytes.len() {
        out.bytes(&packed);
    } else {
        out.bytes(bytes);
    }
}

fn unpack(from: &mut Reader<'_>) -> Result<Vec<u8>, Malformed> {
    let len = from.varint()?;
    let bytes = from.bytes(usize::MAX)?;
    if len == bytes.len() as u64 {
        return Ok(Vec::from(bytes));
    }
    // A length from outside reserves no more than the bytes can become.
    let most = bytes.len().saturating_mul(LZ4_MOST) as u64;
    if len < bytes.len() as u64 || len > most {
        return Err(from.malformed("a length that packed bytes can't have"));
    }
    lz4_flex::block::decompress(bytes, len as usize)
        .ok()
        .filter(|out| out.len() as u64 == len)
        .ok_or(from.malformed("packed bytes that don't unpack"))
}

fn end_of(from: &Reader<'_>) -> Result<(), Malformed> {
    if from.is_empty() { Ok(()) } else { Err(from.malformed("bytes after the end")) }
}

const DELETE: u8 = 0;
const INSERT: u8 = 1;

impl<C: Content> Op<C> {
    /// Its canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        match self {
            Self::Insert { first, hang, content } => {
                let origin = Origin::from(*hang);
                out.byte(INSERT | u8::from(origin.left) << 1 | u8::from(origin.name == ROOT) << 2);
                out.dot(*first);
                if let Some(origin) = hang.origin {
                    out.dot(origin);
                }
                out.varint(C::count(content.as_slice()) as u64);
                C::write(content.as_slice(), &mut out);
            }
            Self::Delete { by, spans } => {
                out.byte(DELETE);
                out.dot(*by);
                out.varint(spans.len() as u64);
                for span in spans.iter() {
                    out.dot(span.first);
                    out.varint(u64::from(span.len));
                }
            }
        }
        out.into_bytes()
    }

    /// Reads what [`Op::encode`] wrote.
    ///
    /// # Errors
    /// If the bytes are not the canonical form of an operation. What it says is for [`Op::check`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(bytes);
        let head = from.byte()?;
        if head == DELETE {
            let by = from.dot()?;
            let mut spans = Spans::default();
            let n = from.count(SPANS_MAX)?;
            for _ in 0..n {
                let first = from.dot()?;
                let len = u32::try_from(from.varint()?).ok().filter(|len| *len > 0);
                spans.push(Span { first, len: len.ok_or(from.malformed("a span of none, or too long"))? });
            }
            if spans.len() != n {
                return Err(from.malformed("one span in two"));
            }
            end_of(&from)?;
            return Ok(Self::Delete { by, spans });
        }
        if head & INSERT == 0 || head > 7 || head & 6 == 6 {
            return Err(from.malformed("neither an insertion nor a deletion"));
        }
        let side = if head & 2 == 0 { Side::Right } else { Side::Left };
        let first = from.dot()?;
        let origin = if head & 4 == 0 { Some(from.dot()?) } else { None };
        let n = from.count(INSERT_MAX)?;
        let content = from.raw(bytes.len() - from.position())?;
        let content = C::read(content, n).ok_or(from.malformed("elements that are none"))?;
        Ok(Self::Insert { first, hang: Hang { origin, side }, content })
    }
}

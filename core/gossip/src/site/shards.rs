//! Redundancy ahead of loss: a batch travels as datagrams, some of them more than it needs.
//!
//! **Why.** Over a link of 160 ms one way, a loss that has to be noticed and repaired costs two more ways at least: the lag is
//! 480 ms and what comes behind waits, whatever the protocol. A goal of 250 ms can only be met by what was sent before the loss.
//!
//! **Code.** Reed–Solomon over GF(2^8) (polynomial 0x11d), systematic, with a Cauchy matrix (Blömer et al., 1995) whose columns are
//! scaled so that the first parity is a plain XOR: any `data` of the `data + parity` shards of a block give all of it. Shards of one
//! block have one length; the last is padded with zeros.
//!
//! ```text
//! batch    bytes, cut into blocks of at most 128 shards of data
//! parity j = sum over i of c[j][i] * data i,   c[j][i] = (x0 + yi) / (xj + yi),   yi = i, xj = 128 + j
//! ```
//!
//! **Rejected.** Sending everything twice: 100 % more bytes for what 7 % do. XOR over neighbouring batches: repairs one loss,
//! and only when the next batches have come. Several TCP streams: each stands still at its own loss, and the order of dots makes
//! the others wait. Fountain codes: no gain below 128 shards.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bytes::Bytes;

/// Shards of data in a block.
pub(crate) const DATA_MAX: usize = 128;
/// Shards of parity in a block.
pub(crate) const PARITY_MAX: usize = 64;
const POLYNOMIAL: u16 = 0x11d;

const fn tables() -> ([u8; 512], [u8; 256]) {
    let (mut exp, mut log) = ([0; 512], [0; 256]);
    let (mut x, mut i) = (1_u16, 0);
    while i < 255 {
        exp[i] = x as u8;
        exp[i + 255] = x as u8;
        log[x as usize] = i as u8;
        x <<= 1;
        if x & 0x100 != 0 {
            x ^= POLYNOMIAL;
        }
        i += 1;
    }
    (exp, log)
}

static TABLES: ([u8; 512], [u8; 256]) = tables();

fn times(a: u8, b: u8) -> u8 {
    if a == 0 || b == 0 {
        return 0;
    }
    let (exp, log) = &TABLES;
    exp[usize::from(log[usize::from(a)]) + usize::from(log[usize::from(b)])]
}

fn over(a: u8, b: u8) -> u8 {
    debug_assert!(b != 0, "nothing is divided by zero");
    if a == 0 {
        return 0;
    }
    let (exp, log) = &TABLES;
    exp[usize::from(log[usize::from(a)]) + 255 - usize::from(log[usize::from(b)])]
}

fn coefficient(parity: usize, data: usize) -> u8 {
    let (x0, x, y) = (DATA_MAX as u8, (DATA_MAX + parity) as u8, data as u8);
    over(x0 ^ y, x ^ y)
}

/// `into += by * from`.
fn add(into: &mut [u8], by: u8, from: &[u8]) {
    match by {
        0 => {}
        1 => into.iter_mut().zip(from).for_each(|(a, b)| *a ^= b),
        _ => {
            let mut row = [0; 256];
            for (b, r) in row.iter_mut().enumerate() {
                *r = times(by, b as u8);
            }
            into.iter_mut().zip(from).for_each(|(a, b)| *a ^= row[usize::from(*b)]);
        }
    }
}

/// How many shards of at most `most` bytes hold so many bytes, and how long each is.
pub(crate) fn cut(length: usize, most: usize) -> (usize, usize) {
    let data = length.div_ceil(most.max(1)).max(1);
    (data, length.div_ceil(data).max(1))
}

/// The shards of a block: its data, then its parity.
pub(crate) fn protect(block: &Bytes, most: usize, parity: usize) -> Vec<Bytes> {
    let (data, length) = cut(block.len(), most);
    debug_assert!(data <= DATA_MAX && parity <= PARITY_MAX);
    let mut out = Vec::with_capacity(data + parity);
    let mut sums: Vec<Vec<u8>> = (0..parity).map(|_| alloc::vec![0; length]).collect();
    for i in 0..data {
        let shard = block.slice((i * length).min(block.len())..((i + 1) * length).min(block.len()));
        for (j, sum) in sums.iter_mut().enumerate() {
            add(sum, coefficient(j, i), &shard);
        }
        // The last is padded, so that all are of one length on the wire as in the sums.
        if shard.len() < length {
            let mut padded = shard.to_vec();
            padded.resize(length, 0);
            out.push(padded.into());
        } else {
            out.push(shard);
        }
    }
    out.extend(sums.into_iter().map(Bytes::from));
    out
}

/// The block of `length` bytes and `data` shards, from any `data` of its shards. They are of one length.
pub(crate) fn recover(length: usize, data: usize, shards: &BTreeMap<u8, Bytes>) -> Option<Vec<u8>> {
    if shards.len() < data {
        return None;
    }
    let size = shards.values().next()?.len();
    let missing: Vec<usize> = (0..data).filter(|i| !shards.contains_key(&(*i as u8))).collect();
    let parity: Vec<usize> = shards.range(data as u8..).map(|(j, _)| usize::from(*j) - data).collect();
    let mut found = solve(&missing, &parity, data, size, shards)?;
    let mut out = Vec::with_capacity(data * size);
    for i in 0..data {
        match shards.get(&(i as u8)) {
            Some(shard) => out.extend_from_slice(shard),
            None => out.extend(found.remove(&i)?),
        }
    }
    (out.len() >= length).then(|| {
        out.truncate(length);
        out
    })
}

/// The missing shards of data: as many equations as unknowns, by elimination.
fn solve(
    missing: &[usize],
    parity: &[usize],
    data: usize,
    size: usize,
    shards: &BTreeMap<u8, Bytes>,
) -> Option<BTreeMap<usize, Vec<u8>>> {
    let n = missing.len();
    let mut rows: Vec<(Vec<u8>, Vec<u8>)> = Vec::with_capacity(n);
    for j in parity.iter().take(n) {
        let mut sum = shards.get(&((data + j) as u8))?.to_vec();
        for (i, shard) in shards.range(..data as u8) {
            add(&mut sum, coefficient(*j, usize::from(*i)), shard);
        }
        rows.push((missing.iter().map(|i| coefficient(*j, *i)).collect(), sum));
    }
    if rows.len() < n || rows.iter().any(|r| r.1.len() != size) {
        return None;
    }
    for p in 0..n {
        let pivot = (p..n).find(|r| rows[*r].0[p] != 0)?;
        rows.swap(p, pivot);
        let inverse = over(1, rows[p].0[p]);
        rows[p].0.iter_mut().for_each(|c| *c = times(*c, inverse));
        let mut scaled = alloc::vec![0; size];
        add(&mut scaled, inverse, &rows[p].1);
        rows[p].1 = scaled;
        let (coefficients, sum) = rows[p].clone();
        for (r, row) in rows.iter_mut().enumerate() {
            let by = row.0[p];
            if r != p && by != 0 {
                row.0.iter_mut().zip(&coefficients).for_each(|(a, c)| *a ^= times(by, *c));
                add(&mut row.1, by, &sum);
            }
        }
    }
    Some(missing.iter().copied().zip(rows.into_iter().map(|r| r.1)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_field_is_a_field() {
        for a in 1..=255_u8 {
            assert_eq!(times(a, over(1, a)), 1);
            for b in 1..=255_u8 {
                assert_eq!(over(times(a, b), b), a);
            }
        }
        assert_eq!((times(2, 128), times(0, 7)), (0x1d, 0));
    }

    #[test]
    fn the_first_parity_is_the_sum_of_the_data() {
        let shards = protect(&Bytes::from(alloc::vec![5, 6, 7, 8]), 2, 1);
        assert_eq!(shards[2][..], [5 ^ 7, 6 ^ 8]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_as_many_shards_as_there_are_data_give_all(
            length in 1..4_000_usize,
            most in 32..200_usize,
            parity in 1..20_usize,
            seed in any::<u64>(),
        ) {
            let block: Bytes = (0..length).map(|i| (seed >> (i % 57)) as u8 ^ i as u8).collect::<Vec<_>>().into();
            let data = cut(length, most).0;
            let shards = protect(&block, most, parity);
            prop_assert_eq!(shards.len(), data + parity);
            prop_assert!(shards.iter().all(|s| s.len() <= most));
            let mut left: Vec<u8> = (0..shards.len() as u8).collect();
            let mut draw = seed | 1;
            let mut kept = BTreeMap::new();
            while kept.len() < data {
                draw = draw.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
                let i = left.swap_remove(draw as usize % left.len());
                kept.insert(i, shards[usize::from(i)].clone());
            }
            prop_assert_eq!(recover(length, data, &kept), Some(block.to_vec()));
            kept.pop_first();
            prop_assert_eq!(recover(length, data, &kept), None);
        }
    }
}

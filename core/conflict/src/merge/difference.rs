//! What turns one row into another: Myers' shortest edit script (*An O(ND) difference algorithm*, 1986), bounded.
//!
//! Beyond [`EDITS_MAX`] edits the rows have little in common, and all between their common head and tail counts as replaced. So the cost
//! is bounded by the square of that and by [`STEPS_MAX`] comparisons, whatever is compared.

use alloc::vec::Vec;
use core::ops::Range;

/// Edits beyond which rows count as different altogether.
const EDITS_MAX: usize = 512;
/// Comparisons beyond which they do too.
const STEPS_MAX: usize = 1 << 22;

/// Something goes from the old row, something of the new one comes in its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Cut {
    /// Where in the old row.
    pub(crate) from: usize,
    /// How many go.
    pub(crate) count: usize,
    /// Which of the new row come.
    pub(crate) put: Range<usize>,
}

/// The cuts that make `new` of `old`, ascending and not touching.
pub(crate) fn cuts<T: Eq>(old: &[T], new: &[T]) -> Vec<Cut> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (a, b) = (&old[head..], &new[head..]);
    let tail = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[..a.len() - tail], &b[..b.len() - tail]);
    if a.is_empty() && b.is_empty() {
        return Vec::new();
    }
    let whole = || Vec::from([Cut { from: 0, count: a.len(), put: 0..b.len() }]);
    let mut out = if a.is_empty() || b.is_empty() { whole() } else { shortest(a, b).unwrap_or_else(whole) };
    for cut in &mut out {
        cut.from += head;
        cut.put = cut.put.start + head..cut.put.end + head;
    }
    out
}

/// Furthest points on each diagonal, by number of edits; then the way back.
fn shortest<T: Eq>(a: &[T], b: &[T]) -> Option<Vec<Cut>> {
    let (n, m) = (a.len() as isize, b.len() as isize);
    let most = (a.len() + b.len()).min(EDITS_MAX) as isize;
    // furthest[d][(k + d) / 2] for k = -d, -d + 2, …, d: x of the furthest point on diagonal k.
    let mut furthest: Vec<Vec<isize>> = Vec::new();
    let before = |rows: &[Vec<isize>], d: isize, k: isize| -> isize {
        // The point an edit leads from: down (an insertion) from k + 1 or right (a deletion) from k - 1.
        if d == 0 {
            return 0;
        }
        let row = &rows[d as usize - 1];
        let at = |k: isize| row.get(((k + d - 1) / 2) as usize).copied();
        let down = if k < d { at(k + 1) } else { None };
        let right = if k > -d { at(k - 1).map(|x| x + 1) } else { None };
        down.max(right).unwrap_or(0)
    };
    let mut steps = 0;
    for d in 0..=most {
        let mut row = Vec::with_capacity(d as usize + 1);
        for k in (-d..=d).step_by(2) {
            let mut x = before(&furthest, d, k);
            let began = x;
            while x < n && x - k < m && x - k >= 0 && a[x as usize] == b[(x - k) as usize] {
                x += 1;
            }
            if x >= n && x - k >= m {
                row.push(x);
                furthest.push(row);
                return Some(back(&furthest, d, k, before));
            }
            row.push(x);
            steps += (x - began) as usize + 1;
        }
        if steps > STEPS_MAX {
            return None;
        }
        furthest.push(row);
    }
    None
}

fn back(
    furthest: &[Vec<isize>],
    edits: isize,
    diagonal: isize,
    before: impl Fn(&[Vec<isize>], isize, isize) -> isize,
) -> Vec<Cut> {
    // Single edits, last first: where in the old row, where in the new, whether it inserts.
    let mut single = Vec::new();
    let mut k = diagonal;
    for d in (1..=edits).rev() {
        let x = before(furthest, d, k);
        let row = &furthest[d as usize - 1];
        let down = if k < d { row.get(((k + d) / 2) as usize).copied() } else { None };
        // Prefer as `before` does: the greater x.
        if down == Some(x) {
            single.push((x as usize, (x - k - 1) as usize, true));
            k += 1;
        } else {
            single.push((x as usize - 1, (x - k) as usize, false));
            k -= 1;
        }
    }
    let mut out: Vec<Cut> = Vec::new();
    for (x, y, inserts) in single.into_iter().rev() {
        let cut = match out.last_mut() {
            Some(c) if c.from + c.count == x && c.put.end == y => c,
            _ => {
                out.push(Cut { from: x, count: 0, put: y..y });
                out.last_mut().expect("just pushed")
            }
        };
        if inserts {
            cut.put.end += 1;
        } else {
            cut.count += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn patch(old: &[u8], new: &[u8], cuts: &[Cut]) -> Vec<u8> {
        let (mut out, mut at) = (Vec::new(), 0);
        for c in cuts {
            out.extend_from_slice(&old[at..c.from]);
            out.extend_from_slice(&new[c.put.clone()]);
            at = c.from + c.count;
        }
        out.extend_from_slice(&old[at..]);
        out
    }
    /// Length of the longest common subsequence, by the textbook.
    fn common(a: &[u8], b: &[u8]) -> usize {
        let mut row = std::vec![0; b.len() + 1];
        for x in a {
            let mut corner = 0;
            for (j, y) in b.iter().enumerate() {
                let up = row[j + 1];
                row[j + 1] = if x == y { corner + 1 } else { up.max(row[j]) };
                corner = up;
            }
        }
        row[b.len()]
    }

    proptest! {
        #[test]
        fn cuts_make_the_new_of_the_old_and_are_the_fewest(
            a in prop::collection::vec(0u8..4, 0..30), b in prop::collection::vec(0u8..4, 0..30)
        ) {
            let c = cuts(&a, &b);
            prop_assert_eq!(patch(&a, &b, &c), b.clone());
            let edits: usize = c.iter().map(|c| c.count + c.put.len()).sum();
            prop_assert_eq!(edits, a.len() + b.len() - 2 * common(&a, &b));
            prop_assert!(c.windows(2).all(|w| w[0].from + w[0].count < w[1].from));
        }
    }

    #[test]
    fn rows_with_nothing_in_common_are_replaced_at_a_bounded_cost() {
        let a: Vec<u32> = (0..100_000).collect();
        let b: Vec<u32> = (100_000..200_000).collect();
        assert_eq!(cuts(&a, &b), [Cut { from: 0, count: 100_000, put: 0..100_000 }]);
        // Long rows that are alike but for some hundred places: too far to walk on so many diagonals.
        let a: Vec<u32> = (0..200_000).map(|n| n % 2).collect();
        let b: Vec<u32> = (0..200_000).map(|n| if n % 700 == 1 { 9 } else { n % 2 }).collect();
        assert_eq!(cuts(&a, &b).len(), 1);
    }
}

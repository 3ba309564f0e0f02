//! The same histories against `crdts::Map<_, MVReg>`: the harness must find that it does not converge (X1 of the memo; 570 of
//! 20,000 there). What finds nothing in a type that is known to be broken proves nothing about one that is not.

use crate::draw::Draw;
use crdts::{CmRDT, CvRDT, MVReg, Map};
use std::collections::BTreeMap;

type Rival = Map<u8, MVReg<u8, u8>, u8>;

/// What a replica shows: each key's values.
fn view(map: &Rival) -> BTreeMap<u8, Vec<u8>> {
    let mut out = BTreeMap::new();
    for entry in map.iter() {
        let (key, register) = entry.val;
        let mut values = register.read().val;
        values.sort_unstable();
        out.insert(*key, values);
    }
    out
}

/// Runs the history of a seed: whether the replicas read alike, whatever the order in which they are merged.
pub(crate) fn converges(seed: u64) -> bool {
    let mut draw = Draw(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x1357);
    let mut replicas: Vec<Rival> = vec![Map::new(); 3];
    for step in 0..8u8 {
        let n = draw.below(3);
        match draw.below(5) {
            0 | 1 => {
                let key = draw.below(2) as u8;
                let ctx = replicas[n].read_ctx().derive_add_ctx(n as u8);
                let op = replicas[n].update(key, ctx, |register, ctx| register.write(step, ctx));
                replicas[n].apply(op);
            }
            2 => {
                let key = draw.below(2) as u8;
                let ctx = replicas[n].get(&key).derive_rm_ctx();
                let op = replicas[n].rm(key, ctx);
                replicas[n].apply(op);
            }
            _ => {
                let from = replicas[(n + 1 + draw.below(2)) % 3].clone();
                replicas[n].merge(from);
            }
        }
    }
    let merged = |order: [usize; 3]| {
        let mut out = replicas[order[0]].clone();
        out.merge(replicas[order[1]].clone());
        out.merge(replicas[order[2]].clone());
        view(&out)
    };
    let first = merged([0, 1, 2]);
    [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]].into_iter().all(|order| merged(order) == first)
}

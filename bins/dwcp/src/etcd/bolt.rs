//! A bolt database image: the file format in which etcd keeps its state and hands out snapshots.
//!
//! **Promise.** The image opens in etcd's own tools: `etcdctl snapshot status`, `snapshot restore`.
//!
//! ```text
//!  page 0, 1   meta        root bucket, freelist, first page behind the end, checksum; twice
//!  page 2      freelist    empty: nothing has ever been freed
//!  page 3…     per bucket: its leaves in the order of keys, then its branches, the root last
//!  last        leaf        the root bucket: name → (root page, sequence)
//!
//!  page        id u64 | flags u16 | count u16 | overflow pages u32 | elements | keys and values
//!  leaf        flags u32 (1: a bucket) | pos u32 | key length u32 | value length u32
//!  branch      pos u32 | key length u32 | page u64
//!  meta        magic u32 | version u32 | page size u32 | flags u32 | root u64 | sequence u64 |
//!              freelist u64 | end u64 | txid u64 | FNV-1a 64 of the 56 bytes before
//! ```
//! Numbers are little endian; `pos` counts from its element. (go.etcd.io/bbolt, `page.go`, `db.go`.)
//!
//! The image is planned first, from sizes alone, and written from its first page to its last, so
//! that it can go out as a stream.

use bytes::Bytes;
use std::ops::Range;

/// Bytes of a page.
pub(super) const PAGE: usize = 4096;
const HEADER: usize = 16;
const ELEMENT: usize = 16;
const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
const BRANCH: u16 = 1;
const LEAF: u16 = 2;
const META: u16 = 4;
const FREELIST: u16 = 16;
const FREELIST_PAGE: u64 = 2;
const FIRST_PAGE: u64 = 3;

/// A bucket: a name, and keys in ascending order.
pub(super) struct Bucket {
    pub(super) name: &'static str,
    pub(super) entries: Vec<(Bytes, Bytes)>,
}

/// A planned page, or several where something large overflows.
enum Node {
    Leaf { bucket: usize, entries: Range<usize> },
    Branch { children: Vec<(Bytes, u64)> },
    Roots { roots: Vec<u64> },
}

/// A planned image.
pub(super) struct Image {
    buckets: Vec<Bucket>,
    nodes: Vec<(u64, Node)>,
    root: u64,
    end: u64,
}

fn pages(bytes: usize) -> u64 {
    bytes.div_ceil(PAGE) as u64
}

impl Image {
    /// Plans the image of these buckets, whose names must be in ascending order.
    pub(super) fn plan(buckets: Vec<Bucket>) -> Self {
        assert!(buckets.is_sorted_by(|a, b| a.name < b.name), "buckets lie in the order of their names");
        let mut image = Self { buckets: Vec::new(), nodes: Vec::new(), root: 0, end: FIRST_PAGE };
        let roots = buckets.iter().enumerate().map(|(i, b)| image.plan_bucket(i, b)).collect();
        let size = HEADER + buckets.iter().map(|b| ELEMENT + b.name.len() + 16).sum::<usize>();
        image.root = image.add(size, Node::Roots { roots });
        image.buckets = buckets;
        image
    }

    fn add(&mut self, size: usize, node: Node) -> u64 {
        let id = self.end;
        self.nodes.push((id, node));
        self.end += pages(size);
        id
    }

    /// Leaves, then branches over them until one page is left: the bucket's root.
    fn plan_bucket(&mut self, bucket: usize, b: &Bucket) -> u64 {
        let sizes = b.entries.iter().map(|(k, v)| ELEMENT + k.len() + v.len());
        let mut level: Vec<(Bytes, u64)> = Vec::new();
        for (entries, size) in groups(sizes) {
            let first = b.entries.get(entries.start).map(|(k, _)| k.clone()).unwrap_or_default();
            let id = self.add(size, Node::Leaf { bucket, entries });
            level.push((first, id));
        }
        while level.len() > 1 {
            let sizes = level.iter().map(|(k, _)| ELEMENT + k.len());
            let mut above = Vec::new();
            for (children, size) in groups(sizes) {
                let children = level[children].to_vec();
                let first = children.first().map(|(k, _)| k.clone()).unwrap_or_default();
                above.push((first, self.add(size, Node::Branch { children })));
            }
            level = above;
        }
        level[0].1
    }

    /// Bytes of the whole image.
    pub(super) const fn size(&self) -> u64 {
        self.end * PAGE as u64
    }

    /// The image, piece by piece; each piece is whole pages.
    pub(super) fn pieces(&self) -> impl Iterator<Item = Vec<u8>> {
        let head = [self.meta(0), self.meta(1), page(FREELIST_PAGE, FREELIST, &[], &[])].concat();
        std::iter::once(head).chain(self.nodes.iter().map(|(id, node)| self.write(*id, node)))
    }

    fn write(&self, id: u64, node: &Node) -> Vec<u8> {
        match node {
            Node::Leaf { bucket, entries } => {
                let entries = &self.buckets[*bucket].entries[entries.clone()];
                leaf(id, 0, entries.iter().map(|(k, v)| (&k[..], &v[..])))
            }
            Node::Branch { children } => branch(id, children),
            Node::Roots { roots } => {
                let values: Vec<[u8; 16]> = roots
                    .iter()
                    .map(|root| {
                        let mut value = [0; 16];
                        value[..8].copy_from_slice(&root.to_le_bytes());
                        value
                    })
                    .collect();
                leaf(id, 1, self.buckets.iter().zip(&values).map(|(b, v)| (b.name.as_bytes(), &v[..])))
            }
        }
    }

    fn meta(&self, number: u64) -> Vec<u8> {
        let mut body = Vec::with_capacity(64);
        for n in [MAGIC, VERSION, PAGE as u32, 0] {
            body.extend_from_slice(&n.to_le_bytes());
        }
        for n in [self.root, 0, FREELIST_PAGE, self.end, number] {
            body.extend_from_slice(&n.to_le_bytes());
        }
        let check = fnv1a(&body);
        body.extend_from_slice(&check.to_le_bytes());
        page(number, META, &[], &body)
    }
}

/// Cuts a row of sizes into groups that fit a page; what is larger than a page stands alone.
/// There is always one group, be it empty.
fn groups(sizes: impl Iterator<Item = usize>) -> Vec<(Range<usize>, usize)> {
    let mut all = Vec::new();
    let (mut start, mut total, mut i) = (0, HEADER, 0);
    for size in sizes {
        if i > start && total + size > PAGE {
            all.push((start..i, total));
            (start, total) = (i, HEADER);
        }
        total += size;
        i += 1;
    }
    all.push((start..i, total));
    all
}

fn leaf<'a>(id: u64, flags: u32, entries: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone) -> Vec<u8> {
    let count = entries.clone().count();
    let (mut elements, mut data) = (Vec::new(), Vec::new());
    for (i, (k, v)) in entries.enumerate() {
        let pos = (count - i) * ELEMENT + data.len();
        for n in [flags, pos as u32, k.len() as u32, v.len() as u32] {
            elements.extend_from_slice(&n.to_le_bytes());
        }
        data.extend_from_slice(k);
        data.extend_from_slice(v);
    }
    page(id, LEAF, &elements, &data)
}

fn branch(id: u64, children: &[(Bytes, u64)]) -> Vec<u8> {
    let (mut elements, mut data) = (Vec::new(), Vec::new());
    for (i, (k, child)) in children.iter().enumerate() {
        let pos = (children.len() - i) * ELEMENT + data.len();
        elements.extend_from_slice(&(pos as u32).to_le_bytes());
        elements.extend_from_slice(&(k.len() as u32).to_le_bytes());
        elements.extend_from_slice(&child.to_le_bytes());
        data.extend_from_slice(k);
    }
    page(id, BRANCH, &elements, &data)
}

fn page(id: u64, flags: u16, elements: &[u8], data: &[u8]) -> Vec<u8> {
    let size = HEADER + elements.len() + data.len();
    let whole = pages(size).max(1) as usize * PAGE;
    let mut out = Vec::with_capacity(whole);
    out.extend_from_slice(&id.to_le_bytes());
    out.extend_from_slice(&flags.to_le_bytes());
    out.extend_from_slice(&((elements.len() / ELEMENT) as u16).to_le_bytes());
    out.extend_from_slice(&((whole / PAGE - 1) as u32).to_le_bytes());
    out.extend_from_slice(elements);
    out.extend_from_slice(data);
    out.resize(whole, 0);
    out
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a bucket back, as bolt does.
    fn read(image: &[u8], id: u64, out: &mut Vec<(Vec<u8>, Vec<u8>)>) {
        let u = |at: usize, n: usize| {
            image[at..at + n].iter().rev().fold(0_u64, |x, b| x << 8 | u64::from(*b)) as usize
        };
        let at = id as usize * PAGE;
        assert_eq!(u(at, 8) as u64, id, "a page knows its number");
        let (flags, count) = (u(at + 8, 2) as u16, u(at + 10, 2));
        for e in (0..count).map(|i| at + HEADER + i * ELEMENT) {
            if flags == LEAF {
                let key = e + u(e + 4, 4);
                let value = key + u(e + 8, 4);
                let end = value + u(e + 12, 4);
                out.push((image[key..value].to_vec(), image[value..end].to_vec()));
            } else {
                assert_eq!(flags, BRANCH);
                read(image, u(e + 8, 8) as u64, out);
            }
        }
    }

    #[test]
    fn what_goes_in_comes_out_in_order() {
        for (n, value) in [(0_u32, 0), (1, 10), (100, 20), (5_000, 300), (40, 20_000)] {
            let entries: Vec<(Bytes, Bytes)> = (0..n)
                .map(|i| (Bytes::copy_from_slice(&i.to_be_bytes()), Bytes::from(vec![i as u8; value])))
                .collect();
            let want: Vec<_> = entries.iter().map(|(k, v)| (k.to_vec(), v.to_vec())).collect();
            let image = Image::plan(vec![
                Bucket { name: "empty", entries: Vec::new() },
                Bucket { name: "key", entries },
            ]);
            let bytes = image.pieces().collect::<Vec<_>>().concat();
            assert_eq!(bytes.len() as u64, image.size());
            let mut buckets = Vec::new();
            read(&bytes, image.root, &mut buckets);
            assert_eq!(buckets.iter().map(|b| &b.0[..]).collect::<Vec<_>>(), [&b"empty"[..], b"key"]);
            let root = u64::from_le_bytes(*buckets[1].1.first_chunk().unwrap());
            let mut found = Vec::new();
            read(&bytes, root, &mut found);
            assert!(found == want, "{n} entries of {value} bytes");
        }
    }
}

//! Links: measured round trips between five regions, halved; loss as an exact ratio.
//!
//! The matrix is AWS of 2020-06-05 (`runtime-sim/data`, MIT: LICENSE.fantoch-MIT there), the five regions those
//! of the EuroSys'21 evaluation of Tempo: 36 to 169 ms one way. Inside a region 0.3 to 1.1 ms, as between
//! zones (IBM Cloud publishes round trips of 0.6 to 2.2 ms).

use dwcp_env::Ratio;

const MATRIX: &str = include_str!("../../../../runtime-sim/data/aws-2020.csv");
/// The five regions.
pub const REGIONS: [&str; 5] = ["ap-southeast-1", "ca-central-1", "eu-west-1", "sa-east-1", "us-west-1"];

/// The links of a world; nanoseconds.
#[derive(Clone)]
pub struct Net {
    /// (least, spread, worst) one way.
    paths: Vec<(u64, u64, u64)>,
    regions: usize,
    pub loss: Ratio,
}

impl Net {
    /// The first `regions` of the five.
    pub fn measured(regions: usize, loss: Ratio) -> Self {
        let mut paths = Vec::new();
        for from in &REGIONS[..regions] {
            for to in &REGIONS[..regions] {
                paths.push(if from == to { (300_000, 800_000, 3_000_000) } else { path(from, to) });
            }
        }
        Self { paths, regions, loss }
    }
    pub fn regions(&self) -> usize {
        self.regions
    }
    /// One delay: uniform over the usual range, one in a thousand the worst that was seen; and 30 us at the
    /// receiver.
    pub fn delay(&self, from: usize, to: usize, draw: u64) -> u64 {
        let (least, spread, worst) = self.paths[from * self.regions + to];
        let usual = least + ((u128::from(draw >> 10) * u128::from(spread)) >> 54) as u64;
        30_000 + if draw.is_multiple_of(1_000) { worst.max(usual) } else { usual }
    }
    /// The longest usual way, in nanoseconds.
    pub fn longest(&self) -> u64 {
        self.paths.iter().map(|p| p.0).max().unwrap_or(0)
    }
}

fn path(from: &str, to: &str) -> (u64, u64, u64) {
    let row = MATRIX.lines().find(|l| {
        let mut f = l.split(',');
        f.next() == Some(from) && f.next() == Some(to)
    });
    let ms: Vec<f64> = row
        .unwrap_or_else(|| panic!("{from} to {to} is not in the matrix"))
        .split(',')
        .skip(2)
        .map(|v| v.parse().expect("a number"))
        .collect();
    let ns = |ms: f64| (ms * 500_000.0) as u64;
    // Round trips: least, mean, worst, mean deviation.
    (ns(ms[0]), 2 * ns(ms[1] - ms[0]) + ns(ms[3]), ns(ms[2]))
}

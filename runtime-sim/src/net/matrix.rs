//! Measured round trips between regions, by name.
//!
//! The files are in `data/` with their sources and licences. Values are held in nanoseconds,
//! parsed without floating point.

use dwcp_env::Duration;

/// One way from region to region.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Path {
    /// The shortest seen.
    pub min: Duration,
    /// The mean.
    pub mean: Duration,
    /// The longest seen.
    pub max: Duration,
    /// The mean deviation.
    pub deviation: Duration,
}

/// The paths between all pairs of regions.
#[derive(Clone, Debug)]
pub struct Matrix {
    regions: Vec<&'static str>,
    paths: Vec<Path>,
}

impl Matrix {
    /// The matrices there are.
    pub const NAMES: [&'static str; 2] = ["aws-2020", "gcp-2020"];

    /// The matrix of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let text = match name {
            "aws-2020" => include_str!("../../data/aws-2020.csv"),
            "gcp-2020" => include_str!("../../data/gcp-2020.csv"),
            _ => return None,
        };
        Self::parse(text)
    }

    fn parse(text: &'static str) -> Option<Self> {
        let rows: Option<Vec<_>> = text.lines().skip(1).map(row).collect();
        let rows = rows?;
        let mut regions: Vec<_> = rows.iter().map(|r| r.0).collect();
        regions.sort_unstable();
        regions.dedup();
        let n = regions.len();
        let mut paths = vec![None; n * n];
        for (from, to, path) in rows {
            let i = regions.binary_search(&from).ok()? * n + regions.binary_search(&to).ok()?;
            paths[i] = Some(path);
        }
        Some(Self { regions, paths: paths.into_iter().collect::<Option<_>>()? })
    }

    /// The names of its regions, sorted.
    #[must_use]
    pub fn regions(&self) -> &[&'static str] {
        &self.regions
    }
    /// A region's number.
    #[must_use]
    pub fn region(&self, name: &str) -> Option<usize> {
        self.regions.binary_search(&name).ok()
    }
    /// One way from one region to another.
    ///
    /// # Panics
    /// If a number is not one of [`Matrix::region`]'s.
    #[must_use]
    pub fn path(&self, from: usize, to: usize) -> Path {
        assert!(
            from < self.regions.len() && to < self.regions.len(),
            "regions are numbered by Matrix::region"
        );
        self.paths[from * self.regions.len() + to]
    }
}

fn row(line: &'static str) -> Option<(&'static str, &'static str, Path)> {
    let mut f = line.split(',');
    let (from, to) = (f.next()?, f.next()?);
    let mut half = || Some(Duration::nanos(nanos(f.next()?)? / 2));
    let path = Path { min: half()?, mean: half()?, max: half()?, deviation: half()? };
    Some((from, to, path))
}

/// Decimal milliseconds with at most six places, in nanoseconds.
fn nanos(ms: &str) -> Option<u64> {
    let (whole, part) = ms.split_once('.').unwrap_or((ms, ""));
    if part.len() > 6 {
        return None;
    }
    let fraction = part.parse::<u64>().or_else(|e| if part.is_empty() { Ok(0) } else { Err(e) }).ok()?;
    let scale = 10_u64.pow(6 - u32::try_from(part.len()).ok()?);
    Some(whole.parse::<u64>().ok()? * 1_000_000 + fraction * scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_parses_and_is_complete() {
        for (name, regions) in Matrix::NAMES.into_iter().zip([19, 20]) {
            let m = Matrix::named(name).unwrap();
            assert_eq!(m.regions().len(), regions, "{name}");
            for from in 0..regions {
                for to in 0..regions {
                    let p = m.path(from, to);
                    assert!(p.min > Duration::ZERO && p.min <= p.mean && p.mean <= p.max, "{name} {p:?}");
                }
            }
        }
    }

    #[test]
    fn the_published_facts_hold() {
        // shared/data/latency/README.md: off-diagonal median round trip, AWS 150.6 ms, GCP 141.5 ms.
        for (name, median_us) in [("aws-2020", 150_600), ("gcp-2020", 141_500)] {
            let m = Matrix::named(name).unwrap();
            let n = m.regions().len();
            let mut all: Vec<_> = (0..n * n)
                .filter(|i| i / n != i % n)
                .map(|i| m.path(i / n, i % n).mean.as_micros() * 2)
                .collect();
            all.sort_unstable();
            let middle = (all[all.len() / 2 - 1] + all[all.len() / 2]) / 2;
            assert!(middle.abs_diff(median_us) < 100, "{name}: {middle} us");
        }
    }

    #[test]
    fn milliseconds_parse_exactly() {
        assert_eq!(nanos("382.854"), Some(382_854_000));
        assert_eq!(nanos("7"), Some(7_000_000));
        assert_eq!(nanos("0.000001"), Some(1));
        assert_eq!(nanos("x"), None);
        assert_eq!(nanos("1.0000001"), None);
    }
}

//! Faults on purpose, for `dwcp dev` and tests: delays and cuts on what a node sends to a peer.
//!
//! Exists only where [`Settings::inject`](crate::Settings) says so; a production node holds no
//! [`Inject`] at all and takes no branch of it. Both act on the sender's side, so that a one-way
//! cut is one node's cut and a partition is both's. A delayed message keeps its place. The same setting
//! lets the calendar be put off ([`crate::clock::Offset`]).

use dwcp_env::NodeId;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What is done to messages for one peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Fault {
    /// Held back this long before they are written.
    pub delay: Duration,
    /// Dropped.
    pub cut: bool,
}

/// The faults of one node; may be changed at any time.
#[derive(Debug, Default)]
pub struct Inject {
    faults: Mutex<BTreeMap<NodeId, Fault>>,
}

/// What becomes of a message.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    Drop,
    Send(Option<Instant>),
}

impl Inject {
    /// Sets the delay towards a peer; the one-way time of the link.
    pub fn delay(&self, to: NodeId, delay: Duration) {
        self.with(to, |f| f.delay = delay);
    }
    /// Cuts or mends what is sent to a peer.
    pub fn cut(&self, to: NodeId, cut: bool) {
        self.with(to, |f| f.cut = cut);
    }
    /// Mends all cuts; delays stay.
    pub fn heal(&self) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.values_mut().for_each(|f| f.cut = false);
    }
    /// What is set, by peer.
    #[must_use]
    pub fn all(&self) -> BTreeMap<NodeId, Fault> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn with(&self, to: NodeId, change: impl FnOnce(&mut Fault)) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        change(faults.entry(to).or_default());
    }

    pub(crate) fn fate(&self, to: NodeId) -> Fate {
        match self.faults.lock().unwrap_or_else(PoisonError::into_inner).get(&to) {
            Some(f) if f.cut => Fate::Drop,
            Some(f) if !f.delay.is_zero() => Fate::Send(Some(Instant::now() + f.delay)),
            _ => Fate::Send(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_drops_and_heals_and_a_delay_stays() {
        let i = Inject::default();
        let n = NodeId(2);
        assert_eq!(i.fate(n), Fate::Send(None));
        i.delay(n, Duration::from_secs(1));
        i.cut(n, true);
        assert_eq!(i.fate(n), Fate::Drop);
        i.heal();
        assert!(matches!(i.fate(n), Fate::Send(Some(_))));
        assert_eq!(i.fate(NodeId(3)), Fate::Send(None));
    }
}

//! **Convergence**: after the heal, the core agrees on one leader, serves, and becomes equal in
//! bounded time (the liveness half of the specification; TigerBeetle's VOPR, liveness mode).

use super::Look;
use dwcp_env::NodeId;

/// Whether all of the core have applied the same index, everything committed included; or
/// who is behind. What a leader outside of the core has committed and acknowledged the core has in its logs
/// and hears to be committed with the next message: it must have applied that too.
///
/// # Errors
/// What is missing, for people.
pub fn converged(core: &[NodeId], leader: Option<NodeId>, looks: &[Look]) -> Result<(), String> {
    let of = |n: &NodeId| looks.get(n.0 as usize).copied().unwrap_or_default();
    let applied = |n: &NodeId| of(n).applied.map_or(0, |p| p.index);
    let known = core.iter().chain(&leader);
    let target = known.map(|n| of(n).committed.max(applied(n))).max().unwrap_or(0);
    let behind: Vec<String> = core
        .iter()
        .filter(|n| applied(n) < target)
        .map(|n| format!("{n} at {} (log {}, term {})", applied(n), of(n).last, of(n).term))
        .collect();
    if behind.is_empty() {
        Ok(())
    } else {
        Err(format!("{target} is committed; behind are {}", behind.join(", ")))
    }
}

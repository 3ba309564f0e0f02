//! A network of namespaces: each node in its own, joined by a bridge or by a [`Link`] of ours, and cut by nftables.
//!
//! ```text
//!   namespace dwcpj-PID-1        namespace dwcpj-PID-2
//!     eth0 10.x.y.1                eth0 10.x.y.2         nft: input ← drop what comes from whom
//!        │ veth (or tun)              │
//!   ─────┴──── bridge dwcpjPID ───────┴─────  10.x.y.254: the clients, never cut
//! ```
//!
//! A cut is a rule in the receiver's namespace: what one node sends to another is dropped there and
//! counted. So one-way cuts are one rule, partitions are two, and the counter is the proof.
//! Everything bears our process number; it goes when the [`Namespaces`] are dropped, and what a killed run
//! left is taken away by the next ([`clear`]).

use crate::link::{Counts, Link, Shape};
use dwcp_env::{NodeId, Seed};
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};

/// What joins the namespaces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wire {
    /// The kernel's bridge: fast, cuts only.
    Bridge,
    /// Our own link: delays and losses too.
    Link,
}

/// The last number of the clients' address.
const CLIENTS: u8 = 254;
/// Where cuts are, in each namespace.
const TABLE: &str =
    "add table inet dwcp\nadd chain inet dwcp cuts { type filter hook input priority 0; policy accept; }\n";

/// The namespaces of a run. Dropped, they are gone.
#[derive(Debug)]
pub struct Namespaces {
    pid: u32,
    nodes: Vec<NodeId>,
    link: Option<Link>,
}

impl Namespaces {
    /// Makes a namespace for each node (numbers 1 to 200).
    ///
    /// # Errors
    /// What could not be made; what was made is gone again.
    pub fn new(nodes: &[NodeId], wire: Wire, seed: Seed) -> Result<Self, String> {
        clear();
        let mut made = Self { pid: std::process::id(), nodes: nodes.to_vec(), link: None };
        let (pid, clients) = (made.pid, made.numbered(CLIENTS));
        let mut root = String::new();
        for node in nodes {
            root.push_str(&format!("netns add {}\n", made.name(*node)));
        }
        match wire {
            Wire::Bridge => {
                root.push_str(&format!("link add dwcpj{pid} type bridge\n"));
                for node in nodes {
                    let (name, veth) = (made.name(*node), made.device(*node));
                    root.push_str(&format!("link add {veth} type veth peer name eth0 netns {name}\n"));
                    root.push_str(&format!("link set {veth} master dwcpj{pid} up\n"));
                }
                root.push_str(&format!("addr add {clients}/24 dev dwcpj{pid}\nlink set dwcpj{pid} up\n"));
                ip(&[], &root)?;
            }
            Wire::Link => {
                ip(&[], &root)?;
                let mut ends = vec![(clients, format!("dwcpj{pid}"))];
                ends.extend(nodes.iter().map(|n| (made.address(*n), made.device(*n))));
                made.link = Some(Link::new(&ends, clients, seed)?);
                let mut root = format!("addr add {clients}/24 dev dwcpj{pid}\nlink set dwcpj{pid} up\n");
                for node in nodes {
                    root.push_str(&format!("link set {} netns {}\n", made.device(*node), made.name(*node)));
                }
                ip(&[], &root)?;
            }
        }
        for node in nodes {
            let name = made.name(*node);
            let device = if wire == Wire::Bridge { "eth0".to_owned() } else { made.device(*node) };
            let own = format!(
                "link set lo up\naddr add {}/24 dev {device}\nlink set {device} up\n",
                made.address(*node)
            );
            ip(&["-n", &name], &own)?;
            feed(&["ip", "netns", "exec", &name, "nft", "-f", "-"], TABLE)?;
        }
        Ok(made)
    }
    /// A node's address.
    #[must_use]
    pub fn address(&self, node: NodeId) -> Ipv4Addr {
        self.numbered(u8::try_from(node.0).unwrap_or(0))
    }
    /// The words before a program's name that start it in a node's namespace.
    #[must_use]
    pub fn enter(&self, node: NodeId) -> Vec<String> {
        ["ip", "netns", "exec", &self.name(node)].map(String::from).to_vec()
    }
    /// Drops what the first of each pair sends to the second.
    ///
    /// # Errors
    /// What nft said.
    pub fn cut(&self, pairs: &[(NodeId, NodeId)]) -> Result<(), String> {
        for to in &self.nodes {
            let from = pairs.iter().filter(|p| p.1 == *to).map(|p| self.address(p.0));
            let rules: String =
                from.map(|a| format!("add rule inet dwcp cuts ip saddr {a} counter drop\n")).collect();
            if !rules.is_empty() {
                feed(&["ip", "netns", "exec", &self.name(*to), "nft", "-f", "-"], &rules)?;
            }
        }
        Ok(())
    }
    /// Mends all cuts; how many packets they dropped.
    ///
    /// # Errors
    /// What nft said.
    pub fn mend(&self) -> Result<u64, String> {
        let mut dropped = 0;
        for node in &self.nodes {
            let name = self.name(*node);
            let script = "list chain inet dwcp cuts\nflush chain inet dwcp cuts\n";
            dropped += packets(&feed(&["ip", "netns", "exec", &name, "nft", "-f", "-"], script)?);
        }
        Ok(dropped)
    }
    /// How packets between nodes fare from now on. Only where [`Wire::Link`] joins them.
    pub fn reshape(&self, change: impl Fn(Shape) -> Shape) {
        if let Some(link) = &self.link {
            link.reshape(change);
        }
    }
    /// What became of packets between nodes so far.
    #[must_use]
    pub fn counts(&self) -> Option<Counts> {
        self.link.as_ref().map(Link::counts)
    }

    fn numbered(&self, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 64 + (self.pid >> 8) as u8 % 128, self.pid as u8, last)
    }
    fn name(&self, node: NodeId) -> String {
        format!("dwcpj-{}-{}", self.pid, node.0)
    }
    /// At most 15 bytes, as the kernel has it.
    fn device(&self, node: NodeId) -> String {
        format!("dj{}n{}", self.pid, node.0)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        self.link = None;
        remove(self.pid);
    }
}

/// Takes away what runs of processes that are no more have left.
pub fn clear() {
    let names = std::fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let owner = |name: String| name.strip_prefix("dwcpj-")?.split('-').next()?.parse::<u32>().ok();
    let mut pids: Vec<u32> = names.filter_map(|n| owner(n.file_name().into_string().ok()?)).collect();
    let links = std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    pids.extend(links.filter_map(|l| l.file_name().to_str()?.strip_prefix("dwcpj")?.parse::<u32>().ok()));
    pids.sort_unstable();
    pids.dedup();
    pids.into_iter().filter(|p| !Path::new(&format!("/proc/{p}")).exists()).for_each(remove);
}

/// Everything that bears this process number. What is gone already is no failure.
fn remove(pid: u32) {
    let mut script = format!("link del dwcpj{pid}\n");
    let prefix = format!("dj{pid}n");
    for link in std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten() {
        if let Some(name) = link.file_name().to_str().filter(|n| n.starts_with(&prefix)) {
            script.push_str(&format!("link del {name}\n"));
        }
    }
    let prefix = format!("dwcpj-{pid}-");
    for entry in std::fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        if let Some(name) = entry.file_name().to_str().filter(|n| n.starts_with(&prefix)) {
            script.push_str(&format!("netns del {name}\n"));
        }
    }
    let _gone = feed(&["ip", "-force", "-batch", "-"], &script);
}

fn ip(before: &[&str], script: &str) -> Result<String, String> {
    feed(&[&["ip"], before, &["-batch", "-"]].concat(), script)
}

/// Runs a program on a script; what it printed.
fn feed(words: &[&str], script: &str) -> Result<String, String> {
    let failed = |why: String| format!("`{}` on {script:?}: {why}", words.join(" "));
    let mut child = Command::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| failed(e.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(script.as_bytes()).map_err(|e| failed(e.to_string()))?;
    }
    let out = child.wait_with_output().map_err(|e| failed(e.to_string()))?;
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).into_owned());
    }
    Err(failed(String::from_utf8_lossy(&out.stderr).trim().to_owned()))
}

/// The sum of all `counter packets N` in what nft printed.
fn packets(text: &str) -> u64 {
    let after = text.split("counter packets ").skip(1);
    after.filter_map(|t| t.split(' ').next()?.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_all_rules_are_summed() {
        let text = "chain cuts {\n ip saddr 10.0.0.1 counter packets 12 bytes 99 drop\n ip saddr 10.0.0.2 counter packets 30 bytes 1 drop\n}";
        assert_eq!(packets(text), 42);
        assert_eq!(packets("chain cuts { }"), 0);
    }
}

//! What of the machine a nemesis needs beyond processes of its own user.

use std::path::Path;

/// A need.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Need {
    /// Network namespaces, a bridge, and packet filters in them: root, `ip` and `nft`.
    Namespaces,
    /// A link of our own between namespaces: root, `ip` and `/dev/net/tun`.
    Tun,
    /// A file system of our own under each node's data: root and `/dev/fuse`.
    Fuse,
}

impl Need {
    /// Whether this machine has it.
    ///
    /// # Errors
    /// What is missing and what to install or enable.
    pub fn check(self) -> Result<(), String> {
        let all: &[fn() -> Result<(), String>] = match self {
            Self::Namespaces => &[root, ip, nft],
            Self::Tun => &[root, ip, tun],
            Self::Fuse => &[root, fuse],
        };
        all.iter().try_for_each(|one| one())
    }
}

fn root() -> Result<(), String> {
    // The owner of a process' own folder in /proc is its effective user.
    use std::os::unix::fs::MetadataExt;
    match std::fs::metadata("/proc/self").map(|m| m.uid()) {
        Ok(0) => Ok(()),
        _ => {
            Err("it needs root, for namespaces and mounts; run it with sudo, or in a container of its own"
                .into())
        }
    }
}

fn ip() -> Result<(), String> {
    program("ip", "iproute2")
}
fn nft() -> Result<(), String> {
    program("nft", "nftables")
}
fn tun() -> Result<(), String> {
    device("/dev/net/tun", "modprobe tun")
}
fn fuse() -> Result<(), String> {
    device("/dev/fuse", "modprobe fuse")
}

fn program(name: &str, package: &str) -> Result<(), String> {
    let folders = ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin"];
    if folders.iter().any(|f| Path::new(f).join(name).exists()) {
        return Ok(());
    }
    Err(format!("it needs the program `{name}`; install it: apt-get install {package}"))
}

fn device(path: &str, enable: &str) -> Result<(), String> {
    match std::fs::OpenOptions::new().read(true).write(true).open(path) {
        Ok(_) => Ok(()),
        Err(e) => Err(format!("it needs {path} ({e}); enable it: {enable}, and give it to the container")),
    }
}

//! A temporary folder for a node whose data nobody wants to keep.
//!
//! It goes when the node ends. Maelstrom kills its nodes, so each new one also takes away what processes left that
//! are no more: the folder's name says whose it is.

use std::path::{Path, PathBuf};

const PREFIX: &str = "dwcp-maelstrom-";

/// The folder; removed when this is dropped.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// A folder that nobody has; `tag` differs from every other process's.
    pub(super) fn new(tag: &str) -> Result<Self, String> {
        let base = std::env::temp_dir();
        sweep(&base);
        let plain: String = tag.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        let path = base.join(format!("{PREFIX}{}-{plain}", std::process::id()));
        let made = std::fs::create_dir(&path);
        made.map_err(|e| format!("can't make {}: {e}; give a folder with --data", path.display()))?;
        Ok(Self(path))
    }
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!("{} could not be removed: {e}", self.0.display());
        }
    }
}

/// Removes what dead processes of this user left.
fn sweep(base: &Path) {
    let Ok(entries) = std::fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|n| n.strip_prefix(PREFIX)).and_then(|n| n.split('-').next());
        let Some(pid) = owner.and_then(|p| p.parse::<u32>().ok()) else { continue };
        let dead = Path::new("/proc/self").exists() && !Path::new(&format!("/proc/{pid}")).exists();
        if dead && entry.file_type().is_ok_and(|t| t.is_dir()) {
            // Another user's can't be removed, and another node may be at it too.
            let _best_effort = std::fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_with_its_owner_and_takes_the_dead_along() {
        let base = tempfile::tempdir().unwrap();
        // Beyond the largest process number Linux gives.
        let dead = base.path().join(format!("{PREFIX}{}-x", u32::MAX));
        let alive = base.path().join(format!("{PREFIX}{}-x", std::process::id()));
        let other = base.path().join("something-else");
        for folder in [&dead, &alive, &other] {
            std::fs::create_dir_all(folder.join("data")).unwrap();
        }
        sweep(base.path());
        assert_eq!((dead.exists(), alive.exists(), other.exists()), (false, true, true));
        let mine = Scratch::new("n1-test").unwrap();
        let path = mine.path().to_path_buf();
        assert!(path.is_dir());
        drop(mine);
        assert!(!path.exists());
    }
}

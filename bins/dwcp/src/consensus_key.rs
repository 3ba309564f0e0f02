//! Keys of epochs whose members may lie (PBFT): each node's own, and the operator's, in files.
//!
//! A file of 64 hexadecimal digits: a secret is readable by its owner only, its public half lies beside it under the same name
//! with `.pub`. A node makes its own at its first start, beside its configuration, so that it outlives the data directory; the
//! operator's is made with `dwcp consensus keygen` and kept off the nodes: whoever has it can end such an epoch.

use dwcp_consensus::pbft::keys;
use dwcp_node::Secret;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// 64 hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8; 32]) -> String {
    let mut text = String::with_capacity(64);
    for byte in bytes {
        let _never_fails = write!(text, "{byte:02x}");
    }
    text
}

/// From 64 hexadecimal digits.
#[must_use]
pub fn unhex(text: &str) -> Option<[u8; 32]> {
    let text = text.trim();
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (nth, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * nth..2 * nth + 2], 16).ok()?;
    }
    Some(bytes)
}

/// From 64 hexadecimal digits that are a public key.
#[must_use]
pub fn public(text: &str) -> Option<[u8; 32]> {
    unhex(text).filter(keys::is_public)
}

/// Where the public half of a key lies.
#[must_use]
pub fn public_file(secret: &Path) -> PathBuf {
    let mut name = secret.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

fn digits(path: &Path) -> Result<[u8; 32], String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("can't read {}: {e}", path.display()))?;
    unhex(&text).ok_or_else(|| format!("{} is no key: 64 hexadecimal digits", path.display()))
}

/// The secret in a file.
///
/// # Errors
/// It can't be read, is none, or others may read it.
pub fn load(path: &Path) -> Result<Secret, String> {
    let secret = digits(path)?;
    let mode = std::fs::metadata(path).map_err(|e| format!("{}: {e}", path.display()))?.permissions().mode();
    if mode & 0o077 != 0 {
        let path = path.display();
        return Err(format!(
            "{path} may be read by others than its owner; `chmod 600 {path}`, and if others have read it, a new key"
        ));
    }
    Ok(Secret(secret))
}

/// A public key in a file.
///
/// # Errors
/// It can't be read or is none.
pub fn load_public(path: &Path) -> Result<[u8; 32], String> {
    let key = digits(path)?;
    let none =
        || format!("{} holds no public key (the secret one was meant for `--sign-with`?)", path.display());
    keys::is_public(&key).then_some(key).ok_or_else(none)
}

/// Makes a new secret, with its public half beside it. Nothing is overwritten.
///
/// # Errors
/// The operating system's.
pub fn create(path: &Path) -> Result<Secret, String> {
    let failed = |e: std::io::Error| format!("can't make the key {}: {e}", path.display());
    let mut secret = [0; 32];
    std::fs::File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut secret)).map_err(failed)?;
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(format!("{}\n", hex(&secret)).as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(failed)?;
    let public = hex(&keys::public(&secret));
    std::fs::write(public_file(path), format!("{public}\n")).map_err(failed)?;
    // A name that is lost with the power would be another key after it.
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(folder).and_then(|f| f.sync_all()).map_err(failed)?;
    Ok(Secret(secret))
}

/// The secret in a file, made if there is none.
///
/// # Errors
/// As of [`load`] and [`create`].
pub fn load_or_create(path: &Path) -> Result<Secret, String> {
    if path.exists() { load(path) } else { create(path) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_is_nobody_elses_to_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("consensus.key");
        let made = load_or_create(&path).unwrap();
        assert_eq!(load_or_create(&path).unwrap(), made);
        assert_eq!(load_public(&public_file(&path)).unwrap(), keys::public(&made.0));
        assert!(create(&path).unwrap_err().contains("consensus.key"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(load(&path).unwrap_err().contains("chmod 600"));
        std::fs::write(&path, "none").unwrap();
        assert!(load(&path).unwrap_err().contains("64 hexadecimal digits"));
    }
}

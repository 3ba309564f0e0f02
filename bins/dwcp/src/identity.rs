//! Identities drawn from the operating system.

use std::io::Read;

/// A new cluster's identity: 32 hexadecimal digits.
///
/// # Errors
/// The operating system's.
pub fn draw_cluster() -> std::io::Result<String> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(format!("{:032x}", u128::from_le_bytes(bytes)))
}

//! Policies and schemas from files, as people write them.

use dwcp_conflict::Value;
use std::io::Read;
use std::path::Path;

/// The largest file that is looked at.
const FILE_MAX: u64 = 60 * 1024;

/// A file as a value: TOML, or JSON by its name or its first letter; `-` is standard input.
pub(super) fn read(path: &Path) -> Result<Value, String> {
    let name = path.display();
    let failed = |e: std::io::Error| format!("{name}: {e}");
    let mut text = String::new();
    if path.as_os_str() == "-" {
        std::io::stdin().take(FILE_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    } else {
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(FILE_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    }
    if text.len() as u64 > FILE_MAX {
        return Err(format!("{name} is larger than {FILE_MAX} bytes, which is the most a node's door takes"));
    }
    let json = path.extension().is_some_and(|e| e == "json") || text.trim_start().starts_with('{');
    if json {
        return serde_json::from_str(&text).map_err(|e| format!("{name}: {e}"));
    }
    toml::from_str(&text).map_err(|e| format!("{name}: {e}"))
}

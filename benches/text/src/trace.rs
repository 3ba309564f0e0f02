//! Recorded edits, as the files of `editing-traces` have them.

use serde_json::Value;
use std::io::Read;
use std::path::Path;

/// Replace `gone` characters at `at` by `new`.
pub(crate) struct Patch {
    pub(crate) at: usize,
    pub(crate) gone: usize,
    pub(crate) new: String,
}

/// A document's edits, and how it ended.
pub(crate) struct Trace {
    pub(crate) patches: Vec<Patch>,
    pub(crate) end: String,
}

/// Reads a sequential trace.
pub(crate) fn load(path: &Path) -> Result<Trace, String> {
    let say = |what: &dyn std::fmt::Display| format!("{}: {what}", path.display());
    let packed = std::fs::read(path).map_err(|e| say(&e))?;
    let mut text = String::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).map_err(|e| say(&e))?;
    let trace: Value = serde_json::from_str(&text).map_err(|e| say(&e))?;
    let end = trace["endContent"].as_str().ok_or_else(|| say(&"no endContent"))?.to_owned();
    if trace["kind"] == "concurrent" {
        return Err(say(&"is a concurrent trace; this benchmark replays sequential ones"));
    }
    let txns = trace["txns"].as_array().ok_or_else(|| say(&"no txns"))?;
    let patches = txns
        .iter()
        .flat_map(|txn| txn["patches"].as_array().into_iter().flatten())
        .map(|p| {
            Some(Patch {
                at: p[0].as_u64()? as usize,
                gone: p[1].as_u64()? as usize,
                new: p[2].as_str()?.to_owned(),
            })
        })
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| say(&"a patch is no [position, count, text]"))?;
    Ok(Trace { patches, end })
}

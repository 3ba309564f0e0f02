//! What a check found, in one shape for all checkers: for people, for programs, for pictures.

use crate::level::Level;
use serde::Serialize;
use std::fmt;

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Some explanation exists.
    Valid,
    /// None does.
    Invalid,
    /// The budget ran out, or the workload cannot be judged.
    Unknown,
}

/// One operation of an explanation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// What the text calls it: `T3`, `#17`.
    pub name: String,
    /// Who ran it: a client, a session, a replica.
    pub lane: String,
    /// When it was called.
    pub call: u64,
    /// When it returned, if that was seen.
    pub ret: Option<u64>,
    /// What it was.
    pub text: String,
    /// Whether it must have happened; otherwise it may have, and that does not help.
    pub certain: bool,
    /// Its line in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
}

/// One operation comes before another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Arrow {
    /// Place of the earlier in [`Finding::operations`].
    pub from: usize,
    /// Place of the later.
    pub to: usize,
    /// Why: `wr`, `ww`, `rw`, `process`, `realtime`, ...
    pub label: String,
}

/// One contradiction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The usual name of what is wrong.
    pub name: String,
    /// What happened, in words.
    pub text: String,
    /// The operations that show it.
    pub operations: Vec<Shown>,
    /// Their order, where a cycle of it is the point.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub arrows: Vec<Arrow>,
}

/// A level and whether the history has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Which.
    pub level: Level,
    /// The answer for it.
    pub outcome: Outcome,
}

impl Serialize for Held {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("level", self.level.name())?;
        map.serialize_entry("outcome", &self.outcome)?;
        map.end()
    }
}

/// Everything about one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The answer.
    pub outcome: Outcome,
    /// Which checker answered.
    pub model: String,
    /// What was asked, with the answer, in one sentence.
    pub claim: String,
    /// Operations or transactions judged.
    pub operations: usize,
    /// What contradicts the claim, most severe first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// What the reader should know besides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// For transactions: each level asked about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub levels: Vec<Held>,
}

impl Report {
    /// The strongest level that was found to hold.
    #[must_use]
    pub fn strongest(&self) -> Option<Level> {
        self.levels.iter().find(|held| held.outcome == Outcome::Valid).map(|held| held.level)
    }
}

/// Findings told in full; the rest is counted.
const TOLD: usize = 4;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = match self.outcome {
            Outcome::Valid => "valid",
            Outcome::Invalid => "INVALID",
            Outcome::Unknown => "unknown",
        };
        write!(f, "{outcome}: {}", self.claim)?;
        for held in &self.levels {
            let word = match held.outcome {
                Outcome::Valid => "holds",
                Outcome::Invalid => "violated",
                Outcome::Unknown => "unknown",
            };
            write!(f, "\n  {:<34} {word}", held.level.name())?;
        }
        for finding in self.findings.iter().take(TOLD) {
            write!(f, "\n\n{}: {}", finding.name, finding.text)?;
        }
        if self.findings.len() > TOLD {
            write!(f, "\n\nand {} more", self.findings.len() - TOLD)?;
        }
        for note in &self.notes {
            write!(f, "\n\nnote: {note}")?;
        }
        Ok(())
    }
}

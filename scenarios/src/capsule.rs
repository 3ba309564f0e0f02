//! A failure in one small file: the build, the plan, the violation.
//!
//! A capsule replays with one command, on any machine with the same build; with another
//! build it says so and runs all the same. Moved into `scenarios/regressions/` and named in
//! the catalogue it becomes a test: what it once broke must hold for ever.
//!
//! A capsule of a bug that was planted on purpose names it in its plan and can't become a
//! regression.

use crate::expand::RunPlan;
use dwcp_runtime_sim::Violation;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What a failure is made of.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capsule {
    /// One sentence for whoever opens the file.
    pub about: String,
    /// The build that failed.
    pub build: Build,
    /// The hash of the failing run's trace, to see whether a replay is the same run.
    pub trace: String,
    /// What broke.
    pub violation: Violation,
    /// The run.
    pub plan: RunPlan,
}

/// Which program it was. A trace means the same only within one build.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// The commit, with `+changes` behind it if the tree was not clean; `unknown` outside a
    /// checkout.
    pub commit: String,
    /// The version of the compiler.
    pub toolchain: String,
    /// The machine it was built for.
    pub target: String,
}

impl Build {
    /// This program's.
    #[must_use]
    pub fn current() -> Self {
        Self {
            commit: env!("DWCP_COMMIT").to_owned(),
            toolchain: env!("DWCP_TOOLCHAIN").to_owned(),
            target: env!("DWCP_TARGET").to_owned(),
        }
    }
}

impl Capsule {
    /// The capsule of a failing run.
    #[must_use]
    pub fn new(plan: RunPlan, violation: Violation, trace: String) -> Self {
        let about = format!(
            "{} broke {} with seed {}; replay with: dwcp sim replay <this file>",
            plan.scenario, violation.name, plan.world.seed.0
        );
        Self { about, build: Build::current(), trace, violation, plan }
    }
    /// As the file's text.
    ///
    /// # Errors
    /// That it can't be written as TOML: a number too large for its format.
    pub fn text(&self) -> Result<String, String> {
        toml::to_string(self).map_err(|e| e.to_string())
    }
    /// From a file's text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let capsule: Self = toml::from_str(text).map_err(|e| e.to_string())?;
        capsule.plan.world.check().map_err(|e| e.to_string())?;
        Ok(capsule)
    }
    /// Reads a file.
    ///
    /// # Errors
    /// That it can't be read, or what is wrong with it.
    pub fn load(path: &Path) -> Result<Self, String> {
        let text =
            std::fs::read_to_string(path).map_err(|e| format!("{}: can't be read: {e}", path.display()))?;
        Self::parse(&text).map_err(|e| format!("{}: {e}", path.display()))
    }
    /// Writes a file.
    ///
    /// # Errors
    /// That it can't be written.
    pub fn save(&self, path: &Path) -> Result<(), String> {
        std::fs::write(path, self.text()?).map_err(|e| format!("{}: can't be written: {e}", path.display()))
    }
    /// A name for its file.
    #[must_use]
    pub fn file_name(&self) -> String {
        let own = self.plan.scenario.rsplit('/').next().unwrap_or("run");
        format!("{own}-{}-{}.toml", self.violation.name, self.plan.world.seed.0)
    }
}

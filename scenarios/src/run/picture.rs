//! The data of a space-time picture.
use super::Outcome;
use crate::expand::RunPlan;
use serde::{Deserialize, Serialize};
/// A picture.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Picture {}
/// Draws.
#[must_use]
pub fn draw(_plan: &RunPlan, _outcome: &Outcome) -> Picture {
    Picture {}
}

//! Lists.

use super::{Planned, View};
use crate::api::Command;
use crate::refusal::Refusal;

pub(super) fn plan(_view: View<'_>, command: &Command) -> Planned {
    let why = format!("{} needs the sequence type, which this build does not have", command.name());
    Err(Refusal::Argument(why))
}

//! What happened to an object, as a person would tell it.

use super::record::{Held, Input, Record};
use super::{Audit, DAY};
use crate::conflict::{Base, Class};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Values longer than this are cut, in characters.
const SHOWN_MAX: usize = 60;

/// `2026-11-22 07:20:05 UTC`: days of the civil calendar (Hinnant, *chrono-compatible low-level date algorithms*).
#[must_use]
pub fn date(millis: u64) -> String {
    let (days, seconds) = (millis / DAY, millis / 1_000 % 86_400);
    let z = days + 719_468;
    let (era, day) = (z / 146_097, z % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let d = of_year - (153 * month + 2) / 5 + 1;
    let (m, y) = if month < 10 { (month + 3, year + era * 400) } else { (month - 9, year + era * 400 + 1) };
    let (h, min, s) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{y}-{m:02}-{d:02} {h:02}:{min:02}:{s:02} UTC")
}

fn shown(audit: &Audit, held: Option<&Held>) -> String {
    let Some(held) = held else { return "nothing (deleted)".into() };
    let Some(value) = audit.value(held) else { return "a value that is no longer kept".into() };
    let text = value.to_string();
    if text.chars().count() <= SHOWN_MAX {
        return text;
    }
    let cut: String = text.chars().take(SHOWN_MAX).collect();
    format!("{cut}…")
}

fn why(class: Class) -> &'static str {
    match class {
        Class::Value => "did not see each other",
        Class::Intent => "did not see each other, and not all of their writers own the field",
        Class::Structure => {
            "do not fit together: one deletes what another changes, or refers to what is not there"
        }
        Class::Invariant => "together break what must always hold",
        Class::Version => "were made under different versions of the schema",
    }
}

/// That records are over, if any are.
pub(super) fn gone(audit: &Audit) -> String {
    let days = |class| audit.retention.of(class) / DAY;
    match audit.gone() {
        (n, Some(last)) if n > 0 => format!(
            " {n} record{} up to {} {} over: they are kept for {} days (what must never have been for {}).",
            if n == 1 { "" } else { "s" },
            date(last.millis()),
            if n == 1 { "is" } else { "are" },
            days(Class::Value),
            days(Class::Invariant),
        ),
        _ => String::new(),
    }
}

pub(super) fn explain(audit: &Audit, kind: &str, key: &str, records: &[Record]) -> String {
    if records.is_empty() {
        return format!("{kind} {key}: no conflict is on record here.{}\n", gone(audit));
    }
    let mut out = String::new();
    for r in records {
        let n = r.inputs.len();
        let s = if n == 1 { "" } else { "s" };
        let id = format!("{:.6}", r.id);
        out += &match &r.back_to {
            Some(_) => format!("{}: {n} write{s} gave way to a checkpoint (conflict {id}).\n", r.place),
            None => format!("{}: {n} write{s} {} ({}, conflict {id}).\n", r.place, why(r.class), r.class),
        };
        out += &match &r.base {
            Base::Known(base) => format!("  Before: {}.\n", shown(audit, Some(base))),
            Base::Nothing => "  Before: nothing.\n".into(),
            Base::Unknown => "  Before: not known.\n".into(),
        };
        for i in &r.inputs {
            let Input { dot, hlc, writer, value, .. } = i;
            let (when, what) = (date(hlc.millis()), shown(audit, value.as_ref()));
            out += &format!(
                "  {} ({}, {}) wrote {what} at {when} as {dot}.\n",
                writer.name, writer.role, writer.region
            );
        }
        let stands = shown(audit, r.output.value.as_ref());
        let rule = u32::from(r.rule) + 1;
        out += &match (&r.by, r.output.asked_until) {
            (Some(by), _) => match &r.back_to {
                Some(name) => format!(
                    "  {} ({}) rolled back to the checkpoint {name} at {}: {stands} stands.\n",
                    by.name,
                    by.role,
                    date(r.at.millis())
                ),
                None => format!("  {} ({}) decided: {stands} stands.\n", by.name, by.role),
            },
            (None, Some(until)) => format!(
                "  Policy version {}, rule {rule} asks a person until {}: until then {stands} stands.\n",
                r.policy,
                date(until)
            ),
            _ => format!(
                "  Policy version {}, rule {rule} ({}): {stands} stands, because {}.\n",
                r.policy, r.strategy, r.reason
            ),
        };
        let kept = |i: &Input| i.value.as_ref().is_none_or(|held| audit.value(held).is_some());
        let all_kept = r.losers().all(kept);
        let losers: Vec<String> = r.losers().map(|i| format!("{} by {}", i.dot, i.writer.name)).collect();
        if !losers.is_empty() {
            let until = date(r.at.millis().saturating_add(audit.retention.losers));
            let losers = losers.join(", ");
            out += &if all_kept {
                format!("  Did not prevail: {losers}; kept until {until}, `undo {id}` brings it back.\n")
            } else {
                format!(
                    "  Did not prevail: {losers}; kept until {until}, and not all of it is kept any more.\n"
                )
            };
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_the_calendar() {
        for (millis, want) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399_000, "2000-02-28 23:59:59 UTC"),
            (951_782_400_000, "2000-02-29 00:00:00 UTC"),
            (1_795_332_005_000, "2026-11-22 07:20:05 UTC"),
            (4_107_542_400_000, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(date(millis), want);
        }
    }
}

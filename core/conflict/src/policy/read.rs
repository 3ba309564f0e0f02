//! A policy from its file.

use super::rule::{Match, Pattern, Rule, Spread, Step, Together};
use super::{Policy, RULES_MAX, proof, tree};
use crate::conflict::Class;
use crate::pointer::Pointer;
use crate::reading::{Fault, Part, any_of};
use crate::strategy::{By, Named, Strategy, VALUES_MAX};
use crate::value::Value;
use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Names of a path: no schema is deeper.
const PATH_MAX: usize = crate::schema::LEVELS_MAX;
/// Strategies that hand on to strategies that hand on.
const NESTED_MAX: usize = 3;

impl Policy {
    /// Reads a policy and checks it, as the module's header says.
    ///
    /// # Errors
    /// The first thing that is wrong, where, and what would be right.
    pub fn read(file: &Value) -> Result<Self, Fault> {
        let part = Part::root(file);
        part.only(&["policy", "version", "activates", "rule"])?;
        let name = part.need("policy")?.text()?.clone();
        let version = part.need("version")?.int(1..=i64::from(u32::MAX))? as u32;
        let activates = part.need("activates")?.int(0..=i64::MAX)? as u64;
        let parts = part.need("rule")?;
        let n = parts.value.items().len();
        if n == 0 && matches!(parts.value, Value::List(_)) || n > RULES_MAX {
            let instead = format!("write 1 to {RULES_MAX}, the last without conditions");
            return parts.fault(format!("{n} rules"), instead);
        }
        let items = parts.items(RULES_MAX, "rules")?;
        let rules: Vec<Rule> = items.iter().map(rule).collect::<Result<_, _>>()?;
        total(&items, &rules)?;
        reachable(&items, &rules)?;
        let digest = *blake3::hash(&file.to_bytes()).as_bytes();
        let tree = tree::Tree::new(&rules);
        let policy = Self { name, version, activates, digest, rules, tree };
        if let Err(broken) = proof::prove(&policy.rules, |q| policy.settle(q)) {
            let at = &items[usize::from(broken.rule)];
            return at
                .fault(format!("{broken}"), "this is a fault of the strategy: report it, and use another");
        }
        Ok(policy)
    }
}

fn rule(part: &Part<'_>) -> Result<Rule, Fault> {
    part.only(&["name", "kind", "path", "class", "role", "region", "wrote", "where", "use"])?;
    let name = part.need("name")?.text()?.clone();
    let words = |key| texts(part, key);
    let when = Match {
        kinds: words("kind")?,
        path: part.may("path").map(|p| pattern(&p)).transpose()?,
        classes: part.may("class").map(|p| classes(&p)).transpose()?,
        roles: words("role")?,
        regions: words("region")?,
        values: words("wrote")?,
        together: part.may("where").map_or(Ok(Together::default()), |p| together(&p))?,
    };
    let then = part.need("use")?;
    let strategy = strategy(&then, NESTED_MAX)?;
    if when.has_class(Class::Invariant) && when.classes.is_some() && guesses(&strategy) {
        return then.fault(
            "last-writer for conflicts of class invariant",
            "what must not be is not mended by a clock: use manual with default = \"rollback\", priority, or rollback",
        );
    }
    Ok(Rule { name, when, then: strategy })
}

/// Words, ascending: they are looked up, and compared between rules.
fn texts(part: &Part<'_>, key: &'static str) -> Result<Option<Vec<Arc<str>>>, Fault> {
    let Some(p) = part.may(key) else { return Ok(None) };
    let mut all = p.names()?;
    all.sort();
    Ok(Some(all))
}

/// Whether a clock alone may decide it for good.
fn guesses(strategy: &Strategy) -> bool {
    match strategy {
        Strategy::LastWriter => true,
        Strategy::Transform { otherwise }
        | Strategy::Semantic { otherwise }
        | Strategy::Vote { otherwise, .. } => guesses(otherwise),
        Strategy::Manual { default, .. } => guesses(default),
        Strategy::Priority { ties: Some(ties), .. } => guesses(ties),
        _ => false,
    }
}

fn pattern(part: &Part<'_>) -> Result<Pattern, Fault> {
    let text: &str = part.any_text()?;
    let pointer = match Pointer::parse(text) {
        Ok(p) => p,
        Err(e) => return part.fault(format!("`{text}` is no path"), format!("{e}")),
    };
    let n = pointer.segments().count();
    if n > PATH_MAX {
        return part.fault(format!("a path of {n} names"), format!("{PATH_MAX} are allowed"));
    }
    let mut steps = Vec::new();
    let mut deep = false;
    for name in pointer.segments() {
        if deep {
            return part.fault("`**` before the end of a path", "it stands for any rest: write it last");
        }
        match &*name {
            "**" => deep = true,
            "*" => steps.push(Step::Any),
            name if name.contains('*') => {
                return part
                    .fault(format!("`{name}` in a path"), "`*` stands for a whole name, `**` for any rest");
            }
            name => steps.push(Step::Name(name.into())),
        }
    }
    Ok(Pattern { steps, deep })
}

fn classes(part: &Part<'_>) -> Result<u8, Fault> {
    let mut bits = 0;
    for name in part.names()? {
        match Class::ALL.into_iter().find(|c| c.name() == &*name) {
            Some(class) => bits |= 1 << class as u8,
            None => {
                let known = any_of(Class::ALL.map(Class::name));
                return part.fault(format!("`{name}` is no class"), format!("write {known}"));
            }
        }
    }
    Ok(bits)
}

fn together(part: &Part<'_>) -> Result<Together, Fault> {
    part.only(&["deletion", "agree", "at-most", "within", "writers", "from"])?;
    let spread =
        |key| part.may(key).map(|p| p.word(&[("one", Spread::One), ("many", Spread::Many)])).transpose();
    let read = Together {
        deletion: part.may("deletion").map(|p| p.bool()).transpose()?,
        agree: part.may("agree").map(|p| p.bool()).transpose()?,
        at_most: part.may("at-most").map(|p| p.int(2..=255)).transpose()?.map(|n| n as u8),
        within: part.may("within").map(|p| p.duration()).transpose()?,
        writers: spread("writers")?,
        from: spread("from")?,
    };
    if read == Together::default() {
        part.fault("no condition", "write one, or leave `where` out")
    } else {
        Ok(read)
    }
}

/// A strategy by its name, if it needs nothing else; else a map.
fn strategy(part: &Part<'_>, nested: usize) -> Result<Strategy, Fault> {
    let Some(nested) = nested.checked_sub(1) else {
        return part
            .fault("strategies handed on too often", "name one that decides by itself, such as last-writer");
    };
    let words = Named::ALL.map(|n| (n.name(), n));
    if let Value::Text(_) = part.value {
        return match part.word(&words)? {
            Named::LastWriter => Ok(Strategy::LastWriter),
            Named::Rollback => Ok(Strategy::Rollback),
            Named::MultiValue => Ok(Strategy::MultiValue { cap: VALUES_MAX as u8 }),
            named => part.fault(
                format!("{named} needs more than its name"),
                format!("write a map with strategy = \"{named}\" and {}", needs(named)),
            ),
        };
    }
    let named = part.need("strategy")?.word(&words)?;
    let other = |key| -> Result<Box<Strategy>, Fault> { Ok(Box::new(strategy(&part.need(key)?, nested)?)) };
    let known: &[&str] = match named {
        Named::LastWriter | Named::Rollback => &["strategy"],
        Named::MultiValue => &["strategy", "cap"],
        Named::Transform | Named::Semantic => &["strategy", "otherwise"],
        Named::Manual => &["strategy", "deadline", "default", "suggest", "wrote"],
        Named::Priority => &["strategy", "by", "order", "ties"],
        Named::Vote => &["strategy", "quorum", "otherwise"],
    };
    part.only(known)?;
    Ok(match named {
        Named::LastWriter => Strategy::LastWriter,
        Named::Rollback => Strategy::Rollback,
        Named::MultiValue => {
            let cap = part.may("cap").map_or(Ok(VALUES_MAX as i64), |p| p.int(2..=VALUES_MAX as i64))?;
            Strategy::MultiValue { cap: cap as u8 }
        }
        Named::Transform => Strategy::Transform { otherwise: other("otherwise")? },
        Named::Semantic => Strategy::Semantic { otherwise: other("otherwise")? },
        Named::Vote => {
            let quorum = part.need("quorum")?.int(1..=255)? as u8;
            Strategy::Vote { quorum, otherwise: other("otherwise")? }
        }
        Named::Priority => {
            let words = [("role", By::Role), ("region", By::Region), ("value", By::Value)];
            let by = part.need("by")?.word(&words)?;
            let order = part.need("order")?.names()?;
            let ties = part.may("ties").map(|p| strategy(&p, nested)).transpose()?;
            Strategy::Priority { by, order, ties: ties.map(Box::new) }
        }
        Named::Manual => {
            let default = part.need("default")?;
            let read = strategy(&default, nested)?;
            if several(&read) {
                return default.fault(
                    format!("{} as a default", read.named()),
                    "name a strategy with one outcome: if nobody answers it counts",
                );
            }
            let suggest = match part.may("suggest") {
                Some(p) => strategy(&p, nested)?,
                None => Strategy::LastWriter,
            };
            let deadline = part.need("deadline")?;
            let millis = deadline.duration()?;
            if millis == 0 || millis > 30 * 86_400_000 {
                return deadline.fault(
                    "a deadline out of range",
                    "write 1ms to 30d: what did not prevail is kept for 30 days at least",
                );
            }
            let wrote = texts(part, "wrote")?;
            Strategy::Manual { deadline: millis, default: Box::new(read), suggest: Box::new(suggest), wrote }
        }
    })
}

/// Whether it may have no one outcome.
fn several(strategy: &Strategy) -> bool {
    match strategy {
        Strategy::Manual { .. } | Strategy::MultiValue { .. } => true,
        Strategy::Priority { ties: Some(ties), .. } => several(ties),
        _ => false,
    }
}

const fn needs(named: Named) -> &'static str {
    match named {
        Named::Transform | Named::Semantic => "otherwise",
        Named::Vote => "quorum, otherwise",
        Named::Priority => "by, order",
        _ => "deadline, default",
    }
}

/// The last rule matches all, and no other does.
fn total(items: &[Part<'_>], rules: &[Rule]) -> Result<(), Fault> {
    for (i, (part, rule)) in items.iter().zip(rules).enumerate() {
        let last = i + 1 == rules.len();
        if last && !rule.when.is_all() {
            return part.fault(
                format!("the last rule, `{}`, has conditions: not every conflict is settled", rule.name),
                "add a rule behind it with `name` and `use` only",
            );
        }
        if !last && rule.when.is_all() {
            return part.fault(
                format!("rule {i}, `{}`, matches everything: those behind it are never reached", rule.name),
                "move it to the end, or give it conditions",
            );
        }
    }
    let mut names: Vec<(&Arc<str>, &Part<'_>)> = rules.iter().map(|r| &r.name).zip(items).collect();
    names.sort_by(|a, b| a.0.cmp(b.0));
    match names.windows(2).find(|w| w[0].0 == w[1].0) {
        Some(twice) => twice[1]
            .1
            .fault(format!("two rules are called `{}`", twice[0].0), "records name rules: rename one"),
        None => Ok(()),
    }
}

/// For each class that a rule names there is something that no rule before it matches, as far as that shows.
fn reachable(items: &[Part<'_>], rules: &[Rule]) -> Result<(), Fault> {
    for (j, rule) in rules.iter().enumerate().take(rules.len() - 1) {
        let mut by = None;
        let covered = |class: &Class| rules[..j].iter().position(|r| r.when.covers(&rule.when, *class));
        let open =
            Class::ALL.into_iter().filter(|c| rule.when.has_class(*c)).any(|class| match covered(&class) {
                Some(i) => {
                    by = Some(i);
                    false
                }
                None => true,
            });
        if let (false, Some(i)) = (open, by) {
            return items[j].fault(
                format!(
                    "rule {j}, `{}`, is never reached: rule {i}, `{}`, matches all that it does",
                    rule.name, rules[i].name
                ),
                "move it before that one, or remove it",
            );
        }
    }
    Ok(())
}

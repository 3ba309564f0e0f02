//! What must hold, judged from outside: one file each, named after the property.

mod agreement;
mod answered;
mod blame;
mod complete;
mod dependencies;
mod deposed;
mod durable;
mod elected;
mod kept;
mod live;
mod matching;
mod order;
mod proposed;
mod reads;
mod sealed;

pub use agreement::Agreement;
pub use answered::Answered;
pub use blame::Blame;
pub use complete::Complete;
pub use dependencies::Dependencies;
pub use deposed::Deposed;
pub use durable::Durable;
pub use elected::Elected;
pub use kept::Kept;
pub use live::Live;
pub use matching::Matching;
pub use order::InOrder;
pub use proposed::OnlyProposed;
pub use reads::Reads;
pub use sealed::Sealed;

use super::fact::Fact;
use alloc::string::String;

/// A property that did not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// Its name.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

/// A property of histories.
pub trait Invariant {
    /// Its name.
    const NAME: &'static str;
    /// Takes the next fact.
    ///
    /// # Errors
    /// Why the history up to here breaks the property.
    fn see(&mut self, fact: &Fact) -> Result<(), String>;
}

macro_rules! all {
    ($($field:ident: $kind:ident),*) => {
        /// All invariants together.
        #[derive(Clone, Debug, Default)]
        pub struct All {
            $(pub(crate) $field: $kind,)*
            /// Names of those that look away, so that what others find without them is known.
            pub blind: &'static [&'static str],
        }
        impl All {
            /// Shows a fact to all of them.
            ///
            /// # Errors
            /// The first that is broken.
            pub fn see(&mut self, fact: &Fact) -> Result<(), Broken> {
                $(if let Err(what) = self.$field.see(fact)
                    && !self.blind.contains(&$kind::NAME)
                {
                    return Err(Broken { invariant: $kind::NAME, what });
                })*
                Ok(())
            }
        }
    };
}
impl All {
    /// What was decided at this place.
    pub(crate) fn decided(&self, class: u16, place: u64) -> Option<super::Value> {
        self.agreement.at(class, place)
    }
    /// Whether somebody decided at this place before.
    pub(crate) fn knows(&self, class: u16, place: u64) -> bool {
        self.agreement.knows(class, place)
    }
}

all!(
    order: InOrder, agreement: Agreement, proposed: OnlyProposed, answered: Answered, reads: Reads,
    durable: Durable, blame: Blame, live: Live, kept: Kept, elected: Elected, complete: Complete,
    matching: Matching, sealed: Sealed,
    dependencies: Dependencies, deposed: Deposed
);

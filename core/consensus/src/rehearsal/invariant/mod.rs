//! What must hold, judged from outside: one file each, named after the property.

mod agreement;
mod answered;
mod blame;
mod durable;
mod kept;
mod live;
mod order;
mod proposed;
mod reads;

pub use agreement::Agreement;
pub use answered::Answered;
pub use blame::Blame;
pub use durable::Durable;
pub use kept::Kept;
pub use live::Live;
pub use order::InOrder;
pub use proposed::OnlyProposed;
pub use reads::Reads;

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
        pub struct All { $(pub(crate) $field: $kind),* }
        impl All {
            /// Shows a fact to all of them.
            ///
            /// # Errors
            /// The first that is broken.
            pub fn see(&mut self, fact: &Fact) -> Result<(), Broken> {
                $(self.$field.see(fact).map_err(|what| Broken { invariant: $kind::NAME, what })?;)*
                Ok(())
            }
        }
    };
}
impl All {
    /// Whether somebody decided at this place before.
    pub(crate) fn knows(&self, class: u16, place: u64) -> bool {
        self.agreement.knows(class, place)
    }
}

all!(
    order: InOrder, agreement: Agreement, proposed: OnlyProposed, answered: Answered, reads: Reads,
    durable: Durable, blame: Blame, live: Live, kept: Kept
);

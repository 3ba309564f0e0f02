//! Bugs that are planted on purpose, so that a check can be seen to find them.
//!
//! A crate names its bugs in one `planted_bugs!` and asks `is(Bug::X)` where X would be wrong. Its feature
//! `planted-bugs` compiles them in; without it `is` is `false` at compile time and nothing of them is in the binary. One bug
//! at a time, for the whole process: who plants runs its checks one after another.

/// Declares the bugs of a crate or a module: the enum, `plant` (feature `planted-bugs`), `is`.
#[macro_export]
macro_rules! planted_bugs {
    ($($(#[doc = $doc:literal])* $name:ident),* $(,)?) => {
        /// A bug that can be planted.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub enum Bug { $($(#[doc = $doc])* $name),* }

        impl Bug {
            /// All of them.
            pub const ALL: [Self; [$(stringify!($name)),*].len()] = [$(Self::$name),*];
            /// What is wrong, in a line.
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),*)),* }
            }
            /// By the name it has in the code.
            #[must_use]
            pub fn named(name: &str) -> Option<Self> {
                [$((stringify!($name), Self::$name)),*].into_iter().find(|(n, _)| *n == name).map(|(_, b)| b)
            }
        }

        #[cfg(feature = "planted-bugs")]
        mod armed {
            use core::sync::atomic::{AtomicU8, Ordering};
            /// None, or one more than the bug's place.
            static PLANTED: AtomicU8 = AtomicU8::new(0);

            /// Plants a bug in this process, or digs it up.
            pub fn plant(bug: Option<super::Bug>) {
                PLANTED.store(bug.map_or(0, |b| b as u8 + 1), Ordering::SeqCst);
            }
            /// Whether this bug is planted.
            #[must_use]
            pub fn is(bug: super::Bug) -> bool {
                PLANTED.load(Ordering::Relaxed) == bug as u8 + 1
            }
        }
        #[cfg(feature = "planted-bugs")]
        pub use armed::{is, plant};

        /// Whether this bug is planted: not in this build.
        #[cfg(not(feature = "planted-bugs"))]
        #[inline]
        #[must_use]
        pub const fn is(_: Bug) -> bool {
            false
        }
    };
}

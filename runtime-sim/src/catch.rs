//! Panics of nodes, caught with what they said and where.
//!
//! The panic hook is process-wide; ours, set once, keeps quiet and takes notes while a node
//! runs on this thread, and hands every other panic to the hook that was there before.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    static RUNNING: Cell<bool> = const { Cell::new(false) };
    static SAID: RefCell<Option<String>> = const { RefCell::new(None) };
}

static HOOK: Once = Once::new();

fn set_hook() {
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if RUNNING.get() {
                SAID.with_borrow_mut(|s| *s = Some(info.to_string().replace('\n', " ")));
            } else {
                before(info);
            }
        }));
    });
}

/// Runs a node's code; if it panics, what it said.
#[inline]
pub(crate) fn catch<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    set_hook();
    let outer = RUNNING.replace(true);
    // A node that panicked is never entered again: nobody sees what the panic left broken.
    let result = catch_unwind(AssertUnwindSafe(f));
    RUNNING.set(outer);
    result.map_err(|payload| SAID.with_borrow_mut(Option::take).unwrap_or_else(|| text(&*payload)))
}

fn text(payload: &(dyn Any + Send)) -> String {
    let s = payload.downcast_ref::<&str>().map(|s| (*s).to_owned());
    s.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_caught_with_its_place() {
        assert_eq!(catch(|| 1), Ok(1));
        let said = catch::<()>(|| panic!("planted {}", 7)).unwrap_err();
        assert!(said.contains("planted 7") && said.contains("catch.rs"), "{said}");
    }
}

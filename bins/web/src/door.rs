//! The names that the page calls.
//!
//! ```text
//! let at = dwcp_room(n)        the page writes n bytes of JSON at `at`
//! let n  = dwcp_call()         the question is answered; the answer has n bytes …
//! let at = dwcp_told()         … and lies here until the next call
//! let at = dwcp_messages()     rows of messages that the answer speaks of (gather.rs)
//! ```
//!
//! Everything crosses in buffers that this module owns: no pointer is ever taken from the page,
//! so that no call can make memory unsound; what a wrong question gets is an answer that says
//! what is wrong with it. A panic is caught and told like an error; the page then throws the
//! module's memory away.
#![allow(unsafe_code)]

use crate::session::Session;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The longest question: a capsule of the largest plan is far smaller.
const ROOM_MAX: usize = 16 << 20;

#[derive(Default)]
struct Door {
    asked: Vec<u8>,
    told: Vec<u8>,
    session: Session,
}

thread_local! {
    static DOOR: RefCell<Door> = RefCell::new(Door::default());
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Makes room for a question; 0 if it is longer than any can be.
// SAFETY: no other function has this name, and only the page calls it.
#[unsafe(no_mangle)]
pub extern "C" fn dwcp_room(bytes: usize) -> usize {
    if bytes > ROOM_MAX {
        return 0;
    }
    DOOR.with_borrow_mut(|door| {
        door.asked.clear();
        door.asked.resize(bytes, 0);
        door.asked.as_ptr().addr()
    })
}

/// Answers the question that lies in the room; how many bytes the answer has.
// SAFETY: no other function has this name, and only the page calls it.
#[unsafe(no_mangle)]
pub extern "C" fn dwcp_call() -> usize {
    std::panic::set_hook(Box::new(|info| PANIC.with_borrow_mut(|p| *p = info.to_string())));
    DOOR.with_borrow_mut(|door| {
        let asked = std::mem::take(&mut door.asked);
        let session = &mut door.session;
        let told = catch_unwind(AssertUnwindSafe(|| session.answer(&asked))).unwrap_or_else(|_| {
            let said = PANIC.with_borrow(Clone::clone);
            serde_json::json!({ "error": format!("the program stopped: {said}"), "fatal": true })
        });
        door.told = told.to_string().into_bytes();
        door.told.len()
    })
}

/// Where the last answer lies.
// SAFETY: no other function has this name, and only the page calls it.
#[unsafe(no_mangle)]
pub extern "C" fn dwcp_told() -> usize {
    DOOR.with_borrow(|door| door.told.as_ptr().addr())
}

/// Where the rows of messages lie that the last answer speaks of.
// SAFETY: no other function has this name, and only the page calls it.
#[unsafe(no_mangle)]
pub extern "C" fn dwcp_messages() -> usize {
    DOOR.with_borrow(|door| door.session.messages().as_ptr().addr())
}

/// What getrandom calls on this target (feature `custom`): a simulation has no randomness from outside.
// SAFETY: the name and the types are those that getrandom 0.4 declares; no byte is touched.
#[cfg(target_arch = "wasm32")]
#[unsafe(no_mangle)]
extern "Rust" fn __getrandom_v03_custom(_dest: *mut u8, _len: usize) -> Result<(), getrandom::Error> {
    panic!("a simulation asked the world outside for randomness")
}

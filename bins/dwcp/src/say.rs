//! The program's standard output and standard error.
//!
//! **Promise.** Where whoever reads the output has gone (`dwcp sim list | head -1`), the program stops
//! where it stands, says nothing, and ends with status 141: what a shell reports of a program that
//! SIGPIPE ended. It is never 0, because the status of many commands is a verdict, and nobody has
//! judged what was left. Where the output can't be written for another reason (a full disk), it says
//! so and fails.
//!
//! The Rust runtime ignores SIGPIPE, as a program with sockets must; a write to a closed pipe is an
//! error then, at which std's `println!` panics. Here the error unwinds without a panic's message:
//! guards run, so that nodes are ended and what a run made is removed; [`guarded`] is where it ends.
//!
//! `println!` and `print!` in this crate are these, and not std's; `clippy.toml` refuses the other
//! ways to standard output. On standard error nobody's leaving ends a program: what can't be said
//! there is not said.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::ExitCode;

/// 128 and the number of SIGPIPE.
const READER_GONE: u8 = 141;

/// What unwinds where standard output can't be written.
struct Unwritten(io::Error);

/// As std's, but see the module.
macro_rules! print {
    ($($words:tt)*) => { $crate::say::out(format_args!($($words)*)) };
}

/// As std's, but see the module.
macro_rules! println {
    () => { $crate::say::out(format_args!("\n")) };
    ($($words:tt)*) => { $crate::say::out(format_args!("{}\n", format_args!($($words)*))) };
}

/// As std's, but see the module.
macro_rules! eprintln {
    ($($words:tt)*) => { $crate::say::err(format_args!("{}\n", format_args!($($words)*))) };
}

/// Standard output; a failing write does not return.
#[allow(clippy::disallowed_methods)] // This is the one place.
#[must_use]
pub fn stdout() -> impl Write {
    Out(io::stdout().lock())
}

/// Standard output, from which colours are taken where no terminal shows them.
#[allow(clippy::disallowed_methods)] // This is the one place.
#[must_use]
pub fn coloured() -> impl Write {
    Out(anstream::stdout().lock())
}

/// Writes to standard output.
pub fn out(words: Arguments<'_>) {
    // A write that fails does not return, but while the program unwinds anyway.
    let _unwinds = stdout().write_fmt(words);
}

/// Writes to standard error, if somebody listens.
#[allow(clippy::disallowed_methods)] // This is the one place.
pub fn err(words: Arguments<'_>) {
    let _unheard = io::stderr().lock().write_fmt(words);
}

/// Runs the program, to its end or to the first word that nobody takes.
pub fn guarded(program: impl FnOnce() -> ExitCode) -> ExitCode {
    // What the program leaves behind half done ends with the process.
    match catch_unwind(AssertUnwindSafe(program)) {
        Ok(code) => code,
        Err(payload) => match payload.downcast::<Unwritten>() {
            Ok(why) if why.0.kind() == ErrorKind::BrokenPipe => ExitCode::from(READER_GONE),
            Ok(why) => {
                eprintln!("dwcp: can't write to standard output: {}", why.0);
                ExitCode::FAILURE
            }
            Err(panic) => resume_unwind(panic),
        },
    }
}

struct Out<W>(W);

impl<W> Out<W> {
    fn sure<T>(done: io::Result<T>) -> io::Result<T> {
        match done {
            // A guard that speaks while the program unwinds must not unwind once more.
            Err(why) if why.kind() != ErrorKind::Interrupted && !std::thread::panicking() => {
                resume_unwind(Box::new(Unwritten(why)))
            }
            done => done,
        }
    }
}

impl<W: Write> Write for Out<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Self::sure(self.0.write(bytes))
    }
    fn flush(&mut self) -> io::Result<()> {
        Self::sure(self.0.flush())
    }
}

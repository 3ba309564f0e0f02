//! JSON pointers (RFC 6901): where in a document.

use alloc::borrow::Cow;
use alloc::string::String;
use core::fmt;

/// A place in a document, as `/spec/disks/0/size`; the empty one is the whole. `~` and `/` in names are `~0` and `~1`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Pointer(String);

/// A text that is no JSON pointer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoPointer {
    /// It does not begin with a slash.
    #[error("a JSON pointer begins with `/`, as in `/spec/cpu`; the whole document is the empty text")]
    Slash,
    /// A tilde that escapes nothing.
    #[error("in a JSON pointer `~` is written `~0`, and `/` within a name `~1`")]
    Tilde,
}

impl Pointer {
    /// The whole document.
    #[must_use]
    pub const fn root() -> Self {
        Self(String::new())
    }
    /// Reads one.
    ///
    /// # Errors
    /// If the text is none.
    pub fn parse(text: &str) -> Result<Self, NoPointer> {
        if !text.is_empty() && !text.starts_with('/') {
            return Err(NoPointer::Slash);
        }
        let sound = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
        if sound { Ok(Self(text.into())) } else { Err(NoPointer::Tilde) }
    }
    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// The names along the way, unescaped.
    pub fn segments(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.0.split('/').skip(1).map(|s| match s.contains('~') {
            true => Cow::Owned(s.replace("~1", "/").replace("~0", "~")),
            false => Cow::Borrowed(s),
        })
    }
    /// One level deeper; tells where it was, for [`Pointer::leave`].
    pub fn enter(&mut self, name: &str) -> usize {
        let was = self.0.len();
        self.0.push('/');
        if name.contains(['~', '/']) {
            for c in name.chars() {
                match c {
                    '~' => self.0.push_str("~0"),
                    '/' => self.0.push_str("~1"),
                    c => self.0.push(c),
                }
            }
        } else {
            self.0.push_str(name);
        }
        was
    }
    /// The same, for a position in a list.
    pub fn enter_at(&mut self, index: usize) -> usize {
        use fmt::Write;
        let was = self.0.len();
        let _never_fails = write!(self.0, "/{index}");
        was
    }
    /// Back to where it was.
    pub fn leave(&mut self, was: usize) {
        self.0.truncate(was);
    }
    /// This with one more name.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        let mut deeper = self.clone();
        deeper.enter(name);
        deeper
    }
}

/// A position in a list, as pointers spell it: digits, without leading zeros.
pub(crate) fn index(segment: &str) -> Option<usize> {
    let plain = segment == "0" || !segment.starts_with(['0', '+']);
    if plain { segment.parse().ok() } else { None }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn the_examples_of_the_rfc() {
        for (text, want) in [
            ("", &[][..]),
            ("/foo", &["foo"]),
            ("/foo/0", &["foo", "0"]),
            ("/", &[""]),
            ("/a~1b", &["a/b"]),
            ("/m~0n", &["m~n"]),
            ("/~01", &["~1"]),
        ] {
            let p = Pointer::parse(text).unwrap();
            assert_eq!(p.segments().collect::<Vec<_>>(), want, "{text}");
            let mut again = Pointer::root();
            p.segments().for_each(|s| again = again.join(&s));
            assert_eq!(again, p);
        }
        assert_eq!(Pointer::parse("foo"), Err(NoPointer::Slash));
        assert_eq!(Pointer::parse("/a~2"), Err(NoPointer::Tilde));
        assert_eq!(Pointer::parse("/a~"), Err(NoPointer::Tilde));
        assert_eq!((index("01"), index("-1"), index("10"), index("0")), (None, None, Some(10), Some(0)));
    }
}

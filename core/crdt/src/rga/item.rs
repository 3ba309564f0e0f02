//! An element of a list: its bytes, in sixteen of memory and no allocation if they are few.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Deref;

/// So many bytes lie in place.
const SHORT: usize = 14;

/// One element of a [`List`](super::List): opaque bytes.
#[derive(Clone)]
pub struct Item(Kept);

#[derive(Clone)]
enum Kept {
    Short {
        len: u8,
        bytes: [u8; SHORT],
    },
    /// Boxed twice: a pointer to a slice is sixteen bytes by itself.
    Long(Box<Box<[u8]>>),
}

const _: () = assert!(size_of::<Item>() == 16, "a list has one for each of its elements");

impl From<&[u8]> for Item {
    fn from(from: &[u8]) -> Self {
        let mut bytes = [0; SHORT];
        match bytes.get_mut(..from.len()) {
            Some(place) => {
                place.copy_from_slice(from);
                Self(Kept::Short { len: from.len() as u8, bytes })
            }
            None => Self(Kept::Long(Box::new(Box::from(from)))),
        }
    }
}

impl From<Item> for Vec<u8> {
    fn from(item: Item) -> Self {
        match item.0 {
            Kept::Short { len, bytes } => Self::from(&bytes[..usize::from(len)]),
            Kept::Long(bytes) => Self::from(*bytes),
        }
    }
}

impl Deref for Item {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Kept::Short { len, bytes } => &bytes[..usize::from(*len)],
            Kept::Long(bytes) => bytes,
        }
    }
}

impl Default for Item {
    fn default() -> Self {
        Self::from(&[][..])
    }
}
impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}
impl Eq for Item {}
impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_its_bytes_however_many() {
        for len in 0..40 {
            let bytes: Vec<u8> = (1..=len).collect();
            let item = Item::from(&bytes[..]);
            assert_eq!((&*item, &item.clone()), (&bytes[..], &item));
        }
        assert!(Item::default().is_empty());
    }
}

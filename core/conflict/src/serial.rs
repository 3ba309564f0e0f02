//! Documents to and from every format that serde knows: JSON, TOML. The bounds hold while reading, so that a hostile
//! text takes no more memory than a document may; a name that comes twice in one map is refused.

use crate::value::{DEPTH_MAX, Entry, SIZE_MAX, Value};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => to.serialize_unit(),
            Self::Bool(b) => to.serialize_bool(*b),
            Self::Int(n) => to.serialize_i64(*n),
            Self::Real(r) => to.serialize_f64(r.get()),
            Self::Text(t) => to.serialize_str(t),
            Self::List(l) => {
                let mut seq = to.serialize_seq(Some(l.len()))?;
                l.iter().try_for_each(|v| seq.serialize_element(v))?;
                seq.end()
            }
            Self::Map(f) => {
                let mut map = to.serialize_map(Some(f.len()))?;
                f.iter().try_for_each(|(name, v)| map.serialize_entry(&**name, v))?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Below { depth: DEPTH_MAX, left: &mut SIZE_MAX.clone() }.deserialize(from)
    }
}

/// What may still come at this place.
struct Below<'b> {
    depth: usize,
    left: &'b mut usize,
}

impl Below<'_> {
    fn spend<E: Error>(&mut self, n: usize) -> Result<(), E> {
        *self.left = self
            .left
            .checked_sub(n)
            .ok_or_else(|| E::custom(crate::value::Oversize::Bytes { size: SIZE_MAX + n }))?;
        Ok(())
    }
    fn deeper<E: Error>(&mut self) -> Result<Below<'_>, E> {
        match self.depth.checked_sub(1) {
            Some(depth) if depth > 0 => Ok(Below { depth, left: self.left }),
            _ => Err(E::custom(crate::value::Oversize::Depth)),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Below<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(mut self, from: D) -> Result<Value, D::Error> {
        self.spend(1)?;
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Below<'_> {
    type Value = Value;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("null, a truth value, a number, a text, a list or a map")
    }
    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E: Error>(self, b: bool) -> Result<Value, E> {
        Ok(Value::Bool(b))
    }
    fn visit_i64<E: Error>(self, n: i64) -> Result<Value, E> {
        Ok(Value::Int(n))
    }
    fn visit_u64<E: Error>(self, n: u64) -> Result<Value, E> {
        i64::try_from(n).map(Value::Int).map_err(|_| {
            E::custom(format_args!(
                "{n} is beyond the whole numbers of a document (63 bits): write it as text"
            ))
        })
    }
    fn visit_f64<E: Error>(self, n: f64) -> Result<Value, E> {
        Value::number(n).map_err(|n| E::custom(format_args!("{n} is not a finite number")))
    }
    fn visit_str<E: Error>(mut self, s: &str) -> Result<Value, E> {
        self.spend(s.len())?;
        Ok(Value::from(s))
    }
    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(v) = seq.next_element_seed(self.deeper()?)? {
            all.push(v);
        }
        Ok(Value::from(all))
    }
    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Value, A::Error> {
        let mut all: Vec<Entry> = Vec::new();
        while let Some(name) = map.next_key::<alloc::string::String>()? {
            self.spend(name.len())?;
            let v = map.next_value_seed(self.deeper()?)?;
            all.push((Arc::from(name), v));
        }
        all.sort_by(|a, b| a.0.cmp(&b.0));
        if let Some(twice) = all.windows(2).find(|w| w[0].0 == w[1].0) {
            return Err(A::Error::custom(format_args!("`{}` comes twice in one map: keep one", twice[0].0)));
        }
        Ok(Value::map(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dwcp_crdt::code::Reader;
    use proptest::prelude::*;
    use std::string::{String, ToString};
    use std::vec;

    /// Values of a few levels.
    pub(crate) fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            // Sixteenths: JSON's reader here is off by one bit now and then.
            any::<i32>().prop_map(|n| Value::number(f64::from(n) / 16.0).unwrap()),
            ".{0,6}".prop_map(|s| Value::from(s.as_str())),
        ];
        leaf.prop_recursive(4, 40, 5, |v| {
            prop_oneof![
                prop::collection::vec(v.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((".{0,3}".prop_map(|s: String| Arc::from(s)), v), 0..5)
                    .prop_map(Value::map),
            ]
        })
    }

    proptest! {
        #[test]
        fn bytes_and_json_are_the_value(v in values()) {
            let bytes = v.to_bytes();
            prop_assert_eq!(v.size().unwrap(), bytes.len());
            let mut r = Reader::new(&bytes);
            prop_assert_eq!(&Value::decode(&mut r).unwrap(), &v);
            prop_assert!(r.is_empty());
            let json = serde_json::to_string(&v).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Value>(&json).unwrap(), &v);
            prop_assert_eq!(&serde_json::from_str::<Value>(&v.to_string()).unwrap(), &v);
        }

        #[test]
        fn garbage_is_refused_or_canonical(junk in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut r = Reader::new(&junk);
            if let Ok(v) = Value::decode(&mut r) {
                prop_assert_eq!(&v.to_bytes()[..], &junk[..r.position()]);
            }
        }
    }

    #[test]
    fn what_is_no_document_is_refused_with_its_reason() {
        let deep = "[".repeat(70) + &"]".repeat(70);
        for (json, want) in [
            (r#"{"a":1,"a":2}"#, "`a` comes twice"),
            ("18446744073709551615", "beyond the whole numbers"),
            (&deep, "deeper than 64 levels"),
        ] {
            let e = serde_json::from_str::<Value>(json).unwrap_err().to_string();
            assert!(e.contains(want), "{e}");
        }
        let large = serde_json::to_string(&vec!["x".repeat(1_000_000); 11]).unwrap();
        let e = serde_json::from_str::<Value>(&large).unwrap_err().to_string();
        assert!(e.contains("10000000 are allowed"), "{e}");
    }

    #[test]
    fn whole_numbers_are_one_thing() {
        for (json, want) in [("1", "1"), ("1.0", "1"), ("-0.0", "0"), ("1e3", "1000"), ("1.5", "1.5")] {
            assert_eq!(serde_json::from_str::<Value>(json).unwrap().to_string(), want);
        }
    }
}

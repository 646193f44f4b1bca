//! Typed ids.

use std::{cmp::Ordering, fmt, hash::Hash, hash::Hasher, marker::PhantomData, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// The namespace of every id that Mallard derives (UUIDv5). Never change it: derived ids are how
/// repeats are recognised.
pub const NAMESPACE: Uuid = Uuid::from_u128(0x6d61_6c6c_6172_5d64_8000_2026_1120_0001);

/// An id of one kind of thing; ids of different kinds do not mix. `K` is only a label.
pub struct Id<K>(Uuid, PhantomData<fn() -> K>);

impl<K> Id<K> {
    /// The id with this value.
    pub const fn new(value: Uuid) -> Self {
        Self(value, PhantomData)
    }

    /// An id derived from names: the same names always give the same id.
    pub fn derived(parts: &[&str]) -> Self {
        Self::new(derive(parts))
    }

    /// The value.
    pub const fn uuid(&self) -> Uuid {
        self.0
    }

    /// The same value as an id of another kind, for flows that fix ids: the order that comes from a
    /// basket has the basket's id.
    pub const fn as_kind<L>(&self) -> Id<L> {
        Id::new(self.0)
    }
}

/// UUIDv5 over names. Each part is preceded by its length, so that no two lists of parts collide.
pub fn derive(parts: &[&str]) -> Uuid {
    let mut name = String::new();
    for part in parts {
        name.push_str(&part.len().to_string());
        name.push(':');
        name.push_str(part);
    }
    Uuid::new_v5(&NAMESPACE, name.as_bytes())
}

impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Id<K> {}
impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<K> Eq for Id<K> {}
impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}
impl<K> Hash for Id<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}
impl<K> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
impl<K> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
impl<K> FromStr for Id<K> {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        text.parse().map(Self::new)
    }
}
impl<K> Serialize for Id<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}
impl<'de, K> Deserialize<'de> for Id<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Uuid::deserialize(deserializer).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::derive;

    #[test]
    fn parts_that_run_together_do_not_give_one_id() {
        assert_ne!(derive(&["ab", "c"]), derive(&["a", "bc"]));
        assert_ne!(derive(&["1:a"]), derive(&["", "a"]));
        assert_eq!(derive(&["a", "b"]), derive(&["a", "b"]));
    }

    #[test]
    fn derived_ids_stay_the_same_across_releases() {
        // A golden value: if it changes, every repeat sent across the upgrade is taken for new.
        assert_eq!(derive(&["policy", "event"]).to_string(), "b2297992-7593-59f1-b97b-217429140dcc");
    }
}

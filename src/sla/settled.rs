//! Breached clocks of folded facts of which everything was said: only a waiver can change them, so that they are
//! kept packed until one comes. Rule T17.

use serde::{Deserialize, Deserializer, Serialize};

use super::clock::Clock;
use super::fact::Bytes;
use super::store::Spoken;

/// Clocks, each with what was spoken of it, packed; in the order in which they were settled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    count: u32,
    bytes: Box<[u8]>,
}

/// A clock, and what was spoken of it.
pub type Item = (Clock, Vec<Spoken>);

impl Settled {
    /// How many bytes they take beside itself.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a clock after those there are; says whether it could be packed.
    pub fn add(&mut self, item: &Item) -> bool {
        let Ok(packed) = postcard::to_stdvec(item) else { return false };
        self.bytes = [&*self.bytes, &packed].concat().into();
        self.count += 1;
        true
    }

    /// Takes out the oldest beyond so many.
    pub fn take_beyond(&mut self, max: usize) -> Vec<Item> {
        let mut rest = &*self.bytes;
        let excess = (self.count as usize).saturating_sub(max);
        let taken: Vec<Item> = std::iter::from_fn(|| next(&mut rest)).take(excess).collect();
        if !taken.is_empty() {
            *self = Settled { count: self.count - taken.len() as u32, bytes: rest.into() };
        }
        taken
    }
}

fn next(rest: &mut &[u8]) -> Option<Item> {
    let (item, left) = postcard::take_from_bytes(rest).ok()?;
    *rest = left;
    Some(item)
}

impl Serialize for Settled {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.count, Bytes(&self.bytes)).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Settled {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Settled, D::Error> {
        let (count, bytes): (u32, &'de [u8]) = Deserialize::deserialize(deserializer)?;
        let mut rest = bytes;
        let items = std::iter::from_fn(|| next(&mut rest)).count();
        if items != count as usize || !rest.is_empty() {
            return Err(serde::de::Error::custom("settled clocks that cannot be read"));
        }
        Ok(Settled { count, bytes: bytes.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::{Bytes, Settled};

    fn read(count: u32, bytes: &[u8]) -> Option<Settled> {
        let written = postcard::to_stdvec(&(count, Bytes(bytes))).unwrap();
        postcard::from_bytes(&written).ok()
    }

    #[test]
    fn what_is_no_settled_clock_is_refused_when_it_is_read() {
        assert_eq!(read(0, &[]), Some(Settled::default()));
        assert_eq!(read(1, &[]), None);
        assert_eq!(read(0, &[1]), None);
        assert_eq!(read(1, &[0xff; 40]), None);
    }
}

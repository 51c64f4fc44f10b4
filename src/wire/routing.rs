//! Whether a record lies in its lead's partition. Section 7.

use std::fmt;

/// How a producer finds a key's partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partitioner {
    /// Java's default, and librdkafka's `murmur2_random`.
    Murmur2,
    /// librdkafka's default, `consistent_random`.
    Crc32,
    /// Neither: nothing is known of a key's partition.
    Other,
}

impl Partitioner {
    /// The partition of a key, if it can be known.
    pub fn partition(self, key: &[u8], partitions: i32) -> Option<i32> {
        let count = u32::try_from(partitions).ok().filter(|count| *count > 0)?;
        let hash = match self {
            Partitioner::Murmur2 => murmur2::murmur2(key, murmur2::KAFKA_SEED) & 0x7fff_ffff,
            Partitioner::Crc32 => crc32fast::hash(key),
            Partitioner::Other => return None,
        };
        i32::try_from(hash % count).ok()
    }

    /// Reads the word for it.
    pub fn parse(text: &str) -> Option<Partitioner> {
        [Partitioner::Murmur2, Partitioner::Crc32, Partitioner::Other]
            .into_iter()
            .find(|p| p.to_string() == text)
    }
}

impl fmt::Display for Partitioner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Partitioner::Murmur2 => "murmur2",
            Partitioner::Crc32 => "crc32",
            Partitioner::Other => "other",
        })
    }
}

/// Why a record does not belong where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misrouted {
    /// It has no key.
    NoKey,
    /// Its key is not its lead.
    OtherKey,
    /// Its key belongs to another partition.
    OtherPartition,
}

impl Misrouted {
    /// Why, for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Misrouted::NoKey => "it has no key",
            Misrouted::OtherKey => "its key is not its `lead_id`",
            Misrouted::OtherPartition => "its key belongs to another partition",
        }
    }
}

/// Finds the partitioner from the first records, and then holds every record to it.
#[derive(Debug, Clone)]
pub struct Routing {
    partitions: i32,
    found: Option<Partitioner>,
    seen: u32,
    murmur2: u32,
    crc32: u32,
}

/// So many records decide which partitioner it is.
const SAMPLE: u32 = 16;

impl Routing {
    /// Holds records to this partitioner, or finds it first.
    pub fn new(partitions: i32, partitioner: Option<Partitioner>) -> Routing {
        Routing { partitions, found: partitioner, seen: 0, murmur2: 0, crc32: 0 }
    }

    /// The partitioner, once it is known.
    pub fn partitioner(&self) -> Option<Partitioner> {
        self.found
    }

    /// Whether a record of this key lies in the partition of its lead, as far as is known.
    pub fn check(&mut self, key: Option<&[u8]>, lead_id: &str, partition: i32) -> Result<(), Misrouted> {
        match key {
            None => Err(Misrouted::NoKey),
            Some(key) if key != lead_id.as_bytes() => Err(Misrouted::OtherKey),
            Some(key) if !self.is_right(key, partition) => Err(Misrouted::OtherPartition),
            Some(_) => Ok(()),
        }
    }

    /// Whether a record of this key belongs to this partition, as far as is known.
    pub fn is_right(&mut self, key: &[u8], partition: i32) -> bool {
        if self.partitions == 1 {
            return true;
        }
        let found = match self.found {
            Some(found) => found,
            None => {
                self.sample(key, partition);
                return true;
            }
        };
        found.partition(key, self.partitions).is_none_or(|expected| expected == partition)
    }

    fn sample(&mut self, key: &[u8], partition: i32) {
        let fits = |partitioner: Partitioner| partitioner.partition(key, self.partitions) == Some(partition);
        self.murmur2 += u32::from(fits(Partitioner::Murmur2));
        self.crc32 += u32::from(fits(Partitioner::Crc32));
        self.seen += 1;
        if self.seen == SAMPLE {
            let (best, count) = if self.crc32 < self.murmur2 {
                (Partitioner::Murmur2, self.murmur2)
            } else {
                (Partitioner::Crc32, self.crc32)
            };
            let is_clear = SAMPLE * 3 / 4 < count;
            self.found = Some(if is_clear { best } else { Partitioner::Other });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Kafka's own `Utils.murmur2` test has for these keys, made positive.
    #[test]
    fn murmur2_is_javas() {
        for (key, hash) in
            [("21", -973_932_308_i32), ("foobar", -790_332_482), ("a-little-bit-long-string", -985_981_536)]
        {
            let expected = (hash & 0x7fff_ffff) % 7;
            assert_eq!(Partitioner::Murmur2.partition(key.as_bytes(), 7), Some(expected), "{key}");
        }
    }

    #[test]
    fn crc32_is_librdkafkas() {
        assert_eq!(
            Partitioner::Crc32.partition(b"123456789", i32::MAX),
            Some((0xCBF4_3926_u32 % 0x7fff_ffff) as i32)
        );
    }

    #[test]
    fn the_first_records_tell_and_later_ones_are_held_to_it() {
        for partitioner in [Partitioner::Murmur2, Partitioner::Crc32] {
            let mut routing = Routing::new(6, None);
            for lead in 0..100 {
                let key = format!("lead-{lead}");
                let home = partitioner.partition(key.as_bytes(), 6).expect("known");
                assert!(routing.is_right(key.as_bytes(), home));
                if SAMPLE <= lead {
                    assert!(!routing.is_right(key.as_bytes(), (home + 1) % 6), "{partitioner}");
                }
            }
            assert_eq!(routing.partitioner(), Some(partitioner));
        }
    }

    #[test]
    fn keys_spread_by_no_known_rule_are_not_held_to_one() {
        let mut routing = Routing::new(6, None);
        assert!((0..100).all(|lead| routing.is_right(format!("lead-{lead}").as_bytes(), 1)));
        assert_eq!(routing.partitioner(), Some(Partitioner::Other));
    }
}

//! Transactions that stay open: a log whose last stable offset stands still below its end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::kafka::reader::Extent;
use crate::wire::record::{Partition, Topic};

/// Where a transaction is open, and since when it was seen there.
#[derive(Debug)]
pub struct Open {
    timeout: Duration,
    seen: BTreeMap<(Topic, Partition), (i64, Instant)>,
}

impl Open {
    /// A transaction may stay open for so long.
    pub fn new(timeout: Duration) -> Open {
        Open { timeout, seen: BTreeMap::new() }
    }

    /// Looks at logs as they are now.
    pub fn look(&mut self, extents: &[Extent], now: Instant) {
        for extent in extents {
            let place = (extent.topic, extent.partition);
            if extent.end <= extent.stable {
                self.seen.remove(&place);
            } else if self.seen.get(&place).is_none_or(|(stable, _)| *stable != extent.stable) {
                self.seen.insert(place, (extent.stable, now));
            }
        }
    }

    /// Whether the transaction in a log has been open for too long.
    pub fn is_hanging(&self, place: (Topic, Partition), now: Instant) -> bool {
        self.seen.get(&place).is_some_and(|seen| self.has_hung(seen, now))
    }

    /// Whether some log has an open transaction of which it is not known yet whether it hangs.
    pub fn is_unsure(&self, now: Instant) -> bool {
        self.seen.values().any(|seen| !self.has_hung(seen, now))
    }

    /// Where transactions hang, and the offset at which each begins.
    pub fn hanging(&self, now: Instant) -> impl Iterator<Item = ((Topic, Partition), i64)> {
        let hung = self.seen.iter().filter(move |(_, seen)| self.has_hung(seen, now));
        hung.map(|(place, (stable, _))| (*place, *stable))
    }

    fn has_hung(&self, (_, since): &(i64, Instant), now: Instant) -> bool {
        self.timeout <= now.duration_since(*since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks a second apart at a log of which each has the last stable offset and the end; a transaction may
    /// take two seconds.
    fn hanging(looks: &[(i64, i64)]) -> Option<i64> {
        let began = Instant::now();
        let mut open = Open::new(Duration::from_secs(2));
        let mut now = began;
        for (second, (stable, end)) in (0..).zip(looks) {
            now = began + Duration::from_secs(second);
            open.look(&[Extent { topic: 0, partition: 0, first: 0, stable: *stable, end: *end }], now);
        }
        open.hanging(now).next().map(|(_, stable)| stable)
    }

    #[test]
    fn a_transaction_hangs_that_is_open_for_longer_than_it_may() {
        assert_eq!(hanging(&[(5, 7), (5, 8), (5, 9)]), Some(5));
        assert_eq!(hanging(&[(5, 7), (5, 7)]), None);
        assert_eq!(hanging(&[(5, 7), (6, 8), (7, 9), (8, 9)]), None, "one after the other");
        assert_eq!(hanging(&[(5, 7), (8, 8), (8, 9), (8, 9)]), None, "ended, then another");
        assert_eq!(hanging(&[(5, 7), (5, 8), (9, 9)]), None, "ended");
    }
}

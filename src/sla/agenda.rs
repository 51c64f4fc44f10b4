//! Next due instant of every lead, earliest first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::instant::Instant;

/// Next due instant of every lead, earliest first.
///
/// One entry a lead, not one a clock: ten clocks cost one timer. Entries lie in buckets of about a second,
/// linked through an array that the leads' slots index, so that setting and moving one touches its
/// neighbours only; the bucket whose time has come is sorted in a heap.
#[derive(Debug)]
pub struct Agenda {
    nodes: Vec<Node>,
    buckets: BTreeMap<i64, Bucket>,
    current: BinaryHeap<Reverse<(Instant, u32)>>,
    /// Entries of this bucket and earlier ones lie in the heap.
    opened: i64,
    len: usize,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    due: Instant,
    place: Place,
    previous: u32,
    next: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Nowhere,
    Bucket,
    Heap,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    first: u32,
    /// No entry is earlier; one that was may have been taken out.
    earliest: Instant,
}

const NONE: u32 = u32::MAX;
const UNSET: Node = Node { due: Instant::MAX, place: Place::Nowhere, previous: NONE, next: NONE };

impl Default for Agenda {
    fn default() -> Agenda {
        Agenda {
            nodes: Vec::new(),
            buckets: BTreeMap::new(),
            current: BinaryHeap::new(),
            opened: i64::MIN,
            len: 0,
        }
    }
}

impl Agenda {
    /// Sets when the lead in this slot is due; `None` takes it out.
    pub fn set(&mut self, slot: u32, due: Option<Instant>) {
        let index = slot as usize;
        if index >= self.nodes.len() {
            self.nodes.resize(index + 1, UNSET);
        }
        self.take_out(slot);
        let Some(due) = due else { return };
        self.len += 1;
        let key = bucket_of(due);
        if key <= self.opened {
            self.nodes[index] = Node { due, place: Place::Heap, ..UNSET };
            self.current.push(Reverse((due, slot)));
        } else {
            self.link(slot, due, key);
        }
    }

    /// An instant at or before the earliest one due.
    pub fn next_due(&mut self) -> Option<Instant> {
        self.drop_stale();
        match self.current.peek() {
            Some(Reverse((due, _))) => Some(*due),
            None => self.buckets.first_key_value().map(|(_, bucket)| bucket.earliest),
        }
    }

    /// Takes out the earliest slot that is due at or before `horizon`; of one instant, the lowest.
    pub fn pop(&mut self, horizon: Instant) -> Option<(Instant, u32)> {
        loop {
            self.drop_stale();
            if let Some(Reverse((due, slot))) = self.current.peek().copied() {
                if due > horizon {
                    return None;
                }
                self.current.pop();
                self.nodes[slot as usize] = UNSET;
                self.len -= 1;
                return Some((due, slot));
            }
            let entry = self.buckets.first_entry()?;
            if entry.get().earliest > horizon {
                return None;
            }
            let (key, bucket) = entry.remove_entry();
            self.open(key, bucket);
        }
    }

    /// How many slots are set.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no slot is set.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn open(&mut self, key: i64, bucket: Bucket) {
        self.opened = key;
        let mut slot = bucket.first;
        while slot != NONE {
            let node = self.nodes[slot as usize];
            self.nodes[slot as usize] = Node { due: node.due, place: Place::Heap, ..UNSET };
            self.current.push(Reverse((node.due, slot)));
            slot = node.next;
        }
    }

    /// Drops what was moved or taken out since it was put into the heap.
    fn drop_stale(&mut self) {
        while let Some(Reverse((due, slot))) = self.current.peek() {
            let node = &self.nodes[*slot as usize];
            if node.place == Place::Heap && node.due == *due {
                return;
            }
            self.current.pop();
        }
    }

    fn link(&mut self, slot: u32, due: Instant, key: i64) {
        let bucket = self.buckets.entry(key).or_insert(Bucket { first: NONE, earliest: due });
        let next = bucket.first;
        bucket.first = slot;
        bucket.earliest = bucket.earliest.min(due);
        self.nodes[slot as usize] = Node { due, place: Place::Bucket, previous: NONE, next };
        if next != NONE {
            self.nodes[next as usize].previous = slot;
        }
    }

    fn take_out(&mut self, slot: u32) {
        let node = std::mem::replace(&mut self.nodes[slot as usize], UNSET);
        match node.place {
            Place::Nowhere => return,
            Place::Heap => {}
            Place::Bucket => self.unlink(node),
        }
        self.len -= 1;
    }

    fn unlink(&mut self, node: Node) {
        if node.next != NONE {
            self.nodes[node.next as usize].previous = node.previous;
        }
        if node.previous != NONE {
            self.nodes[node.previous as usize].next = node.next;
            return;
        }
        let key = bucket_of(node.due);
        if node.next == NONE {
            self.buckets.remove(&key);
        } else if let Some(bucket) = self.buckets.get_mut(&key) {
            bucket.first = node.next;
        }
    }
}

fn bucket_of(due: Instant) -> i64 {
    due.millis() >> 10
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Op {
        Set(u32, Option<i64>),
        PopUntil(i64),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => (0u32..40, proptest::option::weighted(0.85, -5_000i64..20_000)).prop_map(|(s, d)| Op::Set(s, d)),
            1 => (-6_000i64..21_000).prop_map(Op::PopUntil),
        ]
    }

    /// What an ordered set would do.
    #[derive(Default)]
    struct Model(BTreeSet<(Instant, u32)>);

    impl Model {
        fn set(&mut self, slot: u32, due: Option<Instant>) {
            self.0.retain(|(_, known)| *known != slot);
            self.0.extend(due.map(|due| (due, slot)));
        }

        fn pop(&mut self, horizon: Instant) -> Option<(Instant, u32)> {
            let first = self.0.first().copied().filter(|(due, _)| *due <= horizon)?;
            self.0.remove(&first);
            Some(first)
        }
    }

    proptest! {
        #[test]
        fn it_does_what_an_ordered_set_does(ops in proptest::collection::vec(op(), 0..200)) {
            let (mut agenda, mut model) = (Agenda::default(), Model::default());
            for op in ops {
                match op {
                    Op::Set(slot, due) => {
                        let due = due.map(Instant::from_millis);
                        agenda.set(slot, due);
                        model.set(slot, due);
                    }
                    Op::PopUntil(horizon) => loop {
                        let (found, expected) = (agenda.pop(Instant::from_millis(horizon)), model.pop(Instant::from_millis(horizon)));
                        prop_assert_eq!(found, expected);
                        if found.is_none() { break }
                    },
                }
                prop_assert_eq!(agenda.len(), model.0.len());
                let earliest = model.0.first().map(|(due, _)| *due);
                prop_assert_eq!(agenda.next_due().is_some(), earliest.is_some());
                prop_assert!(agenda.next_due() <= earliest);
            }
        }
    }
}

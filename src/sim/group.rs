//! The group coordinator, and the half of each member that lives in its client's background thread.
//!
//! Classic protocol, cooperative-sticky, over the partition numbers of the first input topic. The client's
//! background thread heartbeats and rejoins by itself, so its metadata may be of a generation, or of no
//! membership at all, whose events the worker has not polled yet.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::cluster::Cluster;
use super::log::Entry;
use super::transactions::OffsetWrite;
use crate::runtime::port::{Committed, Partition, Topic};

/// What the client has for the worker, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// These came, often none.
    Assigned(BTreeSet<Partition>),
    /// These are wanted back.
    Revoked(BTreeSet<Partition>),
    /// All that is held is somebody else's.
    Lost,
}

/// One consumer of the group, from its start to its death.
#[derive(Debug, Default)]
pub struct Client {
    /// Its membership, as the coordinator has it; a new one with each join.
    member: Option<u64>,
    /// Member id and generation, as its background thread has them.
    pub metadata: Option<(u64, i32)>,
    /// Partitions that the coordinator lets nobody else have.
    owned: BTreeSet<Partition>,
    /// Partitions that the worker was told to have and has not released.
    pub held: BTreeSet<Partition>,
    events: VecDeque<Event>,
    unanswered: Option<Event>,
    heartbeat_ms: i64,
    polled_ms: i64,
    frozen: bool,
    dead: bool,
}

impl Client {
    /// A member that is frozen, dead, or inside a rebalance that its worker has not answered, does not
    /// rejoin; the others wait for it.
    fn can_rejoin(&self) -> bool {
        !self.dead && !self.frozen && self.events.is_empty() && self.unanswered.is_none()
    }
}

/// The group: who is in it, who owns what, and its offsets.
#[derive(Debug, Default)]
pub struct Group {
    generation: i32,
    next_member: u64,
    rebalance_since_ms: Option<i64>,
    clients: BTreeMap<u64, Client>,
    offsets: BTreeMap<(Topic, Partition), (u64, Committed)>,
    applied: BTreeMap<(Topic, Partition), Vec<Entry>>,
}

impl Group {
    /// Whether the coordinator takes offsets under this metadata.
    pub fn is_current(&self, member: u64, generation: i32) -> bool {
        generation == self.generation && self.clients.values().any(|c| c.member == Some(member))
    }

    /// Whether the coordinator lets nobody else have a partition.
    pub fn owns(&self, id: u64, partition: Partition) -> bool {
        self.clients.get(&id).is_some_and(|client| client.owned.contains(&partition))
    }

    /// The group's offset of a partition.
    pub fn offset(&self, at: (Topic, Partition)) -> Option<Committed> {
        self.offsets.get(&at).map(|(_, committed)| committed.clone())
    }

    /// Stores an offset; of two, the one written later to the offsets topic stands.
    pub fn store_offset(&mut self, order: u64, write: OffsetWrite) {
        if self.offsets.get(&write.at).is_none_or(|(stored, _)| *stored < order) {
            self.offsets.insert(write.at, (order, write.committed));
        }
        self.applied.entry(write.at).or_default().extend(write.read.iter().cloned());
    }

    /// The records of a partition that committed transactions applied, in the order of the transactions.
    pub fn applied(&self, at: (Topic, Partition)) -> &[Entry] {
        self.applied.get(&at).map_or(&[], Vec::as_slice)
    }

    /// Whether nobody is in it.
    pub fn is_empty(&self) -> bool {
        self.clients.values().all(|client| client.member.is_none())
    }

    /// Forgets all offsets, as the broker does after `offsets.retention.minutes` without members.
    pub fn expire_offsets(&mut self) {
        self.offsets.clear();
    }

    /// A client's own half.
    pub fn client(&mut self, id: u64) -> &mut Client {
        self.clients.entry(id).or_default()
    }

    /// The members hear that there is another partition.
    pub fn partitions_changed(&mut self, now_ms: i64) {
        self.want_rebalance(now_ms);
    }

    fn want_rebalance(&mut self, now_ms: i64) {
        self.rebalance_since_ms.get_or_insert(now_ms);
    }

    fn free(&self, partitions: i32) -> BTreeSet<Partition> {
        let taken: BTreeSet<_> = self.clients.values().flat_map(|c| c.owned.iter().copied()).collect();
        (0..partitions).filter(|p| !taken.contains(p)).collect()
    }

    /// Shares of the partitions as even as can be, each member keeping what it has as far as it goes.
    fn sticky(&self, partitions: i32) -> BTreeMap<u64, BTreeSet<Partition>> {
        let mut members: Vec<_> = self.clients.iter().filter(|(_, c)| c.member.is_some()).collect();
        members.sort_by_key(|(id, c)| (std::cmp::Reverse(c.owned.len()), **id));
        let (count, all) = (members.len().max(1), usize::try_from(partitions).unwrap_or_default());
        let mut free = self.free(partitions);
        let mut shares = BTreeMap::new();
        for (rank, (id, client)) in members.iter().enumerate() {
            let quota = all / count + usize::from(rank < all % count);
            shares.insert(**id, client.owned.iter().copied().take(quota).collect::<BTreeSet<_>>());
            free.extend(client.owned.iter().copied().skip(quota));
        }
        for (rank, (id, _)) in members.iter().enumerate() {
            let quota = all / count + usize::from(rank < all % count);
            let share = shares.entry(**id).or_default();
            while let (true, Some(partition)) = (share.len() < quota, free.first().copied()) {
                free.remove(&partition);
                share.insert(partition);
            }
        }
        shares
    }
}

impl Cluster {
    /// What the client's next poll finds of the group, if anything. A client that is no member and has
    /// nothing to give up joins.
    pub fn next_event(&mut self, id: u64) -> Option<Event> {
        let now_ms = self.now().millis();
        let client = self.group.client(id);
        client.polled_ms = now_ms;
        if client.unanswered.is_some() {
            return None;
        }
        let nothing_to_lose = client.events.is_empty() || client.held.is_empty();
        if client.member.is_none() && nothing_to_lose {
            client.events.clear();
            self.join(id);
            return None;
        }
        let event = client.events.pop_front()?;
        if let Event::Assigned(partitions) = &event {
            client.held.extend(partitions);
        }
        client.unanswered = Some(event.clone());
        self.note(|| format!("client {id} polls {event:?}"));
        Some(event)
    }

    /// Answers an assignment.
    pub fn accept(&mut self, id: u64) {
        let client = self.group.client(id);
        if matches!(client.unanswered, Some(Event::Assigned(_))) {
            client.unanswered = None;
        }
    }

    /// Answers a revocation or a loss: others may have the partitions from now on, and the client rejoins.
    /// Where neither was asked, reading ends and the group's assignment stays as it is.
    pub fn release(&mut self, id: u64, partitions: &[Partition]) {
        let now_ms = self.now().millis();
        let client = self.group.client(id);
        if !matches!(client.unanswered, Some(Event::Revoked(_) | Event::Lost)) {
            return;
        }
        for partition in partitions {
            client.owned.remove(partition);
            client.held.remove(partition);
        }
        match client.unanswered.take() {
            Some(Event::Lost) => self.join(id),
            _ => self.group.want_rebalance(now_ms),
        }
    }

    /// A process that ends well leaves the group at once; a killed one can't.
    pub fn leave(&mut self, id: u64) {
        let now_ms = self.now().millis();
        if self.group.clients.get(&id).is_some_and(|c| !c.dead) {
            self.group.clients.remove(&id);
            self.group.want_rebalance(now_ms);
            self.note(|| format!("client {id} leaves"));
        }
    }

    /// A killed process says nothing; its session expires.
    pub fn kill(&mut self, id: u64) {
        let client = self.group.client(id);
        client.dead = true;
        if client.member.is_none() {
            self.group.clients.remove(&id);
        }
        self.note(|| format!("client {id} is killed"));
    }

    /// Stops a process where it is, its background threads too, or lets it go on.
    pub fn freeze(&mut self, id: u64, frozen: bool) {
        let client = self.group.client(id);
        client.frozen = frozen;
        self.note(|| format!("client {id} {}", if frozen { "is paused" } else { "goes on" }));
    }

    /// Whether a process can be turned.
    pub fn is_frozen(&self, id: u64) -> bool {
        self.group.clients.get(&id).is_some_and(|c| c.frozen)
    }

    /// Heartbeats, expiries and, when every member can rejoin, the next generation.
    pub fn beat(&mut self) {
        let now_ms = self.now().millis();
        for client in self.group.clients.values_mut().filter(|c| !c.dead && !c.frozen) {
            client.heartbeat_ms = now_ms;
            // The background thread learns UNKNOWN_MEMBER_ID from its heartbeat and forgets who it was.
            if client.member.is_none() {
                client.metadata = None;
            }
        }
        self.expire_members();
        let ready = self.group.clients.values().filter(|c| c.member.is_some()).all(Client::can_rejoin);
        if ready && self.group.rebalance_since_ms.take().is_some() {
            self.rebalance();
        }
    }

    fn join(&mut self, id: u64) {
        let now_ms = self.now().millis();
        self.group.next_member += 1;
        let member = self.group.next_member;
        let client = self.group.client(id);
        (client.member, client.heartbeat_ms, client.polled_ms) = (Some(member), now_ms, now_ms);
        client.owned.clear();
        client.held.clear();
        self.group.want_rebalance(now_ms);
        self.note(|| format!("client {id} joins as member {member}"));
    }

    /// Puts out who has not been heard of for the session timeout, and who holds a rebalance up or has not
    /// polled for longer than the rebalance timeout (`max.poll.interval.ms`): that one leaves by itself.
    fn expire_members(&mut self) {
        let now_ms = self.now().millis();
        let (session, wait) = (self.shape.session_timeout_ms, self.shape.rebalance_timeout_ms);
        let overdue = self.group.rebalance_since_ms.is_some_and(|since| now_ms - since > wait);
        let silent = |c: &Client| now_ms - c.heartbeat_ms > session;
        let gone = self.group.clients.iter().filter(|(_, c)| c.member.is_some());
        let stuck = |c: &Client| !c.dead && !c.frozen && now_ms - c.polled_ms > wait;
        let gone = gone.filter(|(_, c)| silent(c) || stuck(c) || (overdue && !c.can_rejoin()));
        for id in gone.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.put_out(id);
        }
    }

    fn put_out(&mut self, id: u64) {
        let (now_ms, unheard) = (self.now().millis(), self.draw(0..=1) == 1);
        let client = self.group.client(id);
        client.member = None;
        client.owned.clear();
        client.events.clear();
        if !unheard {
            client.metadata = None;
        }
        match client.dead {
            true => drop(self.group.clients.remove(&id)),
            false if client.held.is_empty() => client.unanswered = None,
            false => client.events.push_back(Event::Lost),
        }
        self.group.want_rebalance(now_ms);
        self.note(|| format!("client {id} is put out of the group"));
    }

    /// One cooperative round: what must move is revoked first and given in the round after its release;
    /// what is free is given at once; everybody hears of the new generation.
    fn rebalance(&mut self) {
        self.group.generation += 1;
        let (generation, partitions) = (self.group.generation, self.shape.partitions);
        let (shares, free) = (self.group.sticky(partitions), self.group.free(partitions));
        for (id, share) in &shares {
            let client = self.group.client(*id);
            let revoked: BTreeSet<_> = client.owned.difference(share).copied().collect();
            let gained: BTreeSet<_> = share.intersection(&free).copied().collect();
            client.metadata = client.member.map(|member| (member, generation));
            client.owned.extend(&gained);
            if !revoked.is_empty() {
                client.events.push_back(Event::Revoked(revoked));
            }
            client.events.push_back(Event::Assigned(gained));
        }
        self.note(|| format!("generation {generation}: {shares:?}"));
    }
}

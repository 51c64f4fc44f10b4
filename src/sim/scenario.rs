//! The seeded scheduler: who acts next, who dies, and when it becomes quiet.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use super::cluster::{Cluster, Shape, Shared, TopicName, Upstream};
use super::faults::{Faults, Script, Strike, Upset, Upsets, hit};
use super::port::{Others, SimPort};
use super::seeds;
use crate::runtime::port::Error;
use crate::sla::instant::Instant;

/// Calls inside calls: how deep one process may act while another is inside a call.
const DEPTH_MAX: u32 = 3;
/// Rounds of the quiet phase after which a history is said never to settle.
const QUIET_ROUNDS_MAX: u32 = 3_000;
/// Rounds without a new output record that count as quiet.
const STILL_ROUNDS: u32 = 60;

/// One program on the model.
pub trait Process {
    /// One step of its loop, without blocking.
    fn turn(&mut self) -> Result<(), Error>;

    /// Looks at it after a turn that went well: what it claims to know and to hold.
    fn watch(&mut self, _client: u64, _cluster: &mut Cluster) -> Result<(), String> {
        Ok(())
    }
}

/// One history: the cluster, the processes, and how rough it gets.
#[derive(Debug, Clone)]
pub struct Setup {
    /// From which all choices follow.
    pub seed: u64,
    /// Sizes and timeouts of the cluster.
    pub shape: Shape,
    /// Number of processes.
    pub processes: usize,
    /// Whether a process that is started again has the transactional id that it had before.
    pub named: bool,
    /// Steps of the rough phase.
    pub steps: u32,
    /// What goes wrong in the rough phase.
    pub faults: Faults,
    /// What goes wrong between turns.
    pub upsets: Upsets,
    /// What goes wrong instead, at calls and between turns, where a history is told again.
    pub script: Option<Script>,
    /// Whether two processes each have one name.
    pub are_twins: bool,
    /// Parts of errors with which a process may end.
    pub may_end: &'static [&'static str],
    /// Longest jump of time in one step of the rough phase, in milliseconds.
    pub jump_ms_max: i64,
    /// What upstream producers write, and when.
    pub upstream: Vec<Upstream>,
    /// Nothing dated before it is told. Rule H9.
    pub speak_from: Instant,
    /// How far time moves on in the quiet phase, in milliseconds: past every deadline and every record.
    pub quiet_ms: i64,
}

impl Setup {
    /// A setup whose size and roughness are drawn from the seed.
    pub fn drawn(seed: u64) -> Setup {
        let mut model = Cluster::new(seed.wrapping_add(1 << 40), Shape::default());
        Setup {
            seed,
            shape: Shape {
                partitions: i32::try_from(model.draw(1..=5)).unwrap_or(1),
                topics: u16::try_from(model.draw(1..=2)).unwrap_or(1),
                ..Shape::default()
            },
            processes: usize::try_from(model.draw(1..=4)).unwrap_or(1),
            named: model.draw(0..=3) > 0,
            steps: 700,
            faults: Faults::drawn(model.rng()),
            upsets: Upsets {
                processes: u32::try_from(model.draw(0..=300)).unwrap_or_default(),
                compactions: 100,
                ..Upsets::none()
            },
            script: None,
            are_twins: false,
            may_end: &[],
            jump_ms_max: [200, 3_000, 20_000][usize::try_from(model.draw(0..=2)).unwrap_or_default()],
            upstream: Vec::new(),
            speak_from: Instant::MIN,
            quiet_ms: 60_000,
        }
    }
}

type Make<W> = Box<dyn FnMut(SimPort) -> W>;

/// A running history.
pub struct Scenario<W: Process + 'static> {
    world: Rc<World<W>>,
}

impl<W: Process + 'static> Scenario<W> {
    /// Starts the cluster; `make` starts a process on its port, now and after each death.
    pub fn new(setup: Setup, make: impl FnMut(SimPort) -> W + 'static) -> Scenario<W> {
        let mut cluster = Cluster::new(setup.seed, setup.shape.clone());
        cluster.faults = setup.faults.clone();
        cluster.follow(setup.seed, setup.script.clone());
        cluster.schedule(setup.upstream.iter().cloned());
        let world = Rc::new_cyclic(|own| World {
            own: own.clone(),
            cluster: Rc::new(RefCell::new(cluster)),
            slots: (0..setup.processes).map(|_| Slot::default()).collect(),
            make: RefCell::new(Box::new(make)),
            steps_left: Cell::new(setup.steps),
            depth: Cell::new(0),
            starts: Cell::new(0),
            is_quiet: Cell::new(false),
            crash: RefCell::new(None),
            setup,
        });
        Scenario { world }
    }

    /// Runs the rough phase, then the quiet one: no more faults, all processes alive, time past
    /// everything that is due; then looks at what is there. The error says what went wrong.
    pub fn judge<T>(&self, look: impl FnOnce(&Cluster) -> Result<T, String>) -> Result<T, String> {
        let ran = self.world.rough().and_then(|()| self.world.quiet());
        ran.and_then(|()| look(&self.cluster().borrow()))
    }

    /// The cluster, to be looked at.
    pub fn cluster(&self) -> &Shared {
        &self.world.cluster
    }

    /// Looks at a process, if it is alive.
    pub fn process<T>(&self, index: usize, look: impl FnOnce(&W) -> T) -> Option<T> {
        self.world.slots.get(index)?.process.borrow().as_ref().map(look)
    }
}

impl<W: Process + 'static> Drop for Scenario<W> {
    fn drop(&mut self) {
        if std::thread::panicking()
            && seeds::is_one()
            && let Ok(cluster) = self.world.cluster.try_borrow()
        {
            eprintln!("{}", cluster.trace());
        }
    }
}

struct Slot<W> {
    process: RefCell<Option<W>>,
    client: Cell<u64>,
    hangs: Cell<bool>,
}

impl<W> Default for Slot<W> {
    fn default() -> Slot<W> {
        Slot { process: RefCell::new(None), client: Cell::new(0), hangs: Cell::new(false) }
    }
}

struct World<W: Process + 'static> {
    own: Weak<World<W>>,
    cluster: Shared,
    slots: Vec<Slot<W>>,
    make: RefCell<Make<W>>,
    setup: Setup,
    steps_left: Cell<u32>,
    depth: Cell<u32>,
    starts: Cell<u64>,
    is_quiet: Cell<bool>,
    crash: RefCell<Option<String>>,
}

impl<W: Process + 'static> World<W> {
    fn rough(&self) -> Result<(), String> {
        while self.steps_left.get() > 0 {
            self.step();
            self.sound()?;
        }
        Ok(())
    }

    /// One step of anybody.
    fn step(&self) {
        self.steps_left.set(self.steps_left.get().saturating_sub(1));
        match self.upset() {
            Some(upset) => self.carry_out(upset),
            None if self.hit(3_000) => self.pass_time(),
            None => self.turn(self.pick()),
        }
    }

    fn upset(&self) -> Option<Upset> {
        let mut cluster = self.cluster.borrow_mut();
        let world = (self.slots.len(), cluster.shape.topics, cluster.shape.partitions);
        let strike = cluster.chaos.strike(|rng| self.setup.upsets.draw(rng, world).map(Strike::Upset));
        if let Some(Strike::Upset(upset)) = strike { Some(upset) } else { None }
    }

    fn hit(&self, rate: u32) -> bool {
        hit(self.cluster.borrow_mut().rng(), rate)
    }

    fn draw(&self, range: std::ops::RangeInclusive<i64>) -> i64 {
        self.cluster.borrow_mut().draw(range)
    }

    fn pick(&self) -> usize {
        let last = i64::try_from(self.slots.len()).unwrap_or(1) - 1;
        usize::try_from(self.draw(0..=last)).unwrap_or_default()
    }

    /// Mostly a little, sometimes a lot.
    fn pass_time(&self) {
        let most = if self.draw(0..=9) == 0 { self.setup.jump_ms_max } else { 200 };
        let ms = self.draw(0..=most);
        self.cluster.borrow_mut().advance(ms);
    }

    fn carry_out(&self, upset: Upset) {
        let mut cluster = self.cluster.borrow_mut();
        let (topics, partitions) = (cluster.shape.topics, cluster.shape.partitions);
        let exists = |topic, partition| topic < topics && partition < partitions;
        match upset {
            Upset::Compact => cluster.compact(),
            Upset::Elect(t, p, ms) if exists(t, p) => cluster.elect((t, p), ms),
            Upset::Silence(t, p, ms) if exists(t, p) => cluster.silence((t, p), ms),
            Upset::FallBehind(t, p, ms) if exists(t, p) => cluster.fall_behind((t, p), ms),
            Upset::Expire(t, p, left) if exists(t, p) => cluster.expire((t, p), left),
            Upset::Truncate(t, p, count) if exists(t, p) => cluster.truncate((t, p), count),
            Upset::Recreate(t) if exists(t, 0) => cluster.recreate(t),
            Upset::Grow => cluster.grow(),
            Upset::Edit(process) => cluster.write_policies(process),
            Upset::SetClock(process, ms) => {
                let off_ms = cluster.clock_ms(process) + ms;
                cluster.set_clock(process, off_ms);
            }
            Upset::Outage => {
                drop(cluster);
                self.outage();
            }
            Upset::Kill(index) | Upset::End(index) | Upset::Freeze(index) | Upset::Hang(index) => {
                drop(cluster);
                self.upset_process(index, upset);
            }
            _ => {}
        }
    }

    /// Kills a process between turns, ends it well, or stops it for a while.
    fn upset_process(&self, index: usize, upset: Upset) {
        let Some(slot) = self.slots.get(index) else { return };
        let Ok(mut process) = slot.process.try_borrow_mut() else { return };
        let (client, frozen) = (slot.client.get(), self.cluster.borrow().is_frozen(slot.client.get()));
        match upset {
            _ if process.is_none() => {}
            Upset::Freeze(_) if !frozen => self.cluster.borrow_mut().freeze(client, true),
            Upset::Hang(_) if !frozen => {
                slot.hangs.set(true);
                self.cluster.borrow_mut().note(|| format!("client {client} does not come round"));
            }
            Upset::End(_) => drop(process.take()),
            _ => {
                self.cluster.borrow_mut().kill(client);
                drop(process.take());
            }
        }
    }

    /// Nobody is there until the transactions have timed out and the group's offsets have expired.
    fn outage(&self) {
        if self.slots.iter().any(|slot| slot.process.try_borrow_mut().is_err()) {
            return;
        }
        for index in 0..self.slots.len() {
            self.upset_process(index, Upset::Kill(index));
        }
        let mut cluster = self.cluster.borrow_mut();
        let away_ms = cluster.shape.session_timeout_ms + cluster.shape.transaction_timeout_ms + 15_000;
        for _ in 0..3 {
            cluster.advance(away_ms);
        }
        if cluster.unfinished_transactions().is_empty() {
            cluster.expire_offsets();
        }
    }

    /// Turns a process, or starts it again, or lets it go on.
    fn turn(&self, index: usize) {
        let slot = &self.slots[index];
        let Ok(mut process) = slot.process.try_borrow_mut() else { return };
        if self.cluster.borrow().is_frozen(slot.client.get()) {
            if self.draw(0..=15) == 0 {
                self.cluster.borrow_mut().freeze(slot.client.get(), false);
            }
            return;
        }
        if slot.hangs.get() {
            slot.hangs.set(self.draw(0..=15) != 0);
            return;
        }
        match process.as_mut() {
            None if self.is_told_apart(index) => {}
            None => *process = self.start(index),
            Some(running) => {
                let turned = running.turn();
                if turned.is_ok() {
                    let watched = running.watch(slot.client.get(), &mut self.cluster.borrow_mut());
                    watched.unwrap_or_else(|reason| self.fail(format!("process {index}: {reason}")));
                }
                if let Err(error) = turned {
                    self.ended(index, &error);
                    *process = None;
                }
            }
        }
    }

    /// Whether an operator has read what a process said that ended, and leaves its name to the other.
    fn is_told_apart(&self, index: usize) -> bool {
        let twin = self.slots.get(index ^ 1).filter(|_| self.setup.are_twins && self.is_quiet.get());
        twin.is_some_and(|twin| twin.process.try_borrow().is_ok_and(|process| process.is_some()))
    }

    fn start(&self, index: usize) -> Option<W> {
        // The changelog has the partitions that the input topics had: nobody starts on them again.
        if self.cluster.borrow().has_grown {
            return None;
        }
        let mut make = self.make.try_borrow_mut().ok()?;
        self.starts.set(self.starts.get() + 1);
        self.slots[index].hangs.set(false);
        let name = match self.setup.named {
            true if self.setup.are_twins => format!("overdue-{}", index / 2),
            true => format!("overdue-{index}"),
            false => format!("overdue-{index}-{}", self.starts.get()),
        };
        let others: Weak<dyn Others> = self.own.clone();
        let port = SimPort::new(&self.cluster, others, index, name);
        self.slots[index].client.set(port.client());
        Some(make(port))
    }

    /// A process may only end because it was killed, or for what its setup allows.
    fn ended(&self, index: usize, error: &Error) {
        let (is_killed, text) = (*error == super::port::killed(), error.to_string());
        self.cluster.borrow_mut().note(|| format!("process {index} ends: {text}"));
        if !is_killed && !self.setup.may_end.iter().any(|part| text.contains(part)) {
            self.fail(format!("process {index} stopped: {text}"));
        }
    }

    fn fail(&self, reason: String) {
        self.cluster.borrow_mut().note(|| reason.clone());
        self.crash.borrow_mut().get_or_insert(reason);
    }

    fn sound(&self) -> Result<(), String> {
        let misused = self.cluster.borrow().misuses.first().cloned();
        match self.crash.borrow().clone().or(misused) {
            Some(reason) => Err(reason),
            None => Ok(()),
        }
    }

    /// Calm small rounds until everybody is back, then the long jump in a few strides, then calm rounds
    /// until nothing new is said.
    fn quiet(&self) -> Result<(), String> {
        self.calm_down();
        let session = self.setup.shape.session_timeout_ms + self.setup.shape.transaction_timeout_ms;
        self.rounds(u32::try_from(session / 500).unwrap_or(40) + 20, 500)?;
        for _ in 0..10 {
            self.cluster.borrow_mut().advance(self.setup.quiet_ms / 10);
            self.rounds(10, 100)?;
        }
        self.settle()
    }

    fn calm_down(&self) {
        self.is_quiet.set(true);
        self.slots.iter().for_each(|slot| slot.hangs.set(false));
        let mut cluster = self.cluster.borrow_mut();
        cluster.faults = Faults::none();
        cluster.chaos.end();
        cluster.shape.clocks_astray = 0;
        cluster.note(|| "it becomes quiet".to_owned());
        (0..self.slots.len()).for_each(|process| cluster.discipline_clock(process));
        for slot in self.slots.iter().filter(|slot| cluster.is_frozen(slot.client.get())).collect::<Vec<_>>()
        {
            cluster.freeze(slot.client.get(), false);
        }
    }

    fn rounds(&self, count: u32, ms: i64) -> Result<(), String> {
        for _ in 0..count {
            self.cluster.borrow_mut().advance(ms);
            (0..self.slots.len()).for_each(|index| self.turn(index));
            self.sound()?;
        }
        Ok(())
    }

    fn settle(&self) -> Result<(), String> {
        let (mut still, mut spoken) = (0, self.cluster.borrow().spoken());
        for _ in 0..QUIET_ROUNDS_MAX {
            self.rounds(1, 1_000)?;
            let now_spoken = self.cluster.borrow().spoken();
            still = if now_spoken == spoken { still + 1 } else { 0 };
            spoken = now_spoken;
            if still == STILL_ROUNDS {
                return Ok(());
            }
        }
        Err("it never settles".to_owned())
    }
}

impl<W: Process + 'static> Others for World<W> {
    fn act(&self, _process: usize, pause_ms: Option<i64>) {
        let until = pause_ms.map(|ms| self.cluster.borrow().now().plus(ms));
        if self.depth.get() < DEPTH_MAX {
            self.depth.set(self.depth.get() + 1);
            for _ in 0..self.draw(1..=if until.is_some() { 40 } else { 6 }) {
                self.step();
            }
            self.depth.set(self.depth.get() - 1);
        }
        let rest = until.map_or(0, |until| until.since(self.cluster.borrow().now()));
        if rest > 0 {
            self.cluster.borrow_mut().advance(rest);
        }
    }
}

/// Checks that a topic has each expected key exactly once for a read_committed reader.
pub fn exactly_once<'a>(
    cluster: &Cluster,
    topic: TopicName,
    expected: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(), String> {
    let mut counts = std::collections::BTreeMap::<Vec<u8>, i64>::new();
    expected.into_iter().for_each(|key| *counts.entry(key.to_vec()).or_default() -= 1);
    for (_, entry) in cluster.committed_records(topic) {
        *counts.entry(entry.payload.key.clone().unwrap_or_default()).or_default() += 1;
    }
    match counts.into_iter().find(|(_, surplus)| *surplus != 0) {
        None => Ok(()),
        Some((key, surplus)) => Err(format!("`{}`: {surplus:+} records", String::from_utf8_lossy(&key))),
    }
}

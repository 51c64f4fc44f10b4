//! Facts and policies in, dated transitions out. Rules T1-T19.
//!
//! A [`Course`] is what a lead's facts up to some instant come to: where the lead stands, and its clocks. It
//! moves from instant to instant, all facts of one instant together, and gives up each clock as that ends. A
//! lead's timeline is a course moved over all its facts; facts that can no longer change anything are folded
//! by keeping the course and dropping them.
//!
//! The clocks of a lead are those of one policy, kept as if it had always covered the lead: its track.
//! When another policy comes into force, that one's track is derived from the same facts, and takes up the
//! clocks that run. So no rule but T12 knows that policies change.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thin_vec::ThinVec;

use super::clock::{Cause, Clock, Context, Dated, EndKind, Gap, Key, Taken, Told};
use super::fact::{Fact, Kind, Value};
use super::instant::Instant;
use super::policy::NameId;
use super::rules::{FamilyId, Rules};
use super::signal::Signal;
use super::standing::{Foreseen, Order, Standing, Status};
use super::track::{Scene, Track, pause_ended, waiver_of};

/// What a lead's facts up to some instant come to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Course {
    lead: Standing,
    /// The policy in force; `None` where none covers the lead.
    family: Option<FamilyId>,
    /// Its clocks, with what other policies left of them.
    track: Track,
    /// What the lead's clocks would be under the other policies, where facts were folded.
    others: ThinVec<(FamilyId, Track)>,
    /// Where facts were folded, when each objective's last clock started. Rule T17.
    last_started: ThinVec<(NameId, Instant)>,
    /// The instant up to which it has come.
    at: Instant,
}

impl Default for Course {
    fn default() -> Course {
        Course {
            lead: Standing::default(),
            family: None,
            track: Track::default(),
            others: ThinVec::new(),
            last_started: ThinVec::new(),
            at: Instant::MIN,
        }
    }
}

/// A lead's whole timeline, as its facts imply it.
#[derive(Debug, Default)]
pub struct Timeline {
    /// The clocks that ended, in the order in which they did; also decided ones that something befell since.
    pub ended: Vec<Clock>,
    /// Where the lead stands after its last fact, with the clocks that run.
    pub course: Course,
    /// Whether the course has come further than the last fact.
    pub is_ahead: bool,
}

impl Timeline {
    /// Every clock, also of facts that were folded; those that ended first.
    pub fn clocks<'a>(&'a self, decided: &'a [Clock]) -> impl Iterator<Item = &'a Clock> {
        let own = || self.ended.iter().chain(self.course.running());
        let is_recalled = move |clock: &&Clock| own().any(|known| known.key() == clock.key());
        decided.iter().filter(move |clock| !is_recalled(clock)).chain(own())
    }
}

/// What a timeline is derived from.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// What was promised.
    pub rules: &'a Rules,
    /// When records were lost before they were read, in order. Rule H6.
    pub gaps: &'a [Gap],
    /// What the facts no longer kept came to.
    pub base: Option<&'a Course>,
    /// Clocks of those that have ended and are kept.
    pub decided: &'a [Clock],
    /// The facts since, in order.
    pub facts: &'a [Fact],
}

/// Who has the lead at an instant, and where it is. Rule T18.
pub fn context_at(source: Source<'_>, at: Instant) -> Arc<Context> {
    let count = source.facts.partition_point(|fact| fact.time <= at);
    let source = Source { facts: &source.facts[..count], ..source };
    derive(source, Instant::MIN).course.lead.context
}

/// Derives a lead's timeline up to an instant, or to its last fact where that is later. Rule T1.
pub fn derive(source: Source<'_>, until: Instant) -> Timeline {
    let mut timeline = Timeline { course: source.base.cloned().unwrap_or_default(), ..Timeline::default() };
    timeline.course.track.note_gaps(source.gaps);
    let mut passed = 0;
    for instant in source.facts.chunk_by(|a, b| a.time == b.time) {
        let now = instant.first().map_or(until, |fact| fact.time);
        timeline.pass_boundaries(source, passed, now);
        timeline.pass(source, passed, now, instant);
        passed += instant.len();
    }
    timeline.run_on(source, until);
    timeline
}

impl Timeline {
    fn pass(&mut self, source: Source<'_>, passed: usize, now: Instant, instant: &[Fact]) {
        let earlier = Source { facts: &source.facts[..passed], ..source };
        self.course.advance(earlier, now, instant, &mut self.ended);
        self.course.track.note_gaps(source.gaps);
    }

    /// Other policies may come into force without any fact. Rule T13.
    fn pass_boundaries(&mut self, source: Source<'_>, passed: usize, before: Instant) {
        // Before its first fact there is no lead, and none after a merge.
        while self.course.at != Instant::MIN
            && self.course.merged_at().is_none()
            && let Some(boundary) = source.rules.boundary_after(self.course.at)
            && boundary < before
        {
            self.pass(source, passed, boundary, &[]);
        }
    }

    /// What time alone brings about after the last fact.
    fn run_on(&mut self, source: Source<'_>, until: Instant) {
        let has_begun = self.course.at != Instant::MIN && self.course.merged_at().is_none();
        if has_begun && self.course.at <= until {
            let before = until.plus(1);
            let turns = |course: &Course| course.track.next_turn().is_some_and(|turn| turn < before);
            let changes =
                source.rules.boundary_after(self.course.at).is_some_and(|boundary| boundary < before);
            self.is_ahead = changes || turns(&self.course);
            if self.is_ahead {
                self.pass_boundaries(source, source.facts.len(), before);
                self.course.turn(source, before, &mut self.ended);
                self.course.at = until;
            }
        }
    }
}

impl Course {
    /// The clocks that run, breached ones among them, with what is known of the lead by now.
    pub fn running(&self) -> impl Iterator<Item = &Clock> {
        self.track.running.iter()
    }

    /// The instant up to which it has come.
    pub fn at(&self) -> Instant {
        self.at
    }

    /// About how many bytes of memory it takes.
    pub fn bytes(&self) -> usize {
        let others: usize = self.others.iter().map(|(_, track)| size_of::<Track>() + track.bytes()).sum();
        size_of::<Course>() + self.track.bytes() + others
    }

    /// Who has the lead and where it is.
    pub fn context(&self) -> &Arc<Context> {
        &self.lead.context
    }

    /// Whether the lead is closed, deleted or merged. Rule T10.
    pub fn is_over(&self, rules: &Rules) -> bool {
        self.lead.status != Status::Alive || self.lead.is_closed(rules.pipeline(self.family))
    }

    /// Since when the lead is merged into another: facts dated after it do not count. Rule T11.
    pub fn merged_at(&self) -> Option<Instant> {
        self.lead.merged_at()
    }

    /// When the next window begins. Rule T15.
    pub fn next_window(&self) -> Option<Instant> {
        self.track.next_turn()
    }

    /// When another policy may come into force without any fact. Rule T13.
    pub fn next_boundary(&self, rules: &Rules) -> Option<Instant> {
        let is_there = self.at != Instant::MIN && self.lead.status == Status::Alive;
        rules.boundary_after(self.at).filter(|_| is_there)
    }

    /// Whether a clock runs under another policy.
    pub fn may_have_elsewhere(&self, key: Key) -> bool {
        self.others.iter().flat_map(|(_, track)| &track.running).any(|clock| clock.key() == key)
    }

    /// Whether a clock runs, under whatever policy, or comes of a window that is still to begin.
    pub fn may_have(&self, key: Key) -> bool {
        let others = self.others.iter().map(|(_, track)| track);
        std::iter::once(&self.track)
            .chain(others)
            .any(|track| track.running.iter().any(|clock| clock.key() == key) || track.may_turn_to(key))
    }

    /// Takes all facts of one instant and moves the clocks that end into `ended`; `earlier` are the facts before
    /// them. Rule F3.
    fn advance(&mut self, earlier: Source<'_>, now: Instant, instant: &[Fact], ended: &mut Vec<Clock>) {
        if self.merged_at().is_some_and(|merged| merged < now) {
            return;
        }
        self.turn(earlier, now, ended);
        let foreseen = self.lead.foresee(earlier.rules, instant);
        let family = earlier.rules.in_force(now, self.lead.attributes_after(&foreseen));
        if family != self.family {
            self.change(earlier, family, now, foreseen.is_reborn, ended);
        }
        self.take(earlier, now, instant, foreseen, ended);
    }

    /// Comes to an instant: what is decided before it.
    fn turn(&mut self, source: Source<'_>, before: Instant, ended: &mut Vec<Clock>) {
        self.track.lose(source.rules, &self.lead, before, ended);
        let first = ended.len();
        self.track.turn(source.rules, &self.lead, before, ended);
        // Windows that began and ended since.
        ended[first..].iter_mut().for_each(|clock| clock.note_gap(source.gaps));
        self.track.note_gaps(source.gaps);
        self.track.note_breaches_before(&self.lead, before);
    }

    fn take<'a>(
        &mut self,
        source: Source<'_>,
        now: Instant,
        instant: &'a [Fact],
        mut foreseen: Foreseen<'a>,
        ended: &mut Vec<Clock>,
    ) {
        let mut waivers = Vec::new();
        for fact in instant {
            self.take_fact(source, fact, &mut foreseen, ended);
            if fact.kind == Kind::BreachWaived && self.lead.status != Status::Deleted {
                waivers.push((fact, self.lead.reborn));
            }
        }
        self.track.finish(&self.lead, &foreseen, now, ended);
        for (fact, reborn) in waivers {
            self.waive(source, fact, reborn, ended);
        }
        self.at = now;
    }

    /// Takes one fact: sets, then stops, then ends, then starts. Rule F3.
    fn take_fact<'a>(
        &mut self,
        source: Source<'_>,
        fact: &'a Fact,
        foreseen: &mut Foreseen<'a>,
        ended: &mut Vec<Clock>,
    ) {
        let rules = source.rules;
        let pipeline = rules.pipeline(self.family);
        let mut before = Arc::clone(&self.lead.context);
        let left = Arc::clone(&before);
        let place = self.lead.place_in(pipeline, &left);
        if !self.lead.hears(fact) {
            return;
        }
        if self.lead.is_deleted() {
            self.begin_anew(fact, foreseen, ended);
            before = Arc::clone(&self.lead.context);
        }
        let signal = self.lead.set(pipeline, fact, &before);
        let signal = Signal { owner: self.lead.context.owner.as_deref(), ..signal };
        if signal.is_creation {
            foreseen.creation = Some(fact);
        }
        if signal.is_first_assignment {
            foreseen.first_assignment = Some(fact);
        }
        let Some(family) = self.family else { return };
        let (lead, before, signal) = (&self.lead, &place, &signal);
        self.track.take(&Scene { rules, family, lead, before, signal, foreseen }, ended);
    }

    /// A waiver that names the start of a clock may come before it. Rule T17.
    fn waive(&mut self, source: Source<'_>, fact: &Fact, reborn: Option<Order>, ended: &mut Vec<Clock>) {
        let objective = fact.field("objective");
        let is_of = |clock: &Clock| objective == Some(Value::Text(source.rules.policies.name(clock.name)));
        let runs = |clock: &Clock| self.track.running.iter().any(|known| known.key() == clock.key());
        recall(source.decided, ended, |clock| is_of(clock) && !runs(clock));
        let name = |(name, _): &&(NameId, Instant)| {
            objective == Some(Value::Text(source.rules.policies.name(*name)))
        };
        let last = self.last_started.iter().find(name).map(|(_, started_at)| *started_at);
        let life = (reborn, self.lead.reborn.filter(|now| reborn != Some(*now)));
        if let Some(started_at) = self.track.waive(source.rules, fact, life, last, ended) {
            self.lead.waivers.push((started_at, fact.clone()));
        }
    }

    /// One after `lead-deleted` begins the lead anew, nothing before it counting. Rule F5.
    fn begin_anew(&mut self, fact: &Fact, foreseen: &mut Foreseen<'_>, ended: &mut [Clock]) {
        self.track.satisfy_ended(foreseen, fact.time, ended);
        (foreseen.creation, foreseen.first_assignment) = (None, None);
        let ended_now = ended.iter_mut().rev().take_while(|clock| clock.ended_at() == Some(fact.time));
        for end in ended_now.filter_map(|clock| clock.end.as_mut()) {
            Arc::make_mut(end).fact.get_or_insert_with(|| fact.clone());
        }
        self.lead.begin_anew(fact);
        self.last_started.clear();
        self.track.begin_anew();
    }
}

/// Another policy comes into force. Rules T12 and T13.
impl Course {
    fn change(
        &mut self,
        earlier: Source<'_>,
        to: Option<FamilyId>,
        now: Instant,
        is_reborn: bool,
        ended: &mut Vec<Clock>,
    ) {
        let rules = earlier.rules;
        let cause = match (self.family, to) {
            (Some(from), Some(to)) if !std::ptr::eq(rules.edition_of(from), rules.edition_of(to)) => {
                Cause::PolicyEdit
            }
            _ => Cause::PolicyChange,
        };
        // Nothing was promised before the first fact.
        let has_begun = self.at != Instant::MIN;
        let (track, as_if_ended) = match to {
            Some(family) if has_begun => as_if(earlier, family, now),
            _ => (Track::default(), Vec::new()),
        };
        let before = std::mem::replace(&mut self.track, track);
        self.family = to;
        if is_reborn {
            // The new policy ends what runs, and brings nothing of a life that is over.
            let runs = |key: Key| before.running.iter().any(|clock| clock.key() == key);
            self.track.running.retain(|clock| runs(clock.key()));
        }
        recall(earlier.decided, ended, |known| {
            self.track.running.iter().any(|clock| clock.key() == known.key())
        });
        self.take_up(rules, before.running, &as_if_ended, cause, now, ended);
    }

    /// The clocks of the policy that comes into force go on from those that there are.
    fn take_up(
        &mut self,
        rules: &Rules,
        running: Vec<Clock>,
        as_if_ended: &[Clock],
        cause: Cause,
        now: Instant,
        ended: &mut Vec<Clock>,
    ) {
        // A window that is over stays so. Rule T15.
        let is_over = |known: &Clock| known.end.as_ref().is_some_and(|end| end.why == EndKind::Over);
        let over: Vec<Key> = ended.iter().filter(|known| is_over(known)).map(Clock::key).collect();
        self.track.running.retain(|clock| !over.contains(&clock.key()));
        for clock in &mut self.track.running {
            let key = clock.key();
            let known = running.iter().find(|known| known.key() == key);
            let place = ended.iter().rposition(|known| known.key() == key).filter(|_| known.is_none());
            let known = known.cloned().or_else(|| place.map(|place| ended.remove(place)));
            clock.taken = Some(Box::new(taken(rules, known.as_ref(), cause, now)));
            // Somebody waived what the lead had then. Rule T17.
            clock.waiver = match &known {
                Some(known) => known.waiver.clone(),
                None => waiver_of(rules, &self.lead, clock.name, clock.started_at),
            };
            clock.at_breach = known.as_ref().and_then(|known| known.at_breach.clone());
            if let Some(known) = known {
                clock.gap = known.gap;
            }
        }
        for mut old in running {
            let key = old.key();
            if self.track.running.iter().any(|clock| clock.key() == key) {
                continue;
            }
            match as_if_ended.iter().rfind(|clock| clock.key() == key) {
                Some(known) => {
                    let taken = Some(Box::new(taken(rules, Some(&old), cause, now)));
                    let Clock { at_breach, gap, waiver, .. } = old;
                    ended.push(Clock { taken, at_breach, gap, waiver, ..known.clone() });
                }
                None => {
                    old.finish(now, EndKind::Change(cause), &self.lead.context, None);
                    ended.push(old);
                }
            }
        }
    }

    /// What is asked for once facts are folded: what the lead's clocks would be under every other policy, and
    /// which clock of each objective was the last.
    pub fn remember(&mut self, source: Source<'_>, ended: &[Clock]) {
        // One that breached is kept itself; another hides the breaches before it from waivers that name no start.
        let breached = |name: NameId| {
            source.decided.iter().chain(ended).any(|clock| clock.name == name && clock.breach().is_some())
        };
        for clock in ended.iter().filter(|clock| clock.breach().is_none()) {
            match self.last_started.iter_mut().find(|(name, _)| *name == clock.name) {
                Some((_, last)) => *last = clock.started_at.max(*last),
                None if breached(clock.name) => self.last_started.push((clock.name, clock.started_at)),
                None => {}
            }
        }
        self.remember_others(source);
        self.track.running.shrink_to_fit();
    }

    fn remember_others(&mut self, source: Source<'_>) {
        if !source.rules.can_change() {
            return;
        }
        let others = source.rules.families().filter(|family| Some(*family) != self.family);
        let others: Vec<_> = others.map(|family| (family, as_if(source, family, self.at.plus(1)))).collect();
        let runs = |track: &Track, key: Key| track.running.iter().any(|clock| clock.key() == key);
        let is_wanted =
            |key: Key| runs(&self.track, key) || others.iter().any(|(_, (track, _))| runs(track, key));
        let kept = |ended: &[Clock]| ended.iter().filter(|clock| is_wanted(clock.key())).cloned().collect();
        let own = self.family.map_or_else(Vec::new, |family| as_if(source, family, self.at.plus(1)).1);
        let runs_elsewhere = |clock: &Clock| others.iter().any(|(_, (track, _))| runs(track, clock.key()));
        let own: Vec<Clock> = own.into_iter().filter(runs_elsewhere).collect();
        let kept: Vec<Vec<Clock>> = others.iter().map(|(_, (_, ended))| kept(ended)).collect();
        self.track.ended = own.into();
        self.others = others
            .into_iter()
            .zip(kept)
            .map(|((family, (track, _)), ended)| (family, track.with_ended(ended)))
            .collect();
    }

    /// The same lead, had this policy always covered it.
    fn under(&self, rules: &Rules, family: FamilyId) -> Course {
        let track = if self.family == Some(family) {
            self.track.clone()
        } else {
            let known = self.others.iter().find(|(other, _)| *other == family);
            known.map_or_else(|| self.track.under(rules, family, &self.lead), |(_, track)| track.clone())
        };
        Course { family: Some(family), track: track.alone(), others: ThinVec::new(), ..self.clone() }
    }
}

/// The clocks that run and those that ended before an instant, had this policy always covered the lead.
fn as_if(earlier: Source<'_>, family: FamilyId, now: Instant) -> (Track, Vec<Clock>) {
    let fresh = || Course { family: Some(family), ..Course::default() };
    let mut course = earlier.base.map_or_else(fresh, |base| base.under(earlier.rules, family));
    let mut ended: Vec<Clock> = std::mem::take(&mut course.track.ended).into();
    course.track.note_gaps(earlier.gaps);
    for instant in earlier.facts.chunk_by(|a, b| a.time == b.time) {
        let Some(at) = instant.first().map(|fact| fact.time) else { continue };
        course.turn(earlier, at, &mut ended);
        let foreseen = course.lead.foresee(earlier.rules, instant);
        course.take(Source { decided: &[], ..earlier }, at, instant, foreseen, &mut ended);
        pause_ended(&mut ended, earlier.rules, &course.lead, at);
        course.track.note_gaps(earlier.gaps);
    }
    course.turn(earlier, now, &mut ended);
    (course.track, ended)
}

/// Takes those decided clocks up again that something may befall.
fn recall(decided: &[Clock], ended: &mut Vec<Clock>, wants: impl Fn(&Clock) -> bool) {
    for clock in decided.iter().filter(|clock| wants(clock)) {
        if ended.iter().all(|known| known.key() != clock.key()) {
            ended.insert(0, clock.clone());
        }
    }
}

/// What a clock has come to by the instant at which another policy comes into force.
fn taken(rules: &Rules, clock: Option<&Clock>, cause: Cause, at: Instant) -> Taken {
    let Some(clock) = clock else { return Taken { at, cause, history: Vec::new(), breach: None } };
    let mut history = clock.taken.as_ref().map_or_else(Vec::new, |taken| taken.history.clone());
    let own: Vec<Dated> = clock.steps(rules, at)[history.len()..]
        .iter()
        .map(|(dated, _)| *dated)
        .filter(|d| d.date < at)
        .collect();
    let breach = clock.breach().filter(|breach| breach.at < at);
    if !own.is_empty() {
        let taken =
            clock.taken.as_ref().map(|taken| Box::new(Taken { history: Vec::new(), ..(**taken).clone() }));
        let clock = Arc::new(Clock { taken, ..clock.clone() });
        history.extend(own.into_iter().map(|dated| Told { dated, clock: Arc::clone(&clock) }));
    }
    Taken { at, cause, history, breach }
}

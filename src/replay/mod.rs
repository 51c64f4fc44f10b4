//! Judges finished logs: lines of files in, breaches, clocks and figures out. Rule H7.
//!
//! The engine is the service's own. Where every file is in the order of time, facts are judged as they come
//! and memory grows with the leads; where one is not, all are read before the first is judged, which gives
//! the same output. Nothing here knows Kafka or reads a clock.

mod clocks;
mod figures;
mod input;
mod judge;
mod output;
mod report;
mod spool;
mod table;

use std::io;
use std::sync::Arc;

use crate::sla::instant::Instant;
use crate::sla::policy::Policies;
use crate::sla::rules::Rules;
use crate::wire::encode::Encoder;

pub use input::Inputs;
pub use output::{Outputs, Sink};
pub use report::{Reading, Rejection, Report};
pub use table::table;

use judge::{Judge, Reject};

/// What is judged, by what, and until when.
#[derive(Debug, Clone)]
pub struct Request {
    /// What was promised.
    pub policies: Arc<Policies>,
    /// Judged until then; `None` is the latest event, at most `now`.
    pub until: Option<Instant>,
    /// The wall clock: without `until`, events dated later are left out.
    pub now: Instant,
}

/// What could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An input failed.
    #[error("cannot read `{0}`: {1}")]
    Input(String, #[source] io::Error),
    /// An output failed.
    #[error("cannot write `{0}`: {1}")]
    Output(String, #[source] io::Error),
}

/// Why reading in the order of time was given up.
enum Attempt {
    Done(Box<Report>),
    /// A rejected line names a lead whose earlier breaches it makes uncertain.
    Uncertain,
    Disorder,
}

/// Judges the inputs, says what stands, and returns the figures.
///
/// `progress` is told how many bytes of the inputs have been read, from the start again after starting over.
pub fn replay(
    request: &Request,
    inputs: &mut Inputs,
    outputs: &mut Outputs,
    progress: &mut dyn FnMut(u64),
) -> Result<Report, Error> {
    Run::new(request, inputs, outputs, progress).replay()
}

struct Run<'a> {
    request: &'a Request,
    names: Vec<String>,
    rules: Arc<Rules>,
    encoder: Encoder,
    inputs: &'a mut Inputs,
    outputs: &'a mut Outputs,
    progress: &'a mut dyn FnMut(u64),
    /// So many are taken in before what they imply is judged: any number gives the same output.
    events_a_step: u64,
}

const EVENTS_A_STEP: u64 = 65_536;

impl<'a> Run<'a> {
    fn new(
        request: &'a Request,
        inputs: &'a mut Inputs,
        outputs: &'a mut Outputs,
        progress: &'a mut dyn FnMut(u64),
    ) -> Run<'a> {
        Run {
            request,
            names: inputs.names(),
            rules: Arc::new(Rules::new(Arc::clone(&request.policies))),
            encoder: Encoder::new(inputs.names()),
            inputs,
            outputs,
            progress,
            events_a_step: EVENTS_A_STEP,
        }
    }

    /// Judges in the order of time as long as the input allows that.
    fn replay(mut self) -> Result<Report, Error> {
        match self.in_order(None)? {
            Attempt::Done(report) => return Ok(*report),
            Attempt::Uncertain => {
                let (rejects, is_ordered) = self.rejects()?;
                if is_ordered && let Attempt::Done(report) = self.in_order(Some(&rejects))? {
                    return Ok(*report);
                }
            }
            Attempt::Disorder => {}
        }
        self.in_any_order()
    }

    /// Events dated later are left out.
    fn last(&self) -> Instant {
        self.request.until.unwrap_or(self.request.now)
    }

    /// Judges on the way with T a millisecond before the latest event. `rejects` are those of the whole input;
    /// where they are not known, the first that names a lead ends the attempt.
    fn in_order(&mut self, rejects: Option<&[Reject]>) -> Result<Attempt, Error> {
        self.outputs.restart()?;
        self.inputs.restart()?;
        let mut judge = Judge::new(&self.rules, &self.encoder, rejects.unwrap_or_default());
        let mut reading = Reading::default();
        let last = self.last();
        let mut latest = Instant::MIN;
        while let Some(line) = self.inputs.next()? {
            reading.lines += 1;
            let event = match line.event {
                Err(rejected) => {
                    if rejects.is_none() && rejected.lead_id.is_some() {
                        return Ok(Attempt::Uncertain);
                    }
                    reading.reject(
                        &self.names[usize::from(line.file)],
                        line.number,
                        rejected.reason,
                        &rejected.detail,
                    );
                    continue;
                }
                Ok(event) => event,
            };
            if last < event.fact.time {
                reading.left_out += 1;
                continue;
            }
            if event.fact.time < latest || !judge.is_first_or_kept(event.lead_id, &event.fact) {
                return Ok(Attempt::Disorder);
            }
            latest = event.fact.time;
            let (lead_id, identity_hash) = (event.lead_id, event.fact.identity_hash());
            if judge.take(event, &self.names[usize::from(line.file)], line.number, &mut reading) {
                judge.remember(lead_id, identity_hash);
            }
            if reading.lines % self.events_a_step == 0 {
                judge.advance(latest.minus(1), self.outputs)?;
                (self.progress)(self.inputs.bytes_read());
            }
        }
        let until = self.request.until.or(reading.latest);
        let report = judge.finish(until, reading, true, self.outputs)?;
        Ok(Attempt::Done(Box::new(report)))
    }

    /// Reads everything, then judges.
    fn in_any_order(self) -> Result<Report, Error> {
        self.outputs.restart()?;
        self.inputs.restart()?;
        let mut judge = Judge::new(&self.rules, &self.encoder, &[]);
        let mut reading = Reading::default();
        let mut rejects = Vec::new();
        let last = self.last();
        while let Some(line) = self.inputs.next()? {
            reading.lines += 1;
            match line.event {
                Err(rejected) => {
                    rejects.extend(Reject::of(line.file, line.number, rejected.lead_id.as_deref()));
                    reading.reject(
                        &self.names[usize::from(line.file)],
                        line.number,
                        rejected.reason,
                        &rejected.detail,
                    );
                }
                Ok(event) if last < event.fact.time => reading.left_out += 1,
                Ok(event) => {
                    judge.take(event, &self.names[usize::from(line.file)], line.number, &mut reading);
                }
            }
            if reading.lines % self.events_a_step == 0 {
                (self.progress)(self.inputs.bytes_read());
            }
        }
        rejects.sort_by_key(Reject::place);
        judge.mark(&rejects);
        judge.recount(&mut reading);
        let until = self.request.until.or(reading.latest);
        judge.finish(until, reading, false, self.outputs)
    }

    /// Reads for rejected lines that name a lead, and whether the others are in the order of time.
    fn rejects(&mut self) -> Result<(Vec<Reject>, bool), Error> {
        self.inputs.restart()?;
        let (mut rejects, mut is_ordered) = (Vec::new(), true);
        let (mut latest, mut lines) = (Instant::MIN, 0u64);
        let last = self.last();
        while let Some(line) = self.inputs.next()? {
            lines += 1;
            match line.event {
                Err(rejected) => {
                    rejects.extend(Reject::of(line.file, line.number, rejected.lead_id.as_deref()));
                }
                Ok(event) if event.fact.time <= last => {
                    is_ordered &= latest <= event.fact.time;
                    latest = event.fact.time;
                }
                Ok(_) => {}
            }
            if !is_ordered {
                break;
            }
            if lines % self.events_a_step == 0 {
                (self.progress)(self.inputs.bytes_read());
            }
        }
        rejects.sort_by_key(Reject::place);
        Ok((rejects, is_ordered))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::hash::BuildHasher;
    use std::path::{Path, PathBuf};

    use proptest::prelude::*;

    use super::*;
    use crate::config::read_policies;

    const POLICIES: &str = "
calendars: {office: {time_zone: Europe/Amsterdam, hours: {mon-fri: ['09:00-17:00']}}}
pipeline: {open: [new, working], won: [won]}
policies:
  - name: big
    match: {size: big}
    calendar: office
    objectives: {first-response: {start: created, stop: contacted, within: 2bh}}
  - name: everyone
    objectives:
      first-response: {start: created, stop: contacted, within: 1h}
      next-reply: {start: {contacted: {direction: inbound}}, stop: contacted, within: 30m}
    stages: {new: 2h, working: 3h}
";

    /// Minutes since the event before, the lead, and what happened to it.
    type Happening = (u8, u8, u8);

    fn line(number: usize, minute: u64, (_, lead, what): Happening) -> String {
        let rest = match what % 8 {
            0 => r#""type":"lead-created","stage":"new""#,
            1 => r#""type":"lead-created","size":"big","owner":"ann""#,
            2 => r#""type":"contacted""#,
            3 => r#""type":"contacted","direction":"inbound""#,
            4 => r#""type":"stage-changed","stage":"working""#,
            5 => r#""type":"stage-changed","stage":"won","team":"t""#,
            6 => r#""type":"lead-assigned","owner":"bob""#,
            _ => r#""type":"nonsense""#,
        };
        let time = Instant::from_millis(1_770_000_000_000 + minute as i64 * 60_000);
        format!(r#"{{"event_id":"{number}","lead_id":"L{lead}","time":"{time}",{rest}}}"#)
    }

    fn lines(happenings: &[Happening]) -> Vec<String> {
        let mut minute = 0;
        let of = |(number, happening): (usize, &Happening)| {
            minute += u64::from(happening.0);
            line(number, minute, *happening)
        };
        happenings.iter().enumerate().map(of).collect()
    }

    /// Breaches, clocks and figures of what `judge` makes of the files.
    fn judged(
        folder: &Path,
        files: &[&str],
        judge: impl FnOnce(Run<'_>) -> Report,
    ) -> (String, String, Vec<figures::Row>) {
        let paths: Vec<PathBuf> = files.iter().map(|file| folder.join(file)).collect();
        let (breaches, clocks) = (folder.join("breaches"), folder.join("clocks"));
        let mut inputs = Inputs::open(&paths).expect("inputs");
        let mut outputs = Outputs {
            breaches: Some(Sink::file(&breaches).expect("an output")),
            clocks: Some(Sink::file(&clocks).expect("an output")),
        };
        let policies = Arc::new(read_policies("policies", POLICIES).expect("policies"));
        let now = Instant::from_millis(1_780_000_000_000);
        let request = Request { policies, until: None, now };
        let report = judge(Run::new(&request, &mut inputs, &mut outputs, &mut |_| {}));
        outputs.finish().expect("written");
        let read = |path| fs::read_to_string(path).expect("read");
        (read(breaches), read(clocks), report.objectives)
    }

    proptest! {
        #[test]
        fn judging_on_the_way_says_what_judging_at_the_end_says(
            happenings in proptest::collection::vec((0u8..90, 0u8..4, 0u8..8), 0..60),
            events_a_step in 1u64..9,
        ) {
            let folder = tempfile::tempdir().expect("a folder");
            fs::write(folder.path().join("log"), lines(&happenings).join("\n")).expect("written");
            let at_the_end = judged(folder.path(), &["log"], |run| run.in_any_order().expect("done"));
            let on_the_way = judged(folder.path(), &["log"], |run| {
                let report = Run { events_a_step, ..run }.replay().expect("done");
                assert!(report.in_order);
                report
            });
            prop_assert_eq!(on_the_way, at_the_end);
        }

        #[test]
        fn the_order_of_lines_changes_no_clock(
            happenings in proptest::collection::vec((1u8..90, 0u8..4, 0u8..7), 0..40),
            seed in any::<u64>(),
        ) {
            let folder = tempfile::tempdir().expect("a folder");
            let mut lines = lines(&happenings);
            fs::write(folder.path().join("log"), lines.join("\n")).expect("written");
            lines.sort_by_key(|line| foldhash::quality::FixedState::with_seed(seed).hash_one(line));
            fs::write(folder.path().join("shuffled"), lines.join("\n")).expect("written");
            let (_, clocks, figures) = judged(folder.path(), &["log"], |run| run.replay().expect("done"));
            let shuffled = judged(folder.path(), &["shuffled"], |run| run.replay().expect("done"));
            prop_assert_eq!((clocks, figures), (shuffled.1, shuffled.2));
        }
    }
}

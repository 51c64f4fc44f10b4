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
use crate::sla::policy::{Policies, Rules};
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
    let mut run = Run {
        request,
        names: inputs.names(),
        rules: Arc::new(Rules::new(Arc::clone(&request.policies))),
        encoder: Encoder::new(Arc::clone(&request.policies), inputs.names()),
        inputs,
        outputs,
        progress,
    };
    match run.in_order(None)? {
        Attempt::Done(report) => return Ok(*report),
        Attempt::Uncertain => {
            let (rejects, is_ordered) = run.rejects()?;
            if is_ordered && let Attempt::Done(report) = run.in_order(Some(&rejects))? {
                return Ok(*report);
            }
        }
        Attempt::Disorder => {}
    }
    run.in_any_order()
}

struct Run<'a> {
    request: &'a Request,
    names: Vec<String>,
    rules: Arc<Rules>,
    encoder: Encoder,
    inputs: &'a mut Inputs,
    outputs: &'a mut Outputs,
    progress: &'a mut dyn FnMut(u64),
}

/// So many events are taken in before what they imply is judged: any number gives the same output.
const EVENTS_A_STEP: u64 = 4096;

impl Run<'_> {
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
            if reading.lines % EVENTS_A_STEP == 0 {
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
            if reading.lines % EVENTS_A_STEP == 0 {
                judge.keep();
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
            if lines % EVENTS_A_STEP == 0 {
                (self.progress)(self.inputs.bytes_read());
            }
        }
        rejects.sort_by_key(Reject::place);
        Ok((rejects, is_ordered))
    }
}

//! Makes a history that fails as small as it goes, and tells it.

use std::fmt::Write;

use super::faults::Script;
use super::scenario::Setup;

/// How many histories are tried in order to make one smaller.
const TRIES_MAX: u32 = 1_500;

/// How a history failed.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What was wrong.
    pub reason: String,
    /// What had gone wrong before.
    pub struck: Script,
    /// What happened, a line each.
    pub trace: String,
}

/// Runs a history.
pub type Run<'a> = &'a dyn Fn(&Setup) -> Result<(), Failure>;

/// Makes a history that failed smaller, and says what is left of it. Its trace is printed where one seed was
/// asked for.
pub fn told(setup: Setup, failure: Failure, run: Run<'_>) -> String {
    let first = failure.reason.clone();
    let (setup, failure) = shrunk(setup, failure, run);
    let mut text = format!(
        "{first}\nsmallest found: {}\n{} processes, {} steps, {} partitions, {} topics, {} brokers\n",
        failure.reason,
        setup.processes,
        setup.steps,
        setup.shape.partitions,
        setup.shape.topics,
        setup.shape.brokers
    );
    for record in &setup.upstream {
        let value = String::from_utf8_lossy(record.payload.value.as_deref().unwrap_or_default()).into_owned();
        let (at, place) = (record.appended_ms, (record.topic, record.partition));
        let _ =
            writeln!(text, "  record at {at} in {place:?}, transaction {:?}: {value}", record.transaction);
    }
    for (place, strike) in &failure.struck {
        let _ = writeln!(text, "  at {place}: {strike:?}");
    }
    if super::seeds::is_one() {
        text += &failure.trace;
    }
    text
}

/// Takes away what a failure does not need: first what goes wrong, then records, processes and steps.
fn shrunk(setup: Setup, failure: Failure, run: Run<'_>) -> (Setup, Failure) {
    let scripted = Setup { script: Some(failure.struck.clone()), ..setup.clone() };
    let mut search = Search { best: (setup, failure), tries: 0, run };
    if !search.keeps(scripted) {
        return search.best;
    }
    loop {
        let before = search.size();
        search.fewer(
            |setup| setup.script.iter().flatten().map(|(place, strike)| (*place, *strike)).collect(),
            |setup, strikes| setup.script = Some(strikes.into_iter().collect()),
        );
        search.fewer(|setup| setup.upstream.clone(), |setup, records| setup.upstream = records);
        search.plainer();
        if search.size() == before || search.tries >= TRIES_MAX {
            return search.best;
        }
    }
}

struct Search<'a> {
    best: (Setup, Failure),
    tries: u32,
    run: Run<'a>,
}

impl Search<'_> {
    /// Whether a history still fails, in which case it is the best so far.
    fn keeps(&mut self, setup: Setup) -> bool {
        self.tries += 1;
        if self.tries > TRIES_MAX {
            return false;
        }
        match (self.run)(&setup) {
            Ok(()) => false,
            Err(failure) => {
                self.best = (setup, failure);
                true
            }
        }
    }

    fn size(&self) -> (usize, usize, usize, u32) {
        let setup = &self.best.0;
        (setup.script.as_ref().map_or(0, Script::len), setup.upstream.len(), setup.processes, setup.steps)
    }

    /// Leaves out pieces of a list, large ones first.
    fn fewer<T: Clone>(&mut self, get: impl Fn(&Setup) -> Vec<T>, set: impl Fn(&mut Setup, Vec<T>)) {
        let mut piece = get(&self.best.0).len().div_ceil(2);
        while piece > 0 {
            let mut from = 0;
            while from < get(&self.best.0).len() {
                let mut list = get(&self.best.0);
                list.drain(from..(from + piece).min(list.len()));
                let mut setup = self.best.0.clone();
                set(&mut setup, list);
                if !self.keeps(setup) {
                    from += piece;
                }
            }
            piece = if piece == 1 { 0 } else { piece.div_ceil(2) };
        }
    }

    /// Fewer processes and steps, and records in no transaction.
    fn plainer(&mut self) {
        while self.best.0.processes > 1 {
            let setup = Setup { processes: self.best.0.processes - 1, ..self.best.0.clone() };
            if !self.keeps(setup) {
                break;
            }
        }
        let mut cut = self.best.0.steps / 2;
        while cut > 0 {
            let setup = Setup { steps: self.best.0.steps.saturating_sub(cut), ..self.best.0.clone() };
            if !self.keeps(setup) {
                cut /= 2;
            }
        }
        for index in 0..self.best.0.upstream.len() {
            let mut setup = self.best.0.clone();
            if setup.upstream[index].transaction.take().is_some() {
                self.keeps(setup);
            }
        }
    }
}

//! The threads of one process: as many workers as are wanted, one stop for all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand_chacha::ChaCha12Rng;

use super::port::{Error, Port};
use super::shared::Shared;
use super::worker::Worker;

/// The workers of one process.
pub struct Service {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<(), Error>>>,
}

impl Service {
    /// Starts so many workers; `connect` may take long and looks whether it should stop; `ended` is called
    /// when one of them ends.
    pub fn start<P, F, E>(
        shared: &Arc<Shared>,
        workers: usize,
        connect: F,
        ended: E,
    ) -> std::io::Result<Service>
    where
        P: Port,
        F: Fn(usize, &AtomicBool) -> Result<P, Error> + Send + Sync + 'static,
        E: Fn() + Send + Sync + 'static,
    {
        let stop = Arc::new(AtomicBool::new(false));
        let (connect, ended) = (Arc::new(connect), Arc::new(ended));
        let mut threads = Vec::new();
        for index in 0..workers {
            let (shared, stop) = (Arc::clone(shared), Arc::clone(&stop));
            let (connect, ended) = (Arc::clone(&connect), Arc::clone(&ended));
            let thread = std::thread::Builder::new().name(format!("worker-{index}"));
            threads.push(thread.spawn(move || {
                let result = work(&shared, index, &*connect, &stop);
                if let Err(error) = &result {
                    tracing::error!(worker = index, %error, "a worker ended");
                }
                stop.store(true, Ordering::Relaxed);
                ended();
                result
            })?);
        }
        Ok(Service { stop, threads })
    }

    /// Lets every worker finish its turn, commit and leave the group; the first error is returned.
    pub fn stop(self) -> Result<(), Error> {
        self.stop.store(true, Ordering::Relaxed);
        let mut result = Ok(());
        for thread in self.threads {
            let ended = thread.join().unwrap_or_else(|_| Err(Error::Fatal("a worker panicked".to_owned())));
            result = result.and(ended);
        }
        result
    }
}

/// Two fences within this time are another process of the same name; one may be an own request that a broker
/// which stood still answered late.
const FENCES_APART: Duration = Duration::from_secs(60);

/// Works until it is stopped or cannot go on, and begins anew where its name was taken once.
fn work<P: Port>(
    shared: &Arc<Shared>,
    index: usize,
    connect: &dyn Fn(usize, &AtomicBool) -> Result<P, Error>,
    stop: &AtomicBool,
) -> Result<(), Error> {
    let mut fenced_at: Option<Instant> = None;
    loop {
        let port = match connect(index, stop) {
            // Asked to end while its brokers were away, it has nothing to commit and no group to leave.
            Err(Error::NotYet(_)) if stop.load(Ordering::Relaxed) => return Ok(()),
            connected => connected?,
        };
        match work_with(port, shared, index, stop) {
            Err(Error::Fenced(why)) if fenced_at.is_none_or(|at| FENCES_APART <= at.elapsed()) => {
                tracing::warn!(worker = index, why, "the name was taken; taking it back once");
                fenced_at = Some(Instant::now());
            }
            result => return result,
        }
    }
}

fn work_with<P: Port>(port: P, shared: &Arc<Shared>, index: usize, stop: &AtomicBool) -> Result<(), Error> {
    let mut worker = Worker::new(port, Arc::clone(shared), index, ChaCha12Rng::from_rng(&mut rand::rng()));
    shared.metrics.worker_count(1);
    let mut result = Ok(());
    while result.is_ok() && !stop.load(Ordering::Relaxed) {
        result = worker.turn();
    }
    shared.metrics.worker_count(-1);
    result.and_then(|()| worker.stop())
}

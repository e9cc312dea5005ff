//! Simulation: a worker on a clock of its own, against a model of the target.
//!
//! No time passes and nothing is sent. The clock is moved from one thing that happens to the next: a request
//! comes due, a response arrives, a connection is open, a time-out is looked for. What happens is told to the
//! collector in the words of the engine, so that everything behind it (thresholds, ledger, files, reports) is
//! the code of a real run.
//!
//! 1. Due times, slots, connections with their limits and windows, spares, queues, lateness, overload and
//!    time-outs are those of the engine; the plan's numbers are not scaled.
//! 2. The target answers each request after [`Target::delay`], however many there are, and a connection is
//!    open [`Target::connect`] after it was asked for. Nothing else takes time, and nothing fails.
//! 3. At one instant responses come first, then connections that are open, then requests that are due. The
//!    same plan has the same result to the last bit.
//! 4. The collector is at most [`AHEAD`] seconds behind, so that memory is bounded; where it may end the run,
//!    none.

mod model;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, mpsc};

use crate::engine::{self, Control, Event, Gauges};
use crate::handoff::Batch;
use crate::plan::mix::Mix;
use crate::plan::schedule::Schedule;
use crate::recorder::shard::Window;
use crate::units::Nanos;

/// Seconds of the schedule that the collector may be behind.
const AHEAD: usize = 8;

/// The model of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// How long it takes to answer a request.
    pub delay: Nanos,
    /// How long it takes to open a connection.
    pub connect: Nanos,
}

/// Everything a simulated worker has to know. It is one worker, whatever the engine would have: which thread
/// sends a request changes nothing.
#[derive(Debug, Clone)]
pub struct Config {
    /// What a worker of the engine would be told.
    pub engine: engine::Config,
    /// When requests are due; `None` in the closed model.
    pub schedule: Option<Arc<Schedule>>,
    /// Of which kind each is.
    pub mix: Arc<Mix>,
    /// Who answers.
    pub target: Target,
    /// Whether the collector may end the run by what it takes in.
    pub in_step: bool,
}

/// What is known of a simulation while it goes.
#[derive(Debug, Default)]
pub struct Dial {
    /// Where its clock stands, in nanoseconds from time zero.
    pub now_ns: AtomicU64,
    /// Responses that the model has given.
    pub issued: AtomicU64,
}

/// Who takes completions of all requests.
pub type Sink = Box<dyn FnMut(&Batch) + Send>;

/// The ends of a simulated worker's wires.
pub struct Ports {
    /// Completions, where somebody wants them.
    pub sink: Option<Sink>,
    /// Events to the collector.
    pub events: mpsc::Sender<(u64, Event)>,
    /// Emptied windows from the collector.
    pub windows: mpsc::Receiver<Window>,
    /// Tells it to end.
    pub control: Arc<Control>,
    /// Numbers for the screen.
    pub gauges: Arc<Gauges>,
    /// Where its clock stands.
    pub dial: Arc<Dial>,
}

/// Runs to the end of the load on the calling thread, and tells the account.
pub fn run(config: Config, ports: Ports) {
    let schedule = config.schedule.clone();
    let cursor = schedule.as_ref().map(|schedule| schedule.cursor());
    model::Model::new(config, ports, cursor).run();
}

/// Lets the collector come near before the simulation goes on.
#[derive(Debug)]
struct Pace {
    events: mpsc::Sender<(u64, Event)>,
    waiting: VecDeque<mpsc::Receiver<()>>,
    ahead: usize,
}

impl Pace {
    fn new(events: mpsc::Sender<(u64, Event)>, in_step: bool) -> Pace {
        Pace { events, waiting: VecDeque::new(), ahead: if in_step { 0 } else { AHEAD } }
    }

    /// A second was handed over: waits until the collector is near enough. One that is gone is not waited
    /// for.
    fn second(&mut self, worker: u64) {
        let (heard, answer) = mpsc::channel();
        if self.events.send((worker, Event::Mark(heard))).is_ok() {
            self.waiting.push_back(answer);
        }
        while self.waiting.len() > self.ahead {
            let Some(oldest) = self.waiting.pop_front() else { return };
            // An error means that the collector is gone.
            let _ = oldest.recv();
        }
    }
}

impl Dial {
    /// Where its clock stands.
    pub fn now(&self) -> Nanos {
        Nanos(self.now_ns.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn in_step_the_simulation_waits_until_the_collector_has_taken_in_what_it_was_told() {
        let (events, told) = mpsc::channel();
        let taken_in = Arc::new(AtomicBool::new(false));
        let seen = taken_in.clone();
        let collector = std::thread::spawn(move || {
            while let Ok((_, event)) = told.recv() {
                if let Event::Mark(heard) = event {
                    seen.store(true, Relaxed);
                    heard.send(()).expect("it waits");
                }
            }
        });
        let mut pace = Pace::new(events, true);
        for _ in 0..3 {
            taken_in.store(false, Relaxed);
            pace.second(0);
            assert!(taken_in.load(Relaxed));
        }
        drop(pace);
        collector.join().expect("it ends");
    }

    #[test]
    fn a_simulation_is_never_further_ahead_than_it_may_and_waits_for_nobody_who_is_gone() {
        let (events, told) = mpsc::channel();
        let mut pace = Pace::new(events, false);
        (0..AHEAD).for_each(|_| pace.second(0));
        assert_eq!((told.try_iter().count(), pace.waiting.len()), (AHEAD, AHEAD));
        drop(told);
        pace.second(0);
        assert_eq!(pace.waiting.len(), AHEAD, "nothing was told any more");
    }
}

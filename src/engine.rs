//! Engine: sends every request when it is due and finds out how it ended.
//!
//! Worker threads share out the connection slots (`slot mod workers`). Each runs one current-thread
//! runtime and owns its connections and its counters, so nothing on the sending path is shared. A
//! worker takes ready-made frames from a bounded ring, lets each go at its due time, and gives
//! completions to another ring. It knows no YAML, Redis, Lua, terminal or file.

mod connection;
mod inflight;
mod pacer;
mod users;
mod worker;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::handoff::{Batch, Chunk, Receiver, Sender};
use crate::ledger::{Outcomes, Receipts};
use crate::plan::closed::Closed;
use crate::plan::connections::Connections;
use crate::plan::course::Course;
use crate::plan::segment::{Segment, Share};
use crate::recorder::shard::{self, KindTally, Window};
use crate::units::{NANOS_PER_SEC, Nanos, Tps};
use crate::wire::Codec;

pub use pacer::{Pacing, SPARSE_NS, is_sparse};
pub(crate) use users::Users;
pub(crate) use worker::{SPARE_ROOM, SWEEP_NS, back_off};

/// What to do with a request that is due while its connection has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnOverload {
    /// Send it late; the lateness is measured.
    Queue,
    /// Drop and count it.
    Drop,
    /// End the run.
    Fail,
}

/// Everything a worker has to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which worker this is, from 0.
    pub worker: u64,
    /// Of how many.
    pub workers: u64,
    /// Which part of the plan this process sends.
    pub segment: Segment,
    /// Requests in the whole plan. In the closed model the number that no request reaches.
    pub total: u64,
    /// The only requests that are sent, in rising order; all of the part where it is `None`.
    pub only: Option<Arc<[u64]>>,
    /// Who sends in the closed model; `None` in the open one.
    pub closed: Option<Closed>,
    /// The stages.
    pub stages: Vec<shard::Stage>,
    /// Kinds of requests that are told apart; 0 where they are not.
    pub kinds: usize,
    /// The connections.
    pub connections: Connections,
    /// Addresses of the target; connections take them in turn.
    pub addresses: Arc<[SocketAddr]>,
    /// How the target is spoken to.
    pub codec: Codec,
    /// How exactly to wait.
    pub pacing: Pacing,
    /// Whether the kernel is asked when a response has come, or it has come when it is read. Not to be asked is
    /// worth a tenth of the highest rate. A change of the schedule decides anew.
    pub stamps: bool,
    /// What to do without room.
    pub on_overload: OnOverload,
    /// Requests that would leave later than this are dropped.
    pub max_lateness: Nanos,
    /// How long to wait for responses after the last request.
    pub graceful_stop: Nanos,
    /// Requests that may wait for room, over all slots of the worker.
    pub queue_limit: QueueLimit,
    /// Whether completions of all requests are wanted, or only of the matched.
    pub all_completions: bool,
    /// For the spread of back-off.
    pub seed: u64,
}

impl Config {
    /// The requests of this worker.
    pub fn share(&self) -> Share {
        let (segment, slots) = (self.segment, self.connections.count);
        match &self.closed {
            None => {
                let share = Share::new(self.total, segment, slots, self.worker, self.workers);
                share.only(self.only.clone())
            }
            Some(closed) => {
                Share::of_users(self.total, segment, closed.users, slots, self.worker, self.workers)
            }
        }
    }

    /// How many requests go over each slot, from the first on; none in the closed model, where that is asked of the
    /// users.
    pub fn requests_on_slots(&self) -> Vec<u64> {
        let slots = self.connections.count;
        match (&self.closed, &self.only) {
            (Some(_), _) => vec![0; slots as usize],
            (None, Some(only)) => {
                let mut on_slots = vec![0; slots as usize];
                only.iter().for_each(|n| on_slots[(n % slots) as usize] += 1);
                on_slots
            }
            (None, None) => {
                (0..slots).map(|slot| self.segment.count_on_slot(self.total, slot, slots)).collect()
            }
        }
    }
}

/// How many requests may wait for room in one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimit(usize);

impl QueueLimit {
    /// At least and at most so many, and of the closed model one for each user.
    const BOUNDS: (usize, usize) = (1024, 1 << 18);

    /// As many as come at the highest rate until the first of them is too late to be sent.
    pub fn of(peak: Tps, max_lateness: Nanos, users: usize) -> QueueLimit {
        let late = u128::from(peak.units()) * u128::from(max_lateness.0)
            / (u128::from(Tps::UNITS_PER_TPS) * u128::from(NANOS_PER_SEC));
        let (least, most) = QueueLimit::BOUNDS;
        QueueLimit(usize::try_from(late).unwrap_or(usize::MAX).clamp(least, most).max(users))
    }

    /// So many and no more.
    pub fn exactly(requests: usize) -> QueueLimit {
        QueueLimit(requests)
    }

    /// Whether one more may wait beside so many.
    #[inline]
    pub fn has_room(self, waiting: usize) -> bool {
        waiting < self.0
    }
}

/// Why a run is told to end before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Cause {
    /// A signal has come, or somebody has asked for it.
    Stopped = 2,
    /// A threshold that says so is broken.
    Threshold = 4,
    /// Something has failed.
    Failed = 8,
}

impl Cause {
    const ALL: [Cause; 3] = [Cause::Stopped, Cause::Threshold, Cause::Failed];
}

/// How a run is told to end before its time. One word has all of it, so that who sees that it ends sees why.
#[derive(Debug, Default)]
pub struct Control {
    stop: AtomicU8,
}

/// Beside the cause, of which there is at most one: not to wait.
const NOW: u8 = 1;

impl Control {
    /// Send nothing more, wait for what is in flight. The first cause is the one that counts.
    pub fn drain(&self, cause: Cause) {
        // Where it has been told before, it has a cause.
        let _ = self.stop.compare_exchange(0, cause as u8, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Do not even wait.
    pub fn stop_now(&self) {
        self.stop.fetch_or(NOW, Ordering::Relaxed);
    }

    /// Whether the run was told to end.
    pub fn is_draining(&self) -> bool {
        self.stop.load(Ordering::Relaxed) != 0
    }

    /// Whether the run was told not to wait.
    pub fn is_stopping_now(&self) -> bool {
        self.stop.load(Ordering::Relaxed) & NOW != 0
    }

    /// Why it was told to end; `None` where it was not, or without a reason.
    pub fn cause(&self) -> Option<Cause> {
        let stop = self.stop.load(Ordering::Relaxed);
        Cause::ALL.into_iter().find(|&cause| stop & cause as u8 != 0)
    }
}

/// Numbers for the screen, written by one worker every few milliseconds.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Requests that have come due.
    pub due: AtomicU64,
    /// First bytes given to the kernel.
    pub sent: AtomicU64,
    /// Responses matched.
    pub matched: AtomicU64,
    /// Failed and timed out.
    pub failed: AtomicU64,
    /// Dropped.
    pub dropped: AtomicU64,
    /// In flight.
    pub in_flight: AtomicU64,
    /// Connections open.
    pub connections: AtomicU64,
    /// Connections opened so far.
    pub opened: AtomicU64,
    /// Processor time of the worker in nanoseconds.
    pub cpu_ns: AtomicU64,
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It had carried its limit.
    Limit,
    /// The run was over.
    Finished,
    /// The peer closed it before its limit.
    PeerClosed,
    /// It was reset, or writing to it failed.
    Reset,
    /// The peer sent bytes that are no frame.
    Protocol,
    /// A request timed out, and responses are told apart by their order alone.
    Unanswered,
}

impl End {
    /// The word used in files.
    pub const fn word(self) -> &'static str {
        match self {
            End::Limit => "limit",
            End::Finished => "finished",
            End::PeerClosed => "peer_closed",
            End::Reset => "reset",
            End::Protocol => "protocol",
            End::Unanswered => "unanswered",
        }
    }
}

/// The life of one connection.
#[derive(Debug, Clone)]
pub struct ConnectionRecord {
    /// Its slot.
    pub slot: u64,
    /// Which connection of the slot, from 0.
    pub generation: u64,
    /// The peer.
    pub address: SocketAddr,
    /// When it was open, from time zero; 0 for those opened before.
    pub opened: Nanos,
    /// How long opening took.
    pub connect_time: Nanos,
    /// When it ended.
    pub closed: Nanos,
    /// Requests sent on it.
    pub sent: u64,
    /// Responses matched on it.
    pub matched: u64,
    /// Why it ended.
    pub end: End,
}

/// Something went wrong with a connection. Requests are counted elsewhere.
#[derive(Debug, Clone)]
pub struct Trouble {
    /// When, from time zero.
    pub at: Nanos,
    /// What was being done: `connect`, `connect_timeout`, `read`, `write`, `eof`, `protocol`,
    /// `timeout`.
    pub kind: &'static str,
    /// The peer.
    pub address: SocketAddr,
    /// The system's or the decoder's words.
    pub detail: String,
}

/// What a worker tells the collector.
#[derive(Debug)]
pub enum Event {
    /// All connections are open and payloads are ready.
    Ready,
    /// The first connections could not be opened.
    Unreachable(Trouble),
    /// A window is complete.
    Window(shard::Closed),
    /// A connection ended.
    Connection(ConnectionRecord),
    /// Something went wrong.
    Trouble(Trouble),
    /// `on_overload: fail` came to pass.
    Overloaded,
    /// Whoever tells wants to know when all that was told before has been taken in.
    Mark(mpsc::Sender<()>),
    /// The worker is done.
    Finished(Box<Totals>),
}

/// What one worker counted over the whole run.
#[derive(Debug, Default)]
pub struct Totals {
    /// Requests that came due, or that a user began.
    pub begun: u64,
    /// First bytes given to the kernel.
    pub sent: u64,
    /// How requests ended.
    pub outcomes: Outcomes,
    /// What came back.
    pub receipts: Receipts,
    /// The same by kind of request, warm-up left out; empty where kinds are not told apart.
    pub kinds: Vec<KindTally>,
    /// The words of the first response that was an error.
    pub first_error_reply: Option<String>,
    /// Connections opened.
    pub opened: u64,
    /// Connections opened in place of another.
    pub reconnects: u64,
    /// Slots that had no connection at the end although they had requests left.
    pub unreachable_slots: u64,
    /// When the last request was settled.
    pub finished: Nanos,
    /// Since when nothing more was sent, where there was more to send: the run was ended before its time.
    pub cut: Option<Nanos>,
    /// Processor time since time zero.
    pub cpu: std::time::Duration,
    /// Times that the worker had to wait for payloads which were already due.
    pub starved: u64,
    /// Requests that were due and had to wait for room on their connection.
    pub waited: u64,
}

/// The ends of a worker's rings and wires.
#[derive(Debug)]
pub struct Ports {
    /// Frames to send.
    pub source: Receiver<Chunk>,
    /// Completions, where somebody wants them.
    pub sink: Option<Sender<Batch>>,
    /// Events to the collector.
    pub events: mpsc::Sender<(u64, Event)>,
    /// Emptied windows from the collector.
    pub windows: mpsc::Receiver<Window>,
    /// Gives time zero, when all workers are ready.
    pub start: oneshot::Receiver<Clock>,
    /// Tells the worker to end.
    pub control: Arc<Control>,
    /// The schedule that holds; `None` in the closed model, which has none.
    pub course: Option<Arc<Course>>,
    /// Numbers for the screen.
    pub gauges: Arc<Gauges>,
}

/// Runs one worker on the calling thread until all its requests have ended.
///
/// # Errors
/// When the system gives no runtime or no timer.
pub fn run_worker(config: Config, ports: Ports) -> std::io::Result<()> {
    worker::run(config, ports)
}

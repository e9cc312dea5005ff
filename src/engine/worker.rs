//! Hot path
//!
//! One worker: its slots, its connections, and the turns of its loop.
//!
//! Everything is owned by [`Worker`], which does no waiting: the pacing task calls [`Worker::turn`],
//! each connection's reader calls [`Worker::poll_read`], and both run on one thread. A slot holds the
//! connection that is in use and perhaps a spare that was opened before the first is used up; what
//! finds no room waits in the slot's queue, oldest first.

mod course;
mod ending;
mod opening;
mod receiving;
mod sending;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use slab::Slab;
use tokio::sync::Notify;
use tokio::task::{LocalSet, spawn_local, yield_now};

use crate::clock::{self, Alarm, Clock};
use crate::engine::connection::{Connection, Queued};
use crate::engine::pacer::{BURST, Pacer, Wait};
use crate::engine::users::Users;
use crate::engine::{Cause, Config, Event, OnOverload, Ports, Totals};
use crate::handoff::{Batch, Chunk, Completion, Fate, Item};
use crate::ledger::Outcome;
use crate::plan::course::Heading;
use crate::plan::schedule::Walker;
use crate::recorder::shard::{Mark, Shard};
use crate::units::Nanos;

/// Time-outs, lateness, windows and gauges are looked after this often.
pub(crate) const SWEEP_NS: u64 = 5_000_000;

/// Batches that may wait for a full ring before the worker stops sending.
const OVERFLOW_BATCHES: usize = 256;

/// A spare is opened when the connection in use has this many requests left, or fewer.
pub(crate) const SPARE_ROOM: u64 = 16;

const READ_BYTES: usize = 64 * 1024;

pub(crate) use opening::back_off;

type Shared = Rc<RefCell<Worker>>;

/// One connection slot of the plan.
#[derive(Debug)]
struct Slot {
    /// Its number in the plan.
    number: u64,
    current: Option<usize>,
    spare: Option<usize>,
    opening: bool,
    opened: u64,
    /// Requests of the plan that no connection has taken yet. Not kept in the closed model, in which
    /// nobody knows beforehand which slot a request will go over.
    unassigned: u64,
    /// The highest request number sent on it, to tell duplicates from inventions.
    last_sent: Option<u64>,
    queue: VecDeque<Queued>,
    /// Attempts that failed since a response last came.
    failures: u32,
    /// The last attempt to connect failed.
    down: bool,
}

/// Chunks that still hold requests somebody waits for.
#[derive(Debug, Default)]
struct Chunks {
    slab: Slab<(Box<Chunk>, u32)>,
}

impl Chunks {
    fn item(&self, queued: Queued) -> &Item {
        &self.slab[queued.chunk as usize].0.items[queued.item as usize]
    }

    /// One request fewer needs its chunk; the last one gives it back.
    fn release(&mut self, queued: Queued) -> Option<Box<Chunk>> {
        let key = queued.chunk as usize;
        let open = &mut self.slab[key].1;
        *open -= 1;
        (*open == 0).then(|| self.slab.remove(key).0)
    }
}

#[derive(Debug)]
struct Worker {
    config: Config,
    ports: Ports,
    clock: Clock,
    chunks: Chunks,
    /// The chunk that is being worked off and the next item in it.
    front: Option<Queued>,
    slots: Vec<Slot>,
    connections: Slab<Connection>,
    dirty: Vec<usize>,
    wanted: Vec<Wanted>,
    /// A spare is opened when the connection in use has this many requests left, or fewer.
    spare_room: u64,
    shard: Shard,
    pacer: Pacer,
    /// Who sends, in the closed model.
    users: Option<Users>,
    read_buffer: Box<[u8]>,
    batch: Box<Batch>,
    overflow: VecDeque<Box<Batch>>,
    /// The version of the schedule that is known, what it is, and how to ask it; none before it is changed.
    version: u64,
    heading: Option<Heading>,
    walker: Option<Walker>,
    /// Requests of the worker's share that have come due.
    consumed: u64,
    /// When the latest of them was due.
    last_due_ns: u64,
    share: u64,
    /// Requests that wait for room.
    queued: usize,
    /// Requests in output buffers.
    pending: usize,
    in_flight: u64,
    next_sweep_ns: u64,
    /// Since when the worker waits for the last responses.
    draining_since_ns: Option<u64>,
    /// Time zero has come.
    started: bool,
    /// What the thread had used of a processor by then.
    cpu_before: Duration,
    stopped: bool,
    totals: Totals,
    was_starved: bool,
}

/// What the recorder has to know of a request.
#[inline]
fn mark(item: &Item) -> Mark {
    Mark { due_ns: item.due_ns, stage: item.stage, kind: item.kind }
}

/// Something that only a task can do.
#[derive(Debug)]
enum Wanted {
    /// A connection for this slot.
    Connection(usize),
    /// Wait until this connection, of this slot and generation, can be written to.
    Writable(usize, (usize, u64)),
}

/// What the pacing task is to do after a turn.
enum Next {
    Wait(Wait),
    /// Payloads are late: wait for one, or until this instant.
    Starved(u64),
    /// Wait until a user is ready before this instant, or for the instant.
    Users(u64),
    Finished,
}

pub(super) fn run(config: Config, ports: Ports) -> io::Result<()> {
    clock::precise_timers();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    local.block_on(&runtime, work(config, ports))
}

async fn work(config: Config, mut ports: Ports) -> io::Result<()> {
    let events = ports.events.clone();
    let number = config.worker;
    let start = std::mem::replace(&mut ports.start, tokio::sync::oneshot::channel().1);
    let shared = Rc::new(RefCell::new(Worker::new(config, ports)));
    if let Err(trouble) = opening::open_first_connections(&shared).await {
        // The collector ends the run; if it is gone there is nobody to tell.
        let _ = events.send((number, Event::Unreachable(trouble)));
        return Ok(());
    }
    first_payloads(&shared).await;
    let _ = events.send((number, Event::Ready));
    let Ok(clock) = start.await else { return Ok(()) };
    let mut alarm = Alarm::new(&clock)?;
    shared.borrow_mut().begin(clock);
    let at_once = shared.borrow().users.as_ref().map(Users::at_once);
    if let Some(at_once) = at_once {
        spawn_local(go_on(shared.clone(), at_once));
    }
    alarm.wait_until(Nanos::ZERO).await?;
    shared.borrow_mut().time_zero();
    pace(&shared, &mut alarm).await?;
    let totals = ending::finish(&shared).await;
    let _ = events.send((number, Event::Finished(Box::new(totals))));
    Ok(())
}

/// The loop of the worker: a turn, then as much waiting as the turn says.
async fn pace(shared: &Shared, alarm: &mut Alarm) -> io::Result<()> {
    let bell = shared.borrow().ports.source.bell();
    let users = shared.borrow().users.as_ref().map_or_else(|| bell.clone(), Users::bell);
    loop {
        let next = shared.borrow_mut().turn();
        Worker::open_wanted(shared);
        match next {
            Next::Finished => return Ok(()),
            Next::Wait(Wait::Poll) => yield_now().await,
            Next::Wait(Wait::Until(at_ns)) => {
                alarm.wait_until(Nanos(at_ns)).await?;
                shared.borrow_mut().woke(at_ns);
            }
            Next::Starved(until_ns) => tokio::select! {
                () = bell.notified() => {}
                woken = alarm.wait_until(Nanos(until_ns)) => woken?,
            },
            Next::Users(until_ns) => tokio::select! {
                () = users.notified() => {}
                woken = alarm.wait_until(Nanos(until_ns)) => {
                    woken?;
                    shared.borrow_mut().woke(until_ns);
                }
            },
        }
    }
}

/// Lets users send again when what was ready to be read has been.
async fn go_on(shared: Shared, at_once: Rc<Notify>) {
    loop {
        at_once.notified().await;
        shared.borrow_mut().fire_users();
        Worker::open_wanted(&shared);
    }
}

async fn first_payloads(shared: &Shared) {
    let bell = shared.borrow().ports.source.bell();
    loop {
        {
            let worker = shared.borrow();
            let source = &worker.ports.source;
            let none = worker.share == 0 && worker.users.is_none();
            if none || source.waiting() > 0 || source.is_finished() || worker.ports.control.is_draining() {
                return;
            }
        }
        // The time-out lets an interrupt before time zero be seen.
        let _ = clock::timeout(Duration::from_millis(20), bell.notified()).await;
    }
}

impl Worker {
    fn new(config: Config, ports: Ports) -> Worker {
        let users = config.closed.as_ref().map(|closed| {
            let worker = (config.worker, config.workers);
            Users::new(closed, &config.connections, config.segment, worker, config.seed)
        });
        let slots: Vec<Slot> = (0..)
            .zip(config.requests_on_slots())
            .filter(|(slot, _)| slot % config.workers == config.worker)
            .map(|(number, unassigned)| Slot {
                number,
                current: None,
                spare: None,
                opening: false,
                opened: 0,
                unassigned,
                last_sent: None,
                queue: VecDeque::new(),
                failures: 0,
                down: false,
            })
            .collect();
        let share = config.share();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let spare = cores.saturating_sub(config.workers as usize);
        let spare_room = (config.connections.limit / 4).clamp(1, SPARE_ROOM);
        Worker {
            shard: Shard::new(config.stages.clone(), config.kinds),
            pacer: Pacer::new(config.pacing, spare),
            users,
            share: share.remaining(),
            config,
            ports,
            clock: Clock::starting_in(Duration::from_secs(1 << 30)),
            chunks: Chunks::default(),
            front: None,
            slots,
            connections: Slab::new(),
            dirty: Vec::new(),
            wanted: Vec::new(),
            spare_room,
            read_buffer: vec![0; READ_BYTES].into_boxed_slice(),
            batch: Box::default(),
            overflow: VecDeque::new(),
            version: 0,
            heading: None,
            walker: None,
            consumed: 0,
            last_due_ns: 0,
            queued: 0,
            pending: 0,
            in_flight: 0,
            next_sweep_ns: 0,
            draining_since_ns: None,
            started: false,
            cpu_before: Duration::ZERO,
            stopped: false,
            totals: Totals::default(),
            was_starved: false,
        }
    }

    fn begin(&mut self, clock: Clock) {
        self.clock = clock;
    }

    fn time_zero(&mut self) {
        self.started = true;
        self.cpu_before = clock::thread_cpu();
    }

    fn tell(&self, event: Event) {
        // A collector that is gone has nothing to collect.
        let _ = self.ports.events.send((self.config.worker, event));
    }

    // -----------------------------------------------------------------------------------------
    // A turn

    fn woke(&mut self, at_ns: u64) {
        self.pacer.woke(self.clock.now_ns().saturating_sub(at_ns));
    }

    /// Sends what is due, looks after time, and says how long there is nothing to do.
    fn turn(&mut self) -> Next {
        let now_ns = self.clock.now_ns();
        // After the clock: what a change has moved is not due by then.
        self.look_at_course();
        if now_ns >= self.next_sweep_ns {
            self.sweep(now_ns);
            self.next_sweep_ns = now_ns + SWEEP_NS;
        }
        if self.is_finished(now_ns) {
            return Next::Finished;
        }
        if self.stopped || self.overflow.len() > OVERFLOW_BATCHES {
            return Next::Wait(Wait::Until(self.next_sweep_ns));
        }
        if self.users.is_some() || !self.pacer.gathers(now_ns) {
            self.fire(now_ns);
        }
        let wait = match self.next_due() {
            Some(due_ns) => self.pacer.wait(self.clock.now_ns(), Some(due_ns), self.next_sweep_ns),
            None if self.front.is_some() || self.ports.source.is_finished() => {
                Wait::Until(self.next_sweep_ns)
            }
            None => return Next::Starved(self.next_sweep_ns),
        };
        match (wait, &mut self.users) {
            (Wait::Until(at_ns), Some(users)) => {
                users.will_look(at_ns);
                Next::Users(at_ns)
            }
            (wait, _) => Next::Wait(wait),
        }
    }

    /// Users may be ready by what was just received. They go when the other connections have been read that are ready
    /// too, or some of them: the peer is then woken once for all, and not once for each.
    fn gather_users(&mut self) {
        if self.users.as_mut().is_some_and(Users::gather) {
            self.fire_users();
        }
    }

    /// Lets users go who have become ready, without a turn in between.
    fn fire_users(&mut self) {
        if let Some(users) = &mut self.users {
            users.gathered();
        }
        // Until time zero the clock stands at it, and whoever begins with the load would be ready.
        if !self.started || self.users.as_ref().is_none_or(|users| users.next_ready().is_none()) {
            return;
        }
        if !self.stopped && self.overflow.len() <= OVERFLOW_BATCHES {
            self.fire(self.clock.now_ns());
        }
        if let Some(users) = &mut self.users {
            users.ring_if_early();
        }
    }

    /// Sends what has come due, at most a burst of it, and writes once to each connection.
    fn fire(&mut self, now_ns: u64) {
        for _ in 0..BURST {
            match self.next_due() {
                Some(due_ns) if due_ns <= now_ns => self.fire_front(now_ns),
                _ => break,
            }
        }
        self.flush_dirty();
    }

    /// When the next request is to leave; `None` while no payload is there, or no user to send it.
    fn next_due(&mut self) -> Option<u64> {
        if self.front.is_none() {
            self.take_chunk()?;
        }
        match &self.users {
            None => self.front.map(|front| self.chunks.item(front).due_ns),
            Some(users) => users.next_ready(),
        }
    }

    /// Takes the next chunk of payloads, if one is there.
    fn take_chunk(&mut self) -> Option<()> {
        let front = loop {
            let chunk = self.ports.source.try_recv()?;
            if chunk.items.is_empty() {
                self.ports.source.recycle(chunk);
                return None;
            }
            let is_known = chunk.version == self.version;
            let open = chunk.items.len() as u32;
            self.front = Some(Queued { chunk: self.chunks.slab.insert((chunk, open)) as u32, item: 0 });
            if !is_known {
                self.stamp_front();
            }
            if let Some(front) = self.front {
                break front;
            }
        };
        if self.was_starved {
            self.was_starved = false;
            let wanted_ns = match &self.users {
                None => Some(self.chunks.item(front).due_ns),
                Some(users) => users.next_ready(),
            };
            let late = wanted_ns.is_some_and(|wanted_ns| wanted_ns < self.clock.now_ns());
            self.totals.starved += u64::from(late);
        }
        Some(())
    }

    fn fire_front(&mut self, now_ns: u64) {
        let Some(front) = self.front else { return };
        let chunk = &mut self.chunks.slab[front.chunk as usize].0;
        let items = chunk.items.len() as u32;
        let item = &mut chunk.items[front.item as usize];
        let slot = match &mut self.users {
            None => (item.n % self.config.connections.count / self.config.workers) as usize,
            Some(users) => {
                let Some((ready_ns, slot)) = users.take() else { return };
                item.due_ns = ready_ns;
                slot
            }
        };
        let (mark, fate) = (mark(item), item.fate);
        let due_ns = mark.due_ns;
        let following = Queued { item: front.item + 1, ..front };
        self.front = (following.item < items).then_some(following);
        if self.front.is_none() && self.ports.source.waiting() == 0 {
            self.was_starved = true;
        }
        self.consumed += 1;
        self.last_due_ns = due_ns;
        self.shard.scheduled(mark);
        self.pacer.sent(due_ns, now_ns);
        let outcome = match fate {
            Fate::Drop(outcome) => Some(outcome),
            Fate::Send if now_ns - due_ns > self.config.max_lateness.0 => Some(Outcome::Late),
            Fate::Send if self.slots[slot].queue.is_empty() && self.assign(slot, front) => None,
            Fate::Send => self.overload(slot, front),
        };
        if let Some(outcome) = outcome {
            self.drop_request(slot, front, outcome);
        }
    }

    /// A request is due and finds no room. Returns how it ends, if it ends.
    fn overload(&mut self, slot: usize, queued: Queued) -> Option<Outcome> {
        match self.config.on_overload {
            OnOverload::Queue if self.config.queue_limit.has_room(self.queued) => {
                self.slots[slot].queue.push_back(queued);
                self.queued += 1;
                self.totals.waited += 1;
                None
            }
            OnOverload::Queue | OnOverload::Drop => Some(Outcome::Overload),
            OnOverload::Fail => {
                self.tell(Event::Overloaded);
                self.ports.control.drain(Cause::Failed);
                Some(Outcome::Overload)
            }
        }
    }

    fn drop_request(&mut self, slot: usize, queued: Queued, outcome: Outcome) {
        let item = self.chunks.item(queued);
        let (n, due_ns, mark) = (item.n, item.due_ns, mark(item));
        self.shard.ended(mark, outcome);
        self.taken(slot);
        self.release(queued);
        self.free_user(slot, n, None);
        if self.config.all_completions {
            self.complete(Completion {
                n,
                due_ns,
                sent_ns: 0,
                received_ns: 0,
                outcome,
                address: 0,
                slot: self.slots[slot].number as u32,
                generation: 0,
                body: 0..0,
            });
        }
    }

    /// One request fewer is to be taken by a connection of the slot.
    #[inline]
    fn taken(&mut self, slot: usize) {
        let slot = &mut self.slots[slot];
        slot.unassigned = slot.unassigned.saturating_sub(1);
    }

    /// In the closed model, the user of a request that has ended thinks and sends the next. `ended_ns`
    /// is now where it is not given.
    #[inline]
    fn free_user(&mut self, slot: usize, n: u64, ended_ns: Option<u64>) {
        if let Some(users) = &mut self.users {
            users.free(slot, n, ended_ns.unwrap_or_else(|| self.clock.now_ns()));
        }
    }

    /// Requests that a slot will still be asked for, as far as is known.
    fn still_wanted(&self, slot: usize) -> u64 {
        let waiting = &self.slots[slot];
        match &self.users {
            None => waiting.unassigned,
            Some(users) => {
                let left = if self.stopped || !users.go_on(self.clock.now_ns()) {
                    0
                } else {
                    self.share - self.consumed
                };
                users.share_of(slot, left).saturating_add(waiting.queue.len() as u64)
            }
        }
    }

    /// One request fewer needs its chunk; the last one sends the chunk back.
    fn release(&mut self, queued: Queued) {
        if let Some(chunk) = self.chunks.release(queued) {
            self.ports.source.recycle(chunk);
        }
    }
}

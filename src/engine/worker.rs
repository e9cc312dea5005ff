//! Hot path
//!
//! One worker: its slots, its connections, and the turns of its loop.
//!
//! Everything is owned by [`Worker`], which does no waiting: the pacing task calls [`Worker::turn`],
//! each connection's reader calls [`Worker::read`], and both run on one thread. A slot holds the
//! connection that is in use and perhaps a spare that was opened before the first is used up; what
//! finds no room waits in the slot's queue, oldest first.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;

use slab::Slab;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::task::{LocalSet, spawn_local, yield_now};

use crate::clock::{self, Alarm, Clock, Stopwatch};
use crate::engine::connection::{self, Connection, Pending, Queued};
use crate::engine::inflight::{Found, Inflight};
use crate::engine::pacer::{BURST, Pacer, Wait};
use crate::engine::{Config, ConnectionRecord, End, Event, OnOverload, Ports, Totals, Trouble};
use crate::handoff::{Batch, Chunk, Completion, Fate, Item, Reuse};
use crate::ledger::Outcome;
use crate::plan::segment::Share;
use crate::recorder::shard::Shard;
use crate::seeded;
use crate::units::Nanos;
use crate::wire::Correlate;

/// Time-outs, lateness, windows and gauges are looked after this often.
const SWEEP_NS: u64 = 5_000_000;

/// Completions are handed over when there are this many, or at the next sweep.
const BATCH_ITEMS: usize = 256;

/// Or when their responses have this many bytes.
const BATCH_BYTES: usize = 256 * 1024;

/// Batches that may wait for a full ring before the worker stops sending.
const OVERFLOW_BATCHES: usize = 256;

/// First connections that are opened at the same time.
const OPENING_AT_ONCE: usize = 128;

/// A spare is opened when the connection in use has this many requests left, or fewer.
const SPARE_ROOM: u64 = 16;

const READ_BYTES: usize = 64 * 1024;

const FIRST_BACK_OFF: Duration = Duration::from_millis(10);
const LAST_BACK_OFF: Duration = Duration::from_secs(1);

const PURPOSE_BACK_OFF: u64 = 0x656e_6701;

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
    /// Requests of the plan that no connection has taken yet.
    unassigned: u64,
    /// The highest request number sent on it, to tell duplicates from inventions.
    last_sent: Option<u64>,
    queue: VecDeque<Queued>,
    /// Attempts that failed since a response last came.
    failures: u32,
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
    read_buffer: Box<[u8]>,
    batch: Box<Batch>,
    overflow: VecDeque<Box<Batch>>,
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
    stopped: bool,
    totals: Totals,
    was_starved: bool,
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
    if let Err(trouble) = open_first_connections(&shared).await {
        // The collector ends the run; if it is gone there is nobody to tell.
        let _ = events.send((number, Event::Unreachable(trouble)));
        return Ok(());
    }
    first_payloads(&shared).await;
    let _ = events.send((number, Event::Ready));
    let Ok(clock) = start.await else { return Ok(()) };
    let mut alarm = Alarm::new(&clock)?;
    shared.borrow_mut().begin(clock);
    alarm.wait_until(Nanos::ZERO).await?;
    pace(&shared, &mut alarm).await?;
    let totals = finish(&shared).await;
    let _ = events.send((number, Event::Finished(Box::new(totals))));
    Ok(())
}

/// The loop of the worker: a turn, then as much waiting as the turn says.
async fn pace(shared: &Shared, alarm: &mut Alarm) -> io::Result<()> {
    let bell = shared.borrow().ports.source.bell();
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
        }
    }
}

async fn first_payloads(shared: &Shared) {
    let bell = shared.borrow().ports.source.bell();
    loop {
        {
            let worker = shared.borrow();
            let source = &worker.ports.source;
            if source.waiting() > 0 || source.is_finished() || worker.ports.control.is_draining() {
                return;
            }
        }
        // The time-out lets an interrupt before time zero be seen.
        let _ = clock::timeout(Duration::from_millis(20), bell.notified()).await;
    }
}

// ---------------------------------------------------------------------------------------------
// Opening connections

async fn open_first_connections(shared: &Shared) -> Result<(), Trouble> {
    let count = shared.borrow().slots.len();
    let mut attempts = tokio::task::JoinSet::new();
    for slot in 0..count {
        while attempts.len() >= OPENING_AT_ONCE {
            join_one(&mut attempts).await?;
        }
        if shared.borrow().slots[slot].unassigned == 0 {
            continue;
        }
        shared.borrow_mut().slots[slot].opening = true;
        let shared = shared.clone();
        attempts.spawn_local(async move { open_once(&shared, slot).await });
    }
    while !attempts.is_empty() {
        join_one(&mut attempts).await?;
    }
    Ok(())
}

async fn join_one(attempts: &mut tokio::task::JoinSet<Result<(), Trouble>>) -> Result<(), Trouble> {
    match attempts.join_next().await {
        Some(Ok(result)) => result,
        // A panic of an attempt is a bug; it goes on where it can be seen.
        Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Some(Err(_)) | None => Ok(()),
    }
}

/// Opens one connection for a slot and puts it into service.
async fn open_once(shared: &Shared, slot: usize) -> Result<(), Trouble> {
    let (generation, address, source, limit) = shared.borrow_mut().next_opening(slot);
    let peer = shared.borrow().config.addresses[usize::from(address)];
    let watch = Stopwatch::start();
    let opened = connection::open(peer, source, limit).await;
    let mut worker = shared.borrow_mut();
    worker.slots[slot].opening = false;
    match opened {
        Ok(stream) => {
            let id = worker.accept(slot, generation, address, stream, watch.elapsed(), shared);
            drop(worker);
            Worker::put_into_service(shared, id);
            Ok(())
        }
        Err(error) => {
            let kind = if error.kind() == io::ErrorKind::TimedOut { "connect_timeout" } else { "connect" };
            worker.slots[slot].failures += 1;
            Err(Trouble { at: worker.clock.now(), kind, address: peer, detail: error.to_string() })
        }
    }
}

/// Opens a connection for a slot in mid-run, again and again with back-off.
async fn open_until_done(shared: Shared, slot: usize) {
    loop {
        let pause = shared.borrow().back_off(slot);
        if let Some(pause) = pause {
            clock::sleep(pause).await;
        }
        let Err(trouble) = open_once(&shared, slot).await else { return };
        let mut worker = shared.borrow_mut();
        worker.tell(Event::Trouble(trouble));
        if worker.stopped || worker.slots[slot].unassigned == 0 {
            return;
        }
        worker.slots[slot].opening = true;
    }
}

/// Reads a connection until it ends.
async fn read_all(shared: Shared, id: usize, mut stream: OwnedReadHalf) {
    loop {
        let alive = std::future::poll_fn(|context| {
            let mut worker = shared.borrow_mut();
            worker.poll_read(context, id, &mut stream)
        })
        .await;
        Worker::open_wanted(&shared);
        if !alive {
            return;
        }
    }
}

/// Waits until a full socket takes more, and writes on.
async fn write_rest(shared: Shared, id: usize, of: (usize, u64)) {
    let ready = std::future::poll_fn(|context| {
        let worker = shared.borrow();
        // Its place may have been given to another connection meanwhile.
        let found = worker.connections.get(id).filter(|c| (c.slot, c.generation) == of);
        let Some(connection) = found else { return Poll::Ready(false) };
        let stream: &TcpStream = connection.writer.as_ref();
        stream.poll_write_ready(context).map(|ready| ready.is_ok())
    })
    .await;
    if !ready {
        return;
    }
    let mut worker = shared.borrow_mut();
    worker.connections[id].blocked = false;
    worker.flush(id);
    drop(worker);
    Worker::open_wanted(&shared);
}

impl Worker {
    fn new(config: Config, ports: Ports) -> Worker {
        let slots: Vec<Slot> = (0..config.connections.count)
            .filter(|slot| slot % config.workers == config.worker)
            .map(|number| Slot {
                number,
                current: None,
                spare: None,
                opening: false,
                opened: 0,
                unassigned: config.segment.count_on_slot(config.total, number, config.connections.count),
                last_sent: None,
                queue: VecDeque::new(),
                failures: 0,
            })
            .collect();
        let share =
            Share::new(config.total, config.segment, config.connections.count, config.worker, config.workers);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let spare = cores.saturating_sub(config.workers as usize);
        let spare_room = (config.connections.limit / 4).clamp(1, SPARE_ROOM);
        Worker {
            shard: Shard::new(config.stage_ends_ns.clone()),
            pacer: Pacer::new(config.pacing, spare),
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
            consumed: 0,
            last_due_ns: 0,
            queued: 0,
            pending: 0,
            in_flight: 0,
            next_sweep_ns: 0,
            draining_since_ns: None,
            stopped: false,
            totals: Totals::default(),
            was_starved: false,
        }
    }

    fn begin(&mut self, clock: Clock) {
        self.clock = clock;
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
        if !self.pacer.gathers(now_ns) {
            self.fire(now_ns);
        }
        match self.next_due() {
            Some(due_ns) => {
                Next::Wait(self.pacer.wait(self.clock.now_ns(), Some(due_ns), self.next_sweep_ns))
            }
            None if self.ports.source.is_finished() => Next::Wait(Wait::Until(self.next_sweep_ns)),
            None => Next::Starved(self.next_sweep_ns),
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
        while let Some(id) = self.dirty.pop() {
            self.flush(id);
        }
    }

    /// When the next request is due; `None` while no payload is there.
    fn next_due(&mut self) -> Option<u64> {
        if self.front.is_none() {
            let chunk = self.ports.source.try_recv()?;
            if chunk.items.is_empty() {
                self.ports.source.recycle(chunk);
                return None;
            }
            let open = chunk.items.len() as u32;
            let key = self.chunks.slab.insert((chunk, open));
            self.front = Some(Queued { chunk: key as u32, item: 0 });
            if self.was_starved {
                self.was_starved = false;
                let late =
                    self.chunks.item(Queued { chunk: key as u32, item: 0 }).due_ns < self.clock.now_ns();
                self.totals.starved += u64::from(late);
            }
        }
        self.front.map(|front| self.chunks.item(front).due_ns)
    }

    fn fire_front(&mut self, now_ns: u64) {
        let Some(front) = self.front else { return };
        let chunk = &self.chunks.slab[front.chunk as usize].0;
        let (items, item) = (chunk.items.len() as u32, &chunk.items[front.item as usize]);
        let (n, due_ns, stage, fate) = (item.n, item.due_ns, item.stage, item.fate);
        let following = Queued { item: front.item + 1, ..front };
        self.front = (following.item < items).then_some(following);
        if self.front.is_none() && self.ports.source.waiting() == 0 {
            self.was_starved = true;
        }
        self.consumed += 1;
        self.last_due_ns = due_ns;
        self.shard.scheduled(due_ns, stage);
        self.pacer.sent(due_ns, now_ns);
        let slot = (n % self.config.connections.count / self.config.workers) as usize;
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
            OnOverload::Queue if self.queued < self.config.queue_limit => {
                self.slots[slot].queue.push_back(queued);
                self.queued += 1;
                None
            }
            OnOverload::Queue | OnOverload::Drop => Some(Outcome::Overload),
            OnOverload::Fail => {
                self.tell(Event::Overloaded);
                self.ports.control.drain();
                Some(Outcome::Overload)
            }
        }
    }

    fn drop_request(&mut self, slot: usize, queued: Queued, outcome: Outcome) {
        let item = self.chunks.item(queued);
        let (n, due_ns, stage) = (item.n, item.due_ns, item.stage);
        self.shard.ended(due_ns, stage, outcome);
        self.slots[slot].unassigned -= 1;
        self.release(queued);
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

    /// One request fewer needs its chunk; the last one sends the chunk back.
    fn release(&mut self, queued: Queued) {
        let key = queued.chunk as usize;
        let open = &mut self.chunks.slab[key].1;
        *open -= 1;
        if *open == 0 {
            let (chunk, _) = self.chunks.slab.remove(key);
            self.ports.source.recycle(chunk);
        }
    }

    // -----------------------------------------------------------------------------------------
    // Sending

    /// Puts a request on its slot's connection; `false` when there is no room.
    fn assign(&mut self, slot: usize, queued: Queued) -> bool {
        let Some(id) = self.connection_with_room(slot) else { return false };
        let connection = &mut self.connections[id];
        let (chunk, _) = &self.chunks.slab[queued.chunk as usize];
        let frame = &chunk.items[queued.item as usize].frame;
        let start = connection.output.len();
        connection.output.extend_from_slice(&chunk.bytes[frame.start as usize..frame.end as usize]);
        connection.pending.push_back(Pending { queued, start });
        connection.used += 1;
        self.pending += 1;
        if !connection.dirty {
            connection.dirty = true;
            self.dirty.push(id);
        }
        let needs_spare = connection.room() <= self.spare_room;
        self.slots[slot].unassigned -= 1;
        if needs_spare {
            self.consider_opening(slot);
        }
        true
    }

    fn connection_with_room(&mut self, slot: usize) -> Option<usize> {
        let slot = &mut self.slots[slot];
        if slot.current.is_none_or(|id| self.connections[id].room() == 0) && slot.spare.is_some() {
            slot.current = slot.spare.take();
        }
        let id = slot.current?;
        let connection = &self.connections[id];
        let has_room = connection.room() > 0 && connection.outstanding() < self.config.connections.window;
        has_room.then_some(id)
    }

    /// Gives a connection's output to the kernel, and stamps the requests whose first byte it took.
    fn flush(&mut self, id: usize) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.dirty = false;
        if connection.blocked || connection.written == connection.output.len() {
            return;
        }
        let sent_ns = self.clock.now_ns();
        match connection.writer.try_write(&connection.output[connection.written..]) {
            Ok(bytes) => {
                connection.written += bytes;
                self.stamp(id, sent_ns);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                self.trouble(id, "write", error.to_string());
                self.lose(id, End::Reset, Outcome::Reset);
                return;
            }
        }
        let connection = &mut self.connections[id];
        if connection.written == connection.output.len() {
            connection.output.clear();
            connection.written = 0;
        } else {
            connection.compact();
            connection.blocked = true;
            self.wanted.push(Wanted::Writable(id, (connection.slot, connection.generation)));
        }
    }

    fn stamp(&mut self, id: usize, sent_ns: u64) {
        let connection = &mut self.connections[id];
        let slot = connection.slot;
        let mut last_sent = None;
        let mut stamped = 0;
        while let Some(pending) = connection.pending.front().copied() {
            if pending.start >= connection.written {
                break;
            }
            connection.pending.pop_front();
            let item = &self.chunks.slab[pending.queued.chunk as usize].0.items[pending.queued.item as usize];
            connection.inflight.push(item.n, item.due_ns, item.stage, sent_ns);
            self.shard.sent(item.due_ns, item.stage, sent_ns);
            last_sent = Some(item.n);
            stamped += 1;
            let key = pending.queued.chunk as usize;
            let open = &mut self.chunks.slab[key].1;
            *open -= 1;
            if *open == 0 {
                let (chunk, _) = self.chunks.slab.remove(key);
                self.ports.source.recycle(chunk);
            }
        }
        connection.sent += stamped;
        self.in_flight += stamped;
        self.pending -= stamped as usize;
        let slot = &mut self.slots[slot];
        slot.last_sent = slot.last_sent.max(last_sent);
    }

    /// Lets waiting requests of a slot go as far as there is room.
    fn refill(&mut self, slot: usize) {
        let now_ns = self.clock.now_ns();
        while let Some(&queued) = self.slots[slot].queue.front() {
            let late = now_ns.saturating_sub(self.chunks.item(queued).due_ns) > self.config.max_lateness.0;
            if !late && (self.stopped || !self.assign(slot, queued)) {
                break;
            }
            self.slots[slot].queue.pop_front();
            self.queued -= 1;
            if late {
                self.drop_request(slot, queued, Outcome::Late);
            }
        }
        while let Some(id) = self.dirty.pop() {
            self.flush(id);
        }
    }

    // -----------------------------------------------------------------------------------------
    // Receiving

    /// Reads what a connection holds and settles the requests that it answers.
    /// Ready with `false` when the connection has ended.
    fn poll_read(&mut self, context: &mut Context<'_>, id: usize, stream: &mut OwnedReadHalf) -> Poll<bool> {
        if !self.connections.contains(id) {
            return Poll::Ready(false);
        }
        let mut buffer = std::mem::take(&mut self.read_buffer);
        let mut space = ReadBuf::new(&mut buffer);
        let polled = Pin::new(stream).poll_read(context, &mut space);
        let bytes = space.filled().len();
        let alive = match polled {
            Poll::Pending => {
                self.read_buffer = buffer;
                return Poll::Pending;
            }
            Poll::Ready(Ok(())) if bytes == 0 => {
                self.peer_closed(id);
                false
            }
            Poll::Ready(Ok(())) => self.receive(id, &buffer[..bytes]),
            Poll::Ready(Err(error)) => {
                self.trouble(id, "read", error.to_string());
                self.lose(id, End::Reset, Outcome::Reset);
                false
            }
        };
        self.read_buffer = buffer;
        Poll::Ready(alive)
    }

    /// Decodes frames out of new bytes. `false` when the connection has ended by it.
    fn receive(&mut self, id: usize, bytes: &[u8]) -> bool {
        let received_ns = self.clock.now_ns();
        let mut partial = std::mem::take(&mut self.connections[id].partial);
        let whole = if partial.is_empty() {
            bytes
        } else {
            partial.extend_from_slice(bytes);
            &partial
        };
        let mut at = 0;
        let codec = self.config.codec;
        let broken = loop {
            match codec.decode(&whole[at..]) {
                Ok(None) => break None,
                Ok(Some(frame)) => {
                    at += frame.consumed;
                    self.settle(id, frame.id, frame.body, received_ns);
                }
                Err(error) => break Some(error),
            }
        };
        if let Some(error) = broken {
            self.shard.receipts.received += 1;
            self.shard.receipts.malformed += 1;
            self.trouble(id, "protocol", error.to_string());
            self.lose(id, End::Protocol, Outcome::Protocol);
            return false;
        }
        let rest = whole.len() - at;
        if partial.is_empty() {
            partial.extend_from_slice(&bytes[at..]);
        } else {
            partial.copy_within(at.., 0);
            partial.truncate(rest);
        }
        let connection = &mut self.connections[id];
        connection.partial = partial;
        let slot = connection.slot;
        if connection.is_used_up() {
            self.end(id, End::Limit);
            self.refill(slot);
            return false;
        }
        if !self.slots[slot].queue.is_empty() {
            self.refill(slot);
        }
        true
    }

    /// One response.
    fn settle(&mut self, id: usize, response_to: Option<u64>, body: &[u8], received_ns: u64) {
        self.shard.receipts.received += 1;
        let connection = &mut self.connections[id];
        connection.received += 1;
        match connection.inflight.take(response_to) {
            Found::Waiting(entry) => {
                self.in_flight -= 1;
                if received_ns.saturating_sub(entry.sent_ns) > self.config.connections.request_timeout.0 {
                    // It came before the sweep saw it, but too late all the same.
                    self.shard.receipts.late += 1;
                    self.ended_after_sending(
                        id,
                        entry.n,
                        entry.due_ns,
                        entry.sent_ns,
                        entry.stage,
                        Outcome::TimedOut,
                    );
                    return;
                }
                connection.matched += 1;
                let slot = connection.slot;
                self.slots[slot].failures = 0;
                self.shard.matched(entry.due_ns, entry.stage, entry.sent_ns, received_ns);
                if self.ports.sink.is_some() {
                    self.completed(
                        id,
                        entry.n,
                        entry.due_ns,
                        entry.sent_ns,
                        received_ns,
                        Outcome::Matched,
                        body,
                    );
                }
            }
            Found::Late => self.shard.receipts.late += 1,
            Found::Nobody => {
                if self.was_sent_before(id, response_to) {
                    self.shard.receipts.duplicate += 1;
                } else {
                    self.shard.receipts.unknown += 1;
                }
            }
        }
    }

    fn was_sent_before(&self, id: usize, response_to: Option<u64>) -> bool {
        let slot = &self.slots[self.connections[id].slot];
        response_to.is_some_and(|n| {
            n % self.config.connections.count == slot.number
                && n % self.config.segment.of() == self.config.segment.index()
                && slot.last_sent.is_some_and(|last| n <= last)
        })
    }

    fn ended_after_sending(
        &mut self,
        id: usize,
        n: u64,
        due_ns: u64,
        sent_ns: u64,
        stage: u16,
        outcome: Outcome,
    ) {
        self.shard.ended(due_ns, stage, outcome);
        if self.config.all_completions {
            self.completed(id, n, due_ns, sent_ns, 0, outcome, &[]);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the columns of one completion, each of another kind")]
    fn completed(
        &mut self,
        id: usize,
        n: u64,
        due_ns: u64,
        sent_ns: u64,
        received_ns: u64,
        outcome: Outcome,
        body: &[u8],
    ) {
        let connection = &self.connections[id];
        let start = self.batch.bytes.len() as u32;
        self.batch.bytes.extend_from_slice(body);
        self.complete(Completion {
            n,
            due_ns,
            sent_ns,
            received_ns,
            outcome,
            address: connection.address,
            slot: self.slots[connection.slot].number as u32,
            generation: connection.generation as u32,
            body: start..start + body.len() as u32,
        });
    }

    fn complete(&mut self, completion: Completion) {
        self.batch.items.push(completion);
        if self.batch.items.len() >= BATCH_ITEMS || self.batch.bytes.len() >= BATCH_BYTES {
            self.hand_over_batch();
        }
    }

    fn hand_over_batch(&mut self) {
        let Some(sink) = &mut self.ports.sink else {
            self.batch.reuse();
            return;
        };
        if !self.batch.items.is_empty() {
            let empty = sink.empty();
            self.overflow.push_back(std::mem::replace(&mut self.batch, empty));
        }
        while let Some(batch) = self.overflow.pop_front() {
            if let Err(batch) = sink.try_send(batch) {
                self.overflow.push_front(batch);
                break;
            }
        }
    }

    // -----------------------------------------------------------------------------------------
    // Connections

    fn next_opening(&mut self, slot: usize) -> (u64, u16, Option<std::net::IpAddr>, Duration) {
        let connections = &self.config.connections;
        let slot = &mut self.slots[slot];
        let generation = slot.opened;
        let turn = slot.number + generation * connections.count + u64::from(slot.failures);
        let address = (turn % self.config.addresses.len() as u64) as u16;
        let sources = &connections.source_addresses;
        let source = (!sources.is_empty()).then(|| sources[(turn % sources.len() as u64) as usize]);
        (generation, address, source, connections.connect_timeout.as_duration())
    }

    fn back_off(&self, slot: usize) -> Option<Duration> {
        let slot = &self.slots[slot];
        let doublings = slot.failures.checked_sub(1)?;
        let pause = (FIRST_BACK_OFF * 2u32.saturating_pow(doublings.min(16))).min(LAST_BACK_OFF);
        let jitter = seeded::choice(self.config.seed, PURPOSE_BACK_OFF, slot.number ^ (slot.opened << 32));
        // Between a half and the whole of it.
        Some(pause / 2 + Duration::from_nanos(seeded::below(jitter, pause.as_nanos() as u64 / 2)))
    }

    fn accept(
        &mut self,
        slot: usize,
        generation: u64,
        address: u16,
        stream: TcpStream,
        connect_time: Duration,
        shared: &Shared,
    ) -> usize {
        let (reader, writer) = stream.into_split();
        let limit = self.config.connections.limit_of(self.slots[slot].number, generation);
        let stride = self.config.connections.count;
        let id = self.connections.insert(Connection {
            slot,
            generation,
            address,
            opened_ns: self.clock.now_ns(),
            connect_time,
            writer,
            reader: None,
            limit,
            used: 0,
            sent: 0,
            matched: 0,
            received: 0,
            inflight: Inflight::new(self.config.codec.correlate, stride, self.config.connections.window),
            pending: VecDeque::new(),
            output: Vec::new(),
            written: 0,
            partial: Vec::new(),
            dirty: false,
            blocked: false,
        });
        self.connections[id].reader = Some(spawn_local(read_all(shared.clone(), id, reader)));
        self.totals.opened += 1;
        self.totals.reconnects += u64::from(generation > 0);
        let slot = &mut self.slots[slot];
        slot.opened += 1;
        if slot.current.is_none() {
            slot.current = Some(id)
        } else {
            slot.spare = Some(id)
        }
        id
    }

    fn put_into_service(shared: &Shared, id: usize) {
        let mut worker = shared.borrow_mut();
        if let Some(slot) = worker.connections.get(id).map(|connection| connection.slot) {
            worker.refill(slot);
        }
        drop(worker);
        Worker::open_wanted(shared);
    }

    /// Starts what the last call into the worker has found wanting: spares, replacements, and tasks
    /// that wait for full sockets.
    fn open_wanted(shared: &Shared) {
        loop {
            let Some(wanted) = shared.borrow_mut().wanted.pop() else { return };
            match wanted {
                Wanted::Connection(slot) => {
                    spawn_local(open_until_done(shared.clone(), slot));
                }
                Wanted::Writable(id, generation) => {
                    spawn_local(write_rest(shared.clone(), id, generation));
                }
            }
        }
    }
}

impl Worker {
    /// Asks for another connection when a slot will soon need one and none is on its way.
    fn consider_opening(&mut self, slot: usize) {
        let wants = &self.slots[slot];
        if wants.opening || wants.unassigned == 0 || wants.spare.is_some() || self.stopped {
            return;
        }
        let room = wants.current.map_or(0, |id| self.connections[id].room());
        if room <= self.spare_room && wants.unassigned > room {
            self.slots[slot].opening = true;
            self.wanted.push(Wanted::Connection(slot));
        }
    }

    /// The peer has closed its side.
    fn peer_closed(&mut self, id: usize) {
        let connection = &self.connections[id];
        if connection.is_used_up() {
            self.end(id, End::Limit);
            return;
        }
        if connection.outstanding() > 0 {
            let unanswered = connection.outstanding();
            self.trouble(id, "eof", format!("closed by the peer with {unanswered} requests unanswered"));
        }
        self.lose(id, End::PeerClosed, Outcome::Eof);
    }

    /// A connection is gone: what was sent on it has failed, what was not goes to the next one.
    fn lose(&mut self, id: usize, end: End, outcome: Outcome) {
        let connection = &mut self.connections[id];
        let slot = connection.slot;
        let answered_nothing = connection.received == 0;
        let outcome = match outcome {
            Outcome::Reset | Outcome::Eof if answered_nothing => Outcome::Refused,
            other => other,
        };
        let entries = connection.inflight.drain();
        let unsent = std::mem::take(&mut connection.pending);
        for entry in entries {
            self.in_flight -= 1;
            self.ended_after_sending(id, entry.n, entry.due_ns, entry.sent_ns, entry.stage, outcome);
        }
        self.pending -= unsent.len();
        self.queued += unsent.len();
        self.slots[slot].unassigned += unsent.len() as u64;
        for pending in unsent.into_iter().rev() {
            self.slots[slot].queue.push_front(pending.queued);
        }
        self.slots[slot].failures += u32::from(answered_nothing);
        self.end(id, end);
        if !self.slots[slot].queue.is_empty() {
            self.refill(slot);
        }
    }

    /// Takes a connection out of service and closes it.
    fn end(&mut self, id: usize, end: End) {
        let connection = self.connections.remove(id);
        if let Some(reader) = &connection.reader {
            reader.abort();
        }
        let slot = &mut self.slots[connection.slot];
        if slot.current == Some(id) {
            slot.current = slot.spare.take();
        } else if slot.spare == Some(id) {
            slot.spare = None;
        }
        let record = ConnectionRecord {
            slot: slot.number,
            generation: connection.generation,
            address: self.config.addresses[usize::from(connection.address)],
            opened: Nanos(connection.opened_ns),
            connect_time: connection.connect_time.into(),
            closed: self.clock.now(),
            sent: connection.sent,
            matched: connection.matched,
            end,
        };
        let slot = connection.slot;
        self.tell(Event::Connection(record));
        self.consider_opening(slot);
    }

    fn trouble(&self, id: usize, kind: &'static str, detail: String) {
        let address = self.config.addresses[usize::from(self.connections[id].address)];
        self.tell(Event::Trouble(Trouble { at: self.clock.now(), kind, address, detail }));
    }

    // -----------------------------------------------------------------------------------------
    // What time brings

    fn sweep(&mut self, now_ns: u64) {
        if self.ports.control.is_draining() && !self.stopped {
            self.stop();
        }
        if self.in_flight > 0 {
            self.time_out(now_ns);
        }
        if self.queued > 0 {
            for slot in 0..self.slots.len() {
                if !self.slots[slot].queue.is_empty() {
                    self.refill(slot);
                }
            }
        }
        self.hand_over_batch();
        while let Ok(window) = self.ports.windows.try_recv() {
            self.shard.restock(window);
        }
        self.close_windows(now_ns, false, self.connections.len() as u64);
        self.show();
    }

    fn time_out(&mut self, now_ns: u64) {
        let timeout_ns = self.config.connections.request_timeout.0;
        for index in 0..self.connections.capacity() {
            let mut timed_out = false;
            while let Some(entry) =
                self.connections.get_mut(index).and_then(|c| c.inflight.time_out(now_ns, timeout_ns))
            {
                timed_out = true;
                self.in_flight -= 1;
                self.ended_after_sending(
                    index,
                    entry.n,
                    entry.due_ns,
                    entry.sent_ns,
                    entry.stage,
                    Outcome::TimedOut,
                );
            }
            if !timed_out {
                continue;
            }
            let connection = &self.connections[index];
            let slot = connection.slot;
            if connection.is_used_up() {
                self.end(index, End::Limit);
            } else if self.config.codec.correlate == Correlate::Order {
                let detail = "a response is overdue, and those behind it cannot be told apart";
                self.trouble(index, "timeout", detail.to_string());
                self.lose(index, End::Unanswered, Outcome::Reset);
            }
            self.refill(slot);
        }
    }

    /// Nothing that is still to be sent is due before this.
    fn due_through_ns(&mut self, now_ns: u64) -> u64 {
        if self.stopped {
            return now_ns;
        }
        match self.next_due() {
            Some(due_ns) => due_ns.min(now_ns),
            None if self.ports.source.is_finished() => now_ns,
            // The next payload is late; due times never fall.
            None => self.last_due_ns,
        }
    }

    fn close_windows(&mut self, now_ns: u64, finished: bool, connections: u64) {
        let due_through_ns = self.due_through_ns(now_ns);
        let (events, number) = (&self.ports.events, self.config.worker);
        self.shard.close(now_ns, due_through_ns, self.in_flight, connections, finished, |closed| {
            // A collector that is gone has nothing to collect.
            let _ = events.send((number, Event::Window(closed)));
        });
    }

    fn show(&self) {
        let gauges = &self.ports.gauges;
        let outcomes = &self.shard.outcomes;
        gauges.due.store(self.consumed, Relaxed);
        gauges.sent.store(self.shard.sent, Relaxed);
        gauges.matched.store(outcomes.of(Outcome::Matched), Relaxed);
        gauges.failed.store(outcomes.failed() + outcomes.of(Outcome::TimedOut), Relaxed);
        gauges.dropped.store(outcomes.dropped(), Relaxed);
        gauges.in_flight.store(self.in_flight, Relaxed);
        gauges.connections.store(self.connections.len() as u64, Relaxed);
        gauges.cpu_ns.store(clock::thread_cpu().as_nanos() as u64, Relaxed);
    }

    // -----------------------------------------------------------------------------------------
    // The end

    /// Sends nothing more: what waits for room is dropped, what is in flight may come.
    fn stop(&mut self) {
        self.stopped = true;
        for slot in 0..self.slots.len() {
            self.drop_queue(slot);
        }
    }

    fn drop_queue(&mut self, slot: usize) {
        while let Some(queued) = self.slots[slot].queue.pop_front() {
            self.queued -= 1;
            self.drop_request(slot, queued, Outcome::Stopped);
        }
    }

    fn is_finished(&mut self, now_ns: u64) -> bool {
        if self.ports.control.is_stopping_now() {
            return true;
        }
        if !self.stopped && (self.front.is_some() || !self.ports.source.is_finished()) {
            return false;
        }
        if self.queued == 0 && self.in_flight == 0 && self.pending == 0 {
            return true;
        }
        let since_ns = *self.draining_since_ns.get_or_insert(now_ns);
        now_ns - since_ns > self.config.graceful_stop.0
    }

    /// Ends everything that is still open and makes up the account.
    fn settle_accounts(&mut self) {
        let finished = self.clock.now();
        let open: Vec<usize> = self.connections.iter().map(|(id, _)| id).collect();
        let connections = open.len() as u64;
        self.stopped = true;
        for id in open {
            if self.connections[id].outstanding() > 0 {
                self.lose(id, End::Finished, Outcome::TimedOut);
            } else {
                self.end(id, End::Finished);
            }
        }
        for slot in 0..self.slots.len() {
            self.drop_queue(slot);
        }
        self.wanted.clear();
        self.shard.not_reached(self.share - self.consumed);
        self.close_windows(finished.0, true, connections);
        self.show();
        self.totals.sent = self.shard.sent;
        self.totals.outcomes = self.shard.outcomes;
        self.totals.receipts = self.shard.receipts;
        self.totals.unreachable_slots = self.slots.iter().filter(|slot| slot.failures > 0).count() as u64;
        self.totals.finished = finished;
        self.totals.cpu = clock::thread_cpu();
    }
}

/// Gives the last completions away, then the account.
async fn finish(shared: &Shared) -> Totals {
    shared.borrow_mut().settle_accounts();
    loop {
        shared.borrow_mut().hand_over_batch();
        let gone = shared.borrow().ports.sink.as_ref().is_none_or(|sink| sink.is_closed());
        if gone || shared.borrow().overflow.is_empty() {
            break;
        }
        clock::sleep(Duration::from_millis(1)).await;
    }
    let mut worker = shared.borrow_mut();
    worker.ports.sink = None;
    std::mem::take(&mut worker.totals)
}

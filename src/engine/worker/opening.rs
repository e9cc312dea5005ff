//! Opening connections, and what becomes of one that ends.
//!
//! A slot asks for its next connection when the one in use is nearly used up or gone. Methods of the
//! worker cannot start tasks, so they write down what is wanted, and the tasks that call them start it.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::task::{JoinSet, spawn_local};

use crate::arrival;
use crate::clock::{self, Stopwatch};
use crate::engine::connection::{self, Connection};
use crate::engine::inflight::Inflight;
use crate::engine::worker::{Shared, Wanted, Worker};
use crate::engine::{ConnectionRecord, End, Event, Trouble};
use crate::ledger::Outcome;
use crate::seeded;
use crate::units::Nanos;

/// First connections that are opened at the same time.
const OPENING_AT_ONCE: usize = 128;

const FIRST_BACK_OFF: Duration = Duration::from_millis(10);

const LAST_BACK_OFF: Duration = Duration::from_secs(1);

const PURPOSE_BACK_OFF: u64 = 0x656e_6701;

pub(super) async fn open_first_connections(shared: &Shared) -> Result<(), Trouble> {
    let count = shared.borrow().slots.len();
    let mut attempts = JoinSet::new();
    for slot in 0..count {
        while attempts.len() >= OPENING_AT_ONCE {
            join_one(&mut attempts).await?;
        }
        if shared.borrow().still_wanted(slot) == 0 {
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

async fn join_one(attempts: &mut JoinSet<Result<(), Trouble>>) -> Result<(), Trouble> {
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
            worker.slots[slot].down = true;
            Err(Trouble { at: worker.clock.now(), kind, address: peer, detail: error.to_string() })
        }
    }
}

/// Opens a connection for a slot in mid-run, again and again with back-off.
pub(super) async fn open_until_done(shared: Shared, slot: usize) {
    loop {
        let pause = shared.borrow().back_off(slot);
        if let Some(pause) = pause {
            clock::sleep(pause).await;
        }
        let Err(trouble) = open_once(&shared, slot).await else { return };
        let mut worker = shared.borrow_mut();
        worker.tell(Event::Trouble(trouble));
        if worker.stopped || worker.still_wanted(slot) == 0 {
            return;
        }
        worker.slots[slot].opening = true;
    }
}

/// Reads a connection until it ends.
pub(super) async fn read_all(shared: Shared, id: usize, mut stream: OwnedReadHalf) {
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
pub(super) async fn write_rest(shared: Shared, id: usize, of: (usize, u64)) {
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
    // Where that has failed, users of the connection go on.
    worker.fire_users();
    drop(worker);
    Worker::open_wanted(&shared);
}

/// How long a slot waits before it opens its next connection, after so many failures in a row.
pub(crate) fn back_off(failures: u32, seed: u64, slot: u64, opened: u64) -> Option<Duration> {
    let doublings = failures.checked_sub(1)?;
    let pause = (FIRST_BACK_OFF * 2u32.saturating_pow(doublings.min(16))).min(LAST_BACK_OFF);
    let jitter = seeded::choice(seed, PURPOSE_BACK_OFF, slot ^ (opened << 32));
    // Between a half and the whole of it.
    Some(pause / 2 + Duration::from_nanos(seeded::below(jitter, pause.as_nanos() as u64 / 2)))
}

impl Worker {
    pub(super) fn next_opening(&mut self, slot: usize) -> (u64, u16, Option<IpAddr>, Duration) {
        let connections = &self.config.connections;
        let slot = &mut self.slots[slot];
        let generation = slot.opened;
        let turn = slot.number + generation * connections.count + u64::from(slot.failures);
        let address = (turn % self.config.addresses.len() as u64) as u16;
        let sources = &connections.source_addresses;
        let source = (!sources.is_empty()).then(|| sources[(turn % sources.len() as u64) as usize]);
        (generation, address, source, connections.connect_timeout.as_duration())
    }

    pub(super) fn back_off(&self, slot: usize) -> Option<Duration> {
        let slot = &self.slots[slot];
        back_off(slot.failures, self.config.seed, slot.number, slot.opened)
    }

    pub(super) fn accept(
        &mut self,
        slot: usize,
        generation: u64,
        address: u16,
        stream: TcpStream,
        connect_time: Duration,
        shared: &Shared,
    ) -> usize {
        if self.config.stamps {
            // Where the kernel has none, bytes have come when they are read.
            let _ = arrival::stamp(&stream, true);
        }
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
        slot.down = false;
        if slot.current.is_none() {
            slot.current = Some(id)
        } else {
            slot.spare = Some(id)
        }
        id
    }

    pub(super) fn put_into_service(shared: &Shared, id: usize) {
        let mut worker = shared.borrow_mut();
        if let Some(slot) = worker.connections.get(id).map(|connection| connection.slot) {
            worker.refill(slot);
        }
        worker.fire_users();
        drop(worker);
        Worker::open_wanted(shared);
    }

    /// Starts what the last call into the worker has found wanting: spares, replacements, and tasks
    /// that wait for full sockets.
    pub(super) fn open_wanted(shared: &Shared) {
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

    /// Asks for another connection when a slot will soon need one and none is on its way.
    pub(super) fn consider_opening(&mut self, slot: usize) {
        let wants = &self.slots[slot];
        if wants.opening || wants.spare.is_some() || self.stopped {
            return;
        }
        let room = wants.current.map_or(0, |id| self.connections[id].room());
        if room <= self.spare_room && self.still_wanted(slot) > room {
            self.slots[slot].opening = true;
            self.wanted.push(Wanted::Connection(slot));
        }
    }

    /// The peer has closed its side.
    pub(super) fn peer_closed(&mut self, id: usize) {
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
    pub(super) fn lose(&mut self, id: usize, end: End, outcome: Outcome) {
        let connection = &mut self.connections[id];
        let slot = connection.slot;
        let answered_nothing = connection.received == 0;
        // Only the peer can refuse: what is closed from here was not answered in time.
        let by_peer = matches!(end, End::PeerClosed | End::Reset);
        let outcome = if by_peer && answered_nothing { Outcome::Refused } else { outcome };
        let entries = connection.inflight.drain();
        let unsent = std::mem::take(&mut connection.pending);
        for entry in entries {
            self.in_flight -= 1;
            self.ended_after_sending(id, &entry, outcome);
        }
        self.pending -= unsent.len();
        self.queued += unsent.len();
        if self.users.is_none() {
            self.slots[slot].unassigned += unsent.len() as u64;
        }
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
    pub(super) fn end(&mut self, id: usize, end: End) {
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

    pub(super) fn trouble(&self, id: usize, kind: &'static str, detail: String) {
        let address = self.config.addresses[usize::from(self.connections[id].address)];
        self.tell(Event::Trouble(Trouble { at: self.clock.now(), kind, address, detail }));
    }
}

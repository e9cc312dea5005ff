//! The model: slots, connections and requests, and what happens to them when.

mod ending;
mod opening;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use slab::Slab;

use crate::engine::{self, Cause, End, Event, OnOverload, SPARE_ROOM, SWEEP_NS, Totals, Users};
use crate::handoff::{Batch, Completion, Reuse};
use crate::ledger::Outcome;
use crate::plan::mix::Mix;
use crate::plan::schedule::Cursor;
use crate::plan::segment::Share;
use crate::recorder::shard::{Mark, Shard};
use crate::simulation::{Config, Pace, Ports};
use crate::units::Nanos;

/// Completions are handed over when there are this many.
const BATCH_ITEMS: usize = 256;

/// The most responses on their way to requests that will have timed out by then, of all connections: a target that
/// is slower by any factor does not fill the memory. More of them never come.
const MAX_OVERDUE: usize = 1 << 20;

/// A request of the plan.
#[derive(Debug, Clone, Copy)]
struct Request {
    n: u64,
    due_ns: u64,
    stage: u16,
    kind: u8,
}

impl Request {
    fn mark(&self) -> Mark {
        Mark { due_ns: self.due_ns, stage: self.stage, kind: self.kind }
    }
}

/// A request on its connection. It stays there until its response comes, also when it has timed out; if none comes,
/// until then.
#[derive(Debug, Clone, Copy)]
struct Sent {
    request: Request,
    sent_ns: u64,
    waits: bool,
    /// Whether its response is on its way, also where that will be too late.
    comes: bool,
}

/// One open connection.
#[derive(Debug)]
struct Connection {
    slot: usize,
    generation: u64,
    /// No two connections of a run have the same.
    serial: u64,
    address: usize,
    opened_ns: u64,
    limit: u64,
    sent: u64,
    matched: u64,
    received: u64,
    /// Responses come in the order of the requests, since each takes the same time.
    line: VecDeque<Sent>,
    /// Requests in the line that wait.
    waiting: usize,
    /// Requests at the head of the line that have timed out.
    silent: usize,
}

impl Connection {
    fn room(&self) -> u64 {
        self.limit - self.sent
    }

    fn is_used_up(&self) -> bool {
        self.sent >= self.limit && self.waiting == 0
    }
}

/// One connection slot of the plan.
#[derive(Debug)]
struct Slot {
    number: u64,
    current: Option<usize>,
    spare: Option<usize>,
    opening: bool,
    opened: u64,
    /// Requests of the plan that no connection has taken yet; not kept in the closed model.
    unassigned: u64,
    queue: VecDeque<Request>,
    failures: u32,
}

/// What comes at an instant: the place of a connection and its serial.
type Arrival = (u64, usize, u64);

pub(super) struct Model<'a> {
    config: engine::Config,
    delay_ns: u64,
    connect_ns: u64,
    mix: Arc<Mix>,
    ports: Ports,
    pace: Pace,
    cursor: Option<Cursor<'a>>,
    upcoming: Share,
    /// The next request of the plan.
    next: Option<Request>,
    users: Option<Users>,
    slots: Vec<Slot>,
    connections: Slab<Connection>,
    serials: u64,
    /// When responses arrive. Each takes the same time, so they arrive in the order in which they were sent
    /// for.
    responses: VecDeque<Arrival>,
    /// When time-outs are over, where responses take longer than that.
    expiries: VecDeque<Arrival>,
    /// When connections are open, and for which slot.
    openings: BinaryHeap<Reverse<(u64, usize)>>,
    spare_room: u64,
    shard: Shard,
    batch: Batch,
    share: u64,
    consumed: u64,
    queued: usize,
    in_flight: u64,
    now_ns: u64,
    next_sweep_ns: u64,
    draining_since_ns: Option<u64>,
    stopped: bool,
    totals: Totals,
    issued: u64,
}

impl<'a> Model<'a> {
    pub(super) fn new(config: Config, ports: Ports, cursor: Option<Cursor<'a>>) -> Model<'a> {
        let Config { engine: config, mix, target, in_step, .. } = config;
        let users = config
            .closed
            .as_ref()
            .map(|closed| Users::new(closed, &config.connections, config.segment, (0, 1), config.seed));
        let slots = (0..).zip(config.requests_on_slots()).map(|(number, unassigned)| Slot {
            number,
            current: None,
            spare: None,
            opening: false,
            opened: 0,
            unassigned,
            queue: VecDeque::new(),
            failures: 0,
        });
        let upcoming = config.share();
        let mut model = Model {
            slots: slots.collect(),
            shard: Shard::new(config.stages.clone(), config.kinds),
            spare_room: (config.connections.limit / 4).clamp(1, SPARE_ROOM),
            share: upcoming.remaining(),
            pace: Pace::new(ports.events.clone(), in_step),
            delay_ns: target.delay.0,
            connect_ns: target.connect.0,
            config,
            mix,
            ports,
            cursor,
            upcoming,
            next: None,
            users,
            connections: Slab::new(),
            serials: 0,
            responses: VecDeque::new(),
            expiries: VecDeque::new(),
            openings: BinaryHeap::new(),
            batch: Batch::default(),
            consumed: 0,
            queued: 0,
            in_flight: 0,
            now_ns: 0,
            next_sweep_ns: 0,
            draining_since_ns: None,
            stopped: false,
            totals: Totals::default(),
            issued: 0,
        };
        model.take_next();
        model
    }

    /// From time zero to the account.
    pub(super) fn run(mut self) {
        // Set-up is over before time zero.
        for slot in 0..self.slots.len() {
            if self.still_wanted(slot) > 0 {
                self.opened(slot);
            }
        }
        while !self.is_finished() {
            self.now_ns = self.next_instant();
            self.happen();
        }
        self.settle_accounts();
    }

    fn next_instant(&self) -> u64 {
        let response_ns = self.responses.front().map(|(at_ns, ..)| *at_ns);
        let opening_ns = self.openings.peek().map(|Reverse((at_ns, _))| *at_ns);
        let due_ns = self.next_due().filter(|_| !self.stopped);
        let next_ns = [response_ns, opening_ns, due_ns].into_iter().flatten().min();
        next_ns.map_or(self.next_sweep_ns, |next_ns| next_ns.min(self.next_sweep_ns)).max(self.now_ns)
    }

    /// All that happens at this instant, as far as it is known by now.
    fn happen(&mut self) {
        while let Some(&(at_ns, id, serial)) = self.responses.front() {
            if at_ns > self.now_ns {
                break;
            }
            self.responses.pop_front();
            self.issued += 1;
            // What a connection would have brought that is gone comes to nobody.
            if self.connections.get(id).is_some_and(|connection| connection.serial == serial) {
                self.receive(id);
            }
        }
        while let Some(&Reverse((at_ns, slot))) = self.openings.peek() {
            if at_ns > self.now_ns {
                break;
            }
            self.openings.pop();
            self.opened(slot);
            self.refill(slot);
        }
        while !self.stopped && self.next_due().is_some_and(|due_ns| due_ns <= self.now_ns) {
            self.fire();
        }
        if self.now_ns >= self.next_sweep_ns {
            self.sweep();
            self.next_sweep_ns = self.now_ns + SWEEP_NS;
        }
    }

    // -----------------------------------------------------------------------------------------
    // Requests

    fn take_next(&mut self) {
        self.next = self.upcoming.next().map(|n| {
            let (due, stage) = self.cursor.as_mut().map_or((Nanos::ZERO, 0), |cursor| cursor.due_at(n));
            // Plans have far fewer stages than 65,536 and kinds than 256: the scenario says so.
            Request { n, due_ns: due.0, stage: stage as u16, kind: self.mix.kind_of(n) as u8 }
        });
    }

    /// When the next request is to leave; `None` when there is none, or no user to send it.
    fn next_due(&self) -> Option<u64> {
        let next = self.next.as_ref()?;
        match &self.users {
            None => Some(next.due_ns),
            Some(users) => users.next_ready(),
        }
    }

    fn fire(&mut self) {
        let Some(mut request) = self.next else { return };
        let slot = match &mut self.users {
            None => (request.n % self.config.connections.count) as usize,
            Some(users) => {
                let Some((ready_ns, slot)) = users.take() else { return };
                request.due_ns = ready_ns;
                slot
            }
        };
        self.take_next();
        self.consumed += 1;
        self.shard.scheduled(request.mark());
        let outcome = if self.is_late(&request) {
            Some(Outcome::Late)
        } else if self.slots[slot].queue.is_empty() && self.send(slot, request) {
            None
        } else {
            self.overload(slot, request)
        };
        if let Some(outcome) = outcome {
            self.drop_request(slot, &request, outcome);
        }
    }

    fn is_late(&self, request: &Request) -> bool {
        self.now_ns.saturating_sub(request.due_ns) > self.config.max_lateness.0
    }

    /// A request is due and finds no room. Returns how it ends, if it ends.
    fn overload(&mut self, slot: usize, request: Request) -> Option<Outcome> {
        match self.config.on_overload {
            OnOverload::Queue if self.config.queue_limit.has_room(self.queued) => {
                self.slots[slot].queue.push_back(request);
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

    /// Sends a request over its slot's connection; `false` when there is no room.
    fn send(&mut self, slot: usize, request: Request) -> bool {
        let Some(id) = self.connection_with_room(slot) else { return false };
        let (now_ns, timeout_ns) = (self.now_ns, self.config.connections.request_timeout.0);
        let connection = &mut self.connections[id];
        let is_overdue = self.delay_ns > timeout_ns;
        let comes = !is_overdue || self.responses.len() < MAX_OVERDUE;
        connection.line.push_back(Sent { request, sent_ns: now_ns, waits: true, comes });
        connection.waiting += 1;
        connection.sent += 1;
        let serial = connection.serial;
        let needs_spare = connection.room() <= self.spare_room;
        if comes {
            self.responses.push_back((now_ns.saturating_add(self.delay_ns), id, serial));
        }
        if is_overdue {
            self.expiries.push_back((now_ns.saturating_add(timeout_ns), id, serial));
        }
        self.in_flight += 1;
        self.shard.sent(request.mark(), now_ns);
        self.taken(slot);
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
        (connection.room() > 0 && connection.waiting < self.config.connections.window).then_some(id)
    }

    /// Lets waiting requests of a slot go as far as there is room.
    fn refill(&mut self, slot: usize) {
        while let Some(&request) = self.slots[slot].queue.front() {
            let late = self.is_late(&request);
            if !late && (self.stopped || !self.send(slot, request)) {
                break;
            }
            self.slots[slot].queue.pop_front();
            self.queued -= 1;
            if late {
                self.drop_request(slot, &request, Outcome::Late);
            }
        }
    }

    /// One request fewer is to be taken by a connection of the slot.
    fn taken(&mut self, slot: usize) {
        let slot = &mut self.slots[slot];
        slot.unassigned = slot.unassigned.saturating_sub(1);
    }

    fn drop_request(&mut self, slot: usize, request: &Request, outcome: Outcome) {
        self.shard.ended(request.mark(), outcome);
        self.taken(slot);
        self.free_user(slot, request.n);
        let number = self.slots[slot].number;
        self.complete(request, (0, 0), outcome, (0, number, 0));
    }

    /// In the closed model, the user of a request that has ended thinks and sends the next.
    fn free_user(&mut self, slot: usize, n: u64) {
        if let Some(users) = &mut self.users {
            users.free(slot, n, self.now_ns);
        }
    }

    fn complete(
        &mut self,
        request: &Request,
        (sent_ns, received_ns): (u64, u64),
        outcome: Outcome,
        (address, slot, generation): (usize, u64, u64),
    ) {
        if self.ports.sink.is_none() {
            return;
        }
        self.batch.items.push(Completion {
            n: request.n,
            due_ns: request.due_ns,
            sent_ns,
            received_ns,
            outcome,
            address: address as u16,
            slot: slot as u32,
            generation: generation as u32,
            body: 0..0,
        });
        if self.batch.items.len() >= BATCH_ITEMS {
            self.hand_over_batch();
        }
    }

    fn hand_over_batch(&mut self) {
        if let Some(sink) = &mut self.ports.sink
            && !self.batch.items.is_empty()
        {
            sink(&self.batch);
        }
        self.batch.reuse();
    }

    // -----------------------------------------------------------------------------------------
    // Responses

    /// The oldest request of a connection is answered.
    fn receive(&mut self, id: usize) {
        let timeout_ns = self.config.connections.request_timeout.0;
        let connection = &mut self.connections[id];
        let slot = connection.slot;
        let answered = connection.line.iter().position(|sent| sent.comes);
        let Some(sent) = answered.and_then(|index| connection.line.remove(index)) else { return };
        connection.received += 1;
        self.shard.receipts.received += 1;
        if !sent.waits {
            connection.silent -= 1;
            self.shard.receipts.late += 1;
        } else if self.now_ns - sent.sent_ns > timeout_ns {
            // It came before the sweep saw it, but too late all the same.
            connection.waiting -= 1;
            self.shard.receipts.late += 1;
            self.ended_after_sending(id, &sent, Outcome::TimedOut);
        } else {
            connection.waiting -= 1;
            connection.matched += 1;
            let place = (connection.address, self.slots[slot].number, connection.generation);
            self.slots[slot].failures = 0;
            self.in_flight -= 1;
            self.shard.matched(sent.request.mark(), sent.sent_ns, self.now_ns, false);
            self.complete(&sent.request, (sent.sent_ns, self.now_ns), Outcome::Matched, place);
            self.free_user(slot, sent.request.n);
        }
        if self.connections[id].is_used_up() {
            self.end(id, End::Limit);
        }
        if !self.slots[slot].queue.is_empty() {
            self.refill(slot);
        }
    }

    /// A request that was sent has ended without a response.
    fn ended_after_sending(&mut self, id: usize, sent: &Sent, outcome: Outcome) {
        let connection = &self.connections[id];
        let (slot, address, generation) = (connection.slot, connection.address, connection.generation);
        self.in_flight -= 1;
        self.shard.ended(sent.request.mark(), outcome);
        let number = self.slots[slot].number;
        self.complete(&sent.request, (sent.sent_ns, 0), outcome, (address, number, generation));
        self.free_user(slot, sent.request.n);
    }
}

//! Hot path
//!
//! The thread that owns the data: waits for sockets, lets each connection read and run, then sends
//! to each once.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::connection::{Connection, Outcome, Shared};
use super::engine::{Engine, Limit, OutputLimit};
use super::handle::{Handle, Published, Tasks};
use super::nap::{NAP, Nap};
use super::observers::Waiter;
use super::session::Session;
use super::settings::Settings;
use super::{Config, Dialect, Error, expiry, text};
use crate::clock;

const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);
/// Events that one wait hands over.
const EVENTS: usize = 1024;
/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 4096;
/// A client that is silent for so many seconds is asked whether it is still there.
const KEEPALIVE_S: u32 = 300;
/// How often clients are looked for that have been silent for too long.
const IDLE_EVERY_US: u64 = 500_000;
/// How often expired keys are looked for.
const EXPIRY_EVERY: Duration = Duration::from_millis(100);
/// How long one look takes at most.
const EXPIRY_STEP: Duration = Duration::from_millis(1);
/// How soon again when there are many: three quarters of the time are for clients.
const EXPIRY_BUSY: Duration = Duration::from_millis(3);
/// How soon to accept again when there was no descriptor left.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Starts stores. Several may run in one process; they share nothing.
#[derive(Debug)]
pub struct Server;

impl Server {
    /// Binds, starts the thread and returns when clients can connect.
    ///
    /// # Errors
    /// [`Error::InUse`] when the port is taken, [`Error::Unprotected`] for an address beyond the
    /// loopback without a password, else what the system says.
    pub fn start(config: Config) -> Result<Handle, Error> {
        let addr = SocketAddr::new(config.bind, config.port);
        let password = config.password.clone().filter(|password| !password.is_empty());
        if !config.bind.is_loopback() && password.is_none() {
            return Err(Error::Unprotected { addr });
        }
        let listener = listen(addr).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => Error::InUse { addr },
            _ => Error::Listen { addr, source },
        })?;
        let thread_error = |source| Error::Thread { source };
        let addr = listener.local_addr().map_err(thread_error)?;
        let engine = engine(&config, password, addr);
        let published = Arc::new(Published::default());
        let (sender, tasks) = mpsc::channel();
        let (turn, waker) = Loop::new(listener, engine, config.dialect, Arc::clone(&published), tasks)
            .map_err(thread_error)?;
        let builder = std::thread::Builder::new().name("store".into());
        let thread = builder.spawn(move || turn.run()).map_err(thread_error)?;
        Ok(Handle::new(addr, waker, published, sender, thread))
    }
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

fn engine(config: &Config, password: Option<String>, addr: SocketAddr) -> Engine {
    let mut settings = Settings::default();
    settings.put("bind", addr.ip().to_string());
    settings.put("port", addr.port().to_string());
    settings.put("databases", config.databases.to_string());
    settings.put("maxclients", config.max_clients.to_string());
    settings.put("proto-max-bulk-len", config.max_bulk_bytes.to_string());
    settings.put("tcp-backlog", BACKLOG.to_string());
    settings.put("requirepass", password.clone().unwrap_or_default());
    let limit = Limit {
        password: password.map(String::into_bytes),
        max_clients: config.max_clients,
        max_bulk: config.max_bulk_bytes,
        max_output: config.max_output_bytes,
        subscriber: OutputLimit { hard: 32 << 20, soft: 8 << 20, soft_seconds: 60 },
        normal: OutputLimit::default(),
        max_query: 1 << 30,
        idle_s: 0,
        keepalive_s: KEEPALIVE_S,
    };
    let mut engine = Engine::new(config.databases, limit, settings, clock::wall_micros());
    engine.port = addr.port();
    engine
}

struct Loop {
    poll: Poll,
    listener: TcpListener,
    addr: SocketAddr,
    engine: Engine,
    shared: Shared,
    /// By slot, as the sessions in the engine.
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    /// Slots that were closed in this turn: free from the next one on, so that no event of this turn
    /// reaches a successor.
    closed: Vec<usize>,
    /// Slots with more to read.
    again: Vec<usize>,
    /// Slots with output.
    outgoing: Vec<usize>,
    /// Connections wait that could not be accepted.
    accept_held: bool,
    nap: Nap,
    expiry_due_us: u64,
    /// When to look for idle clients again; `None` while nobody is closed for that.
    idle_due_us: Option<u64>,
    published: Arc<Published>,
    /// What the handle wants done.
    tasks: Tasks,
}

impl Loop {
    fn new(
        mut listener: TcpListener,
        engine: Engine,
        dialect: Dialect,
        published: Arc<Published>,
        tasks: Tasks,
    ) -> io::Result<(Loop, Arc<Waker>)> {
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let turn = Loop {
            poll,
            addr: listener.local_addr()?,
            listener,
            engine,
            shared: Shared::new(dialect),
            connections: Vec::new(),
            free: Vec::new(),
            closed: Vec::new(),
            again: Vec::new(),
            outgoing: Vec::new(),
            accept_held: false,
            nap: Nap::default(),
            expiry_due_us: 0,
            idle_due_us: None,
            published,
            tasks,
        };
        Ok((turn, waker))
    }

    fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        // A nap is about as long as what the kernel would else round it up by.
        clock::precise_timers();
        while !self.published.stop.load(Ordering::Acquire) && !self.engine.stopping {
            let timeout = self.timeout();
            let may_nap = self.nap.is_due() && timeout.is_none_or(|timeout| timeout >= NAP);
            if !(may_nap && self.nap(&mut events))
                && let Err(error) = self.poll.poll(&mut events, timeout)
            {
                if error.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                // Without its event queue the store cannot go on; clients see closed connections.
                break;
            }
            self.engine.read_clock();
            self.turn(&events);
        }
    }

    /// Sleeps a nap, unless there is something to do already. Whether there is something after it.
    fn nap(&mut self, events: &mut Events) -> bool {
        // What is there already is no reason to sleep.
        if self.poll.poll(events, Some(Duration::ZERO)).is_err() {
            return false;
        }
        if events.is_empty() {
            clock::sleep_thread(NAP);
            if self.poll.poll(events, Some(Duration::ZERO)).is_err() {
                return false;
            }
            self.nap.woke(events.iter().count());
        }
        !events.is_empty()
    }

    /// One turn:
    ///
    /// 1. Waits whose time has come end.
    /// 2. Connections that were not read to their end, then those with news, read and run.
    /// 3. What the handle wants is done, and expired keys are removed.
    /// 4. Clients that no longer wait go on.
    /// 5. Connections with output send it, once each.
    /// 6. Clients that were killed are closed, new clients accepted.
    fn turn(&mut self, events: &Events) {
        let mut accept = std::mem::take(&mut self.accept_held);
        self.engine.end_due();
        for slot in std::mem::take(&mut self.again) {
            self.read(slot);
        }
        for event in events {
            match event.token() {
                LISTENER => accept = true,
                WAKER => self.run_tasks(),
                Token(slot) => {
                    if event.is_writable() && self.has_output(slot) {
                        self.outgoing.push(slot);
                    }
                    if let Some(connection) = self.connections.get_mut(slot).and_then(Option::as_mut) {
                        connection.peer_closed |= event.is_read_closed();
                        if connection.active_in != self.nap.window() {
                            connection.active_in = self.nap.window();
                            self.nap.seen();
                        }
                    }
                    if event.is_readable() || event.is_read_closed() || event.is_error() {
                        self.read(slot);
                    }
                }
            }
        }
        self.expire();
        self.close_idle();
        self.engine.tell_prefixes();
        self.wake();
        self.send_all();
        if std::mem::take(&mut self.engine.has_killed) {
            self.close_killed();
        }
        if accept {
            self.accept();
        }
        self.free.append(&mut self.closed);
        self.nap.turned();
        self.engine.sample();
        self.published.update(&self.engine);
    }

    fn run_tasks(&mut self) {
        while let Ok(task) = self.tasks.try_recv() {
            task(&mut self.engine);
            self.engine.end_due();
            self.engine.tell(None);
        }
    }

    /// Lets clients go on that have been written to by others, or no longer wait. Their commands may do the
    /// same for further ones.
    fn wake(&mut self) {
        while let Some(slot) = self.engine.wake.pop() {
            let outcome = self
                .with(slot, |connection, session, engine, shared| connection.resume(session, engine, shared));
            self.settle(slot, outcome);
        }
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.again.is_empty() || !self.engine.wake.is_empty() || !self.outgoing.is_empty() {
            return Some(Duration::ZERO);
        }
        let mut timeout = self.accept_held.then_some(ACCEPT_AGAIN);
        if let Some(due_us) = self.engine.next_due_us() {
            // Part of a millisecond counts as one, or the wait would end just before the time.
            let due = Duration::from_millis(due_us.saturating_sub(self.engine.now_us()).div_ceil(1000));
            timeout = Some(timeout.map_or(due, |timeout| timeout.min(due)));
        }
        if let Some(due_us) = self.idle_due_us {
            let due = Duration::from_micros(due_us.saturating_sub(self.engine.now_us()));
            timeout = Some(timeout.map_or(due, |timeout| timeout.min(due)));
        }
        // While clients are paused nothing expires; the end of the pause is due by itself.
        let expires = self.engine.active_expiry && self.engine.pause.is_none();
        if expires && expiry::needed(&self.engine.keyspace) {
            let due = Duration::from_micros(self.expiry_due_us.saturating_sub(self.engine.now_us()));
            timeout = Some(timeout.map_or(due, |timeout| timeout.min(due)));
        }
        timeout
    }

    fn has_output(&self, slot: usize) -> bool {
        self.engine.clients.get(slot).and_then(Option::as_ref).is_some_and(|client| !client.out.is_empty())
    }

    /// Lends out connection and session of a slot; closes it when that is the outcome.
    fn with(
        &mut self,
        slot: usize,
        act: impl FnOnce(&mut Connection, &mut Session, &mut Engine, &mut Shared) -> Outcome,
    ) -> Outcome {
        let Some(connection) = self.connections.get_mut(slot).and_then(Option::as_mut) else {
            return Outcome::Closed;
        };
        let Some(mut session) = self.engine.clients[slot].take() else { return Outcome::Closed };
        let mut outcome = act(connection, &mut session, &mut self.engine, &mut self.shared);
        self.engine.check_output(&mut session);
        if session.killed {
            outcome = Outcome::Closed;
        }
        self.engine.clients[slot] = Some(session);
        outcome
    }

    fn read(&mut self, slot: usize) {
        let outcome =
            self.with(slot, |connection, session, engine, shared| connection.read(session, engine, shared));
        self.settle(slot, outcome);
    }

    /// Remembers what is still to do for a connection that has read or run.
    fn settle(&mut self, slot: usize, outcome: Outcome) {
        match outcome {
            Outcome::Closed => return self.close(slot),
            Outcome::More => self.again.push(slot),
            Outcome::Waiting => {}
        }
        if self.has_output(slot) {
            self.outgoing.push(slot);
        }
    }

    fn send_all(&mut self) {
        let mut outgoing = std::mem::take(&mut self.outgoing);
        for slot in outgoing.drain(..) {
            let outcome = self
                .with(slot, |connection, session, engine, shared| connection.write(session, engine, shared));
            match outcome {
                Outcome::Closed => self.close(slot),
                // It ran more, so there is more to send; the next turn does it.
                Outcome::More => self.again.push(slot),
                Outcome::Waiting => {}
            }
        }
        self.outgoing = outgoing;
        for index in 0..self.again.len() {
            let slot = self.again[index];
            if self.has_output(slot) {
                self.outgoing.push(slot);
            }
        }
    }

    fn close(&mut self, slot: usize) {
        let Some(mut connection) = self.connections.get_mut(slot).and_then(Option::take) else { return };
        if let Some(mut session) = self.engine.clients[slot].take() {
            self.engine.forget(&mut session);
            // What has been answered goes out where it can at once; the client may have closed only its side.
            if !session.killed {
                connection.finish(&mut session, &mut self.engine);
            }
        }
        // Dropping the socket takes it out of the queue anyway.
        let _ = self.poll.registry().deregister(&mut connection.stream);
        self.engine.connected -= 1;
        self.closed.push(slot);
    }

    fn close_killed(&mut self) {
        let killed = |client: &Option<Box<Session>>| client.as_ref().is_some_and(|client| client.killed);
        let slots: Vec<usize> =
            (0..self.engine.clients.len()).filter(|slot| killed(&self.engine.clients[*slot])).collect();
        slots.into_iter().for_each(|slot| self.close(slot));
    }

    fn expire(&mut self) {
        // A clock that was set back must not put it off.
        let wait_us = self.expiry_due_us.saturating_sub(self.engine.now_us());
        let is_due = wait_us == 0 || wait_us > EXPIRY_EVERY.as_micros() as u64;
        if self.engine.pause.is_some() || !self.engine.active_expiry || !is_due {
            return;
        }
        let watch = clock::Stopwatch::start();
        let step = expiry::step(&mut self.engine.keyspace, || watch.elapsed() >= EXPIRY_STEP);
        if self.engine.keyspace.has_news() {
            self.engine.tell(None);
        }
        let took = watch.elapsed();
        self.engine.stats.expire_us += took.as_micros() as u64;
        let ticks = self.engine.tick_rate.ticks(took.as_micros() as u64);
        self.engine.note_latency("expire-cycle", ticks);
        let pause = if step.busy { EXPIRY_BUSY } else { EXPIRY_EVERY };
        self.expiry_due_us = self.engine.now_us() + pause.as_micros() as u64;
    }

    /// Closes clients that have been silent for longer than `timeout`.
    fn close_idle(&mut self) {
        if self.engine.config.idle_s == 0 {
            self.idle_due_us = None;
            return;
        }
        let now_us = self.engine.now_us();
        // A clock that was set back must not put it off.
        if self.idle_due_us.is_none_or(|due_us| now_us >= due_us || due_us - now_us > IDLE_EVERY_US) {
            let any = self.engine.close_idle();
            self.idle_due_us = any.then_some(now_us + IDLE_EVERY_US);
        }
    }

    fn accept(&mut self) {
        loop {
            match self.listener.accept() {
                Ok((stream, peer)) => self.welcome(stream, peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
                    ) => {}
                // No descriptor left, or no memory: others may be closed until the next try.
                Err(_) => {
                    self.accept_held = true;
                    return;
                }
            }
        }
    }

    fn welcome(&mut self, mut stream: TcpStream, peer: SocketAddr) {
        if self.engine.connected >= self.engine.config.max_clients {
            self.engine.stats.rejected += 1;
            // The socket is new, so a short text always fits; if not, it is closed all the same.
            let text = match self.shared.dialect() {
                Dialect::Resp => b"-ERR max number of clients reached\r\n",
                Dialect::Text => text::TOO_MANY_CLIENTS,
            };
            let _ = io::Write::write(&mut stream, text);
            return;
        }
        let slot = self.free.pop().unwrap_or(self.connections.len());
        let keepalive = Duration::from_secs(self.engine.config.keepalive_s.into());
        // Replies are written once a turn, so nothing is gained by holding back small ones.
        let ready = stream.set_nodelay(true).and_then(|()| {
            if keepalive > Duration::ZERO {
                SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(keepalive))?;
            }
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, Token(slot), interest)
        });
        if ready.is_err() {
            if slot < self.connections.len() {
                self.free.push(slot);
            }
            return;
        }
        let engine = &mut self.engine;
        engine.stats.connections += 1;
        engine.connected += 1;
        let waiter = Waiter { slot, id: engine.next_client_id() };
        let local = stream.local_addr().unwrap_or(self.addr);
        let mut session =
            Session::new(waiter, peer, local, engine.keyspace.now_ms(), engine.config.max_output);
        session.fd = stream.as_raw_fd();
        session.authenticated = engine.config.password.is_none();
        if slot == self.connections.len() {
            self.connections.push(None);
            engine.clients.push(None);
        }
        self.connections[slot] = Some(Connection::new(stream));
        engine.clients[slot] = Some(Box::new(session));
    }
}

//! Everything that clients share, without a socket: the data, the settings, who is connected.
//!
//! Time comes in with [`Engine::set_now`], commands with [`Engine::run`]; replies wait in the sessions.
//! Whoever is to be looked at by the loop (it has output, or goes on) stands in [`Engine::wake`].

mod caching;
mod delivery;
mod measuring;
mod waiting;

use super::blocking::{Deadlines, Due};
use super::command::{self, Flow, Index};
use super::faults::Faults;
use super::keyspace::Keyspace;
use super::latency::Latency;
use super::pubsub::PubSub;
use super::rates::Rates;
use super::session::Session;
use super::settings::Settings;
use super::stats::{CommandStats, Counters, ErrorStats, SlowLog};
use super::table::KeyHash;
use super::tracking::Tracking;
use crate::clock::{self, TickRate};
use crate::wire::resp::{Args, Batch, Limits};

/// Keys of a database from which on they are fetched ahead: smaller ones stand in the processor's caches.
const PREFETCHED_FROM: usize = 20_000;

/// What can change while the server runs.
#[derive(Debug, Clone)]
pub struct Limit {
    /// The password, when one is needed.
    pub password: Option<Vec<u8>>,
    /// Clients at one time.
    pub max_clients: usize,
    /// Bytes of one argument, and of one string.
    pub max_bulk: usize,
    /// Bytes that may wait for one client.
    pub max_output: usize,
    /// Output that may wait for a client that listens to channels.
    pub subscriber: OutputLimit,
    /// Output that may wait for any other client.
    pub normal: OutputLimit,
    /// Bytes of input that may wait to be a whole command.
    pub max_query: usize,
    /// Seconds after which a client is closed that sends nothing; 0 for never.
    pub idle_s: u32,
    /// Seconds after which a silent client is asked whether it is still there; 0 for never.
    pub keepalive_s: u32,
}

/// How much output may wait; 0 for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutputLimit {
    /// Bytes at which the client is closed.
    pub hard: usize,
    /// Bytes that may not wait for longer than `soft_seconds`.
    pub soft: usize,
    /// How long.
    pub soft_seconds: u32,
}

/// CLIENT PAUSE
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// When it ends, in microseconds of the wall clock.
    pub until_us: u64,
    /// Only commands that write wait.
    pub only_writes: bool,
}

/// The data and everything else that clients share.
#[derive(Debug)]
pub struct Engine {
    /// The databases.
    pub keyspace: Keyspace,
    /// What can change while the server runs.
    pub config: Limit,
    /// CONFIG GET and SET.
    pub settings: Settings,
    /// Counters.
    pub stats: Counters,
    /// Counters of each row of the table of commands.
    pub command_stats: Vec<CommandStats>,
    /// Error replies by their first word.
    pub error_stats: ErrorStats,
    /// The slow commands.
    pub slow_log: SlowLog,
    /// The table of commands.
    pub index: &'static Index,
    /// All clients by their slot. The one whose command runs is out of its slot meanwhile.
    pub clients: Vec<Option<Box<Session>>>,
    /// Clients that are connected, the one whose command runs included.
    pub connected: usize,
    /// Clients that wait for a key.
    pub blocked: usize,
    /// When waits and delays end.
    pub deadlines: Deadlines,
    /// Slots of clients that have output, or go on with their input.
    pub wake: Vec<usize>,
    /// Who listens to what.
    pub pubsub: PubSub,
    /// Slots of clients that see every command.
    pub monitors: Vec<usize>,
    /// CLIENT PAUSE, while it lasts.
    pub pause: Option<Pause>,
    /// Faults that were asked for.
    pub faults: Faults,
    /// Space for building values.
    pub scratch: Vec<u8>,
    /// SHUTDOWN has been called.
    pub stopping: bool,
    /// Some clients are marked to be closed.
    pub has_killed: bool,
    /// Keys that have expired are removed although nobody asks for them.
    pub active_expiry: bool,
    /// The port that is listened on, for INFO.
    pub port: u16,
    /// Names this process' server, for INFO.
    pub run_id: String,
    /// Commands that take so many ticks go to the slow log.
    pub slow_ticks: u64,
    /// What took longer than `latency-monitor-threshold`.
    pub latency: Latency,
    /// `latency-monitor-threshold` in ticks.
    pub latency_ticks: u64,
    /// It is counted how long commands take.
    pub tracks_latency: bool,
    /// Who keeps copies of which keys.
    pub tracking: Tracking,
    /// How much happened lately.
    pub rates: Rates,
    /// What ticks are worth.
    pub tick_rate: TickRate,
    /// When the last command ended, or the turn began.
    pub last_ticks: u64,
    /// How far the store's clock is ahead of the wall clock, in microseconds.
    pub clock_offset_us: i64,
    now_us: u64,
    started_us: u64,
    next_id: u64,
    random: u64,
}

impl Engine {
    /// An engine without keys at `now_us` (microseconds of the wall clock).
    pub fn new(databases: usize, config: Limit, settings: Settings, now_us: u64) -> Engine {
        let index = Index::shared();
        let tick_rate = TickRate::of_machine();
        let mut engine = Engine {
            keyspace: Keyspace::new(databases),
            config,
            settings,
            stats: Counters::default(),
            command_stats: vec![CommandStats::default(); index.rows().len()],
            error_stats: ErrorStats::default(),
            slow_log: SlowLog::default(),
            index,
            clients: Vec::new(),
            connected: 0,
            blocked: 0,
            deadlines: Deadlines::default(),
            wake: Vec::new(),
            pubsub: PubSub::default(),
            monitors: Vec::new(),
            pause: None,
            faults: Faults::default(),
            scratch: Vec::new(),
            stopping: false,
            has_killed: false,
            active_expiry: true,
            port: 0,
            run_id: String::new(),
            slow_ticks: tick_rate.ticks(10_000),
            latency: Latency::default(),
            latency_ticks: u64::MAX,
            tracks_latency: true,
            tracking: Tracking::default(),
            rates: Rates::starting_with(command::used_bytes()),
            tick_rate,
            last_ticks: clock::ticks(),
            clock_offset_us: 0,
            now_us,
            started_us: now_us,
            next_id: 1,
            random: now_us | 1,
        };
        engine.set_now(now_us);
        engine.run_id = (0..3).map(|_| format!("{:016x}", engine.random())).collect();
        engine.run_id.truncate(40);
        engine
    }

    /// Moves time to `now_us` (microseconds of the wall clock).
    pub fn set_now(&mut self, now_us: u64) {
        self.now_us = now_us;
        self.keyspace.set_now((now_us / 1000) as i64);
    }

    /// Reads the wall clock.
    pub fn read_wall_clock(&mut self) {
        self.set_now(clock::wall_micros().saturating_add_signed(self.clock_offset_us));
    }

    /// Reads the wall clock, and begins to measure the next command.
    pub fn read_clock(&mut self) {
        self.read_wall_clock();
        self.last_ticks = clock::ticks();
    }

    /// Microseconds of the wall clock.
    #[inline]
    pub fn now_us(&self) -> u64 {
        self.now_us
    }

    /// Seconds since the start.
    pub fn uptime_s(&self) -> u64 {
        self.now_us.saturating_sub(self.started_us) / 1_000_000
    }

    /// When it was started, in seconds of the wall clock.
    pub fn started_s(&self) -> u64 {
        self.started_us / 1_000_000
    }

    /// A number for the next client.
    pub fn next_client_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    /// The next random number (xorshift).
    pub fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Begins the random numbers anew.
    pub fn seed(&mut self, seed: u64) {
        // The generator stays at zero, so it is never started there.
        self.random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    }

    /// How much a client may send.
    #[inline]
    pub fn limits(&self, session: &Session) -> Limits {
        Limits { max_bulk: self.config.max_bulk, before_auth: !session.authenticated, ..Limits::default() }
    }

    /// Asks the processor to fetch what a command on `key` will read.
    #[inline]
    pub fn prefetch(&self, db: usize, key: &[u8]) {
        self.keyspace.table(db).prefetch(KeyHash::of(key));
    }

    /// Asks the processor to fetch what the commands of a batch will read, when there is so much data that
    /// it does not stand in its caches anyway.
    #[inline]
    pub fn prefetch_all(&self, db: usize, batch: &Batch, input: &[u8]) {
        let table = self.keyspace.table(db);
        if batch.len() < 2 || table.len() < PREFETCHED_FROM {
            return;
        }
        for (args, _) in (0..batch.len()).filter_map(|index| batch.get(index, input)) {
            let row = args.get(0).and_then(|name| self.index.find(name));
            let first = row.map_or(0, |row| row.command.keys.0);
            if let (1.., Some(key)) = (first, args.get(first as usize)) {
                table.prefetch(KeyHash::of(key));
            }
        }
    }

    /// Runs one command of a client.
    #[inline]
    pub fn run(&mut self, session: &mut Session, args: Args<'_>) -> Flow {
        command::run(self, session, args)
    }

    /// Runs one command for the program itself: no fault hits it, and no pause holds it up.
    pub fn run_directly(&mut self, session: &mut Session, args: Args<'_>) {
        let faults = std::mem::take(&mut self.faults);
        command::run(self, session, args);
        self.faults = faults;
    }

    /// Whether commands need a closer look before they run.
    #[inline]
    pub fn is_special(&self) -> bool {
        !self.monitors.is_empty() || self.pause.is_some() || !self.faults.is_empty()
    }

    /// Counts an error reply, and writes it.
    #[cold]
    pub fn fail(&mut self, session: &mut Session, text: &str) {
        self.stats.errors += 1;
        self.error_stats.count(text);
        session.out.error(text);
    }

    /// A client no longer watches anything.
    pub fn unwatch(&mut self, session: &mut Session) {
        if !session.watched.is_empty() {
            self.keyspace.witnesses.observers.unwatch(&session.watched, session.id);
            session.watched.clear();
        }
    }

    /// A client no longer listens to anything, and monitors nothing.
    pub fn stop_listening(&mut self, session: &mut Session) {
        if let Some(own) = session.subscriptions.take() {
            self.pubsub.leave(session.slot, *own);
        }
        if std::mem::take(&mut session.monitor) {
            self.monitors.retain(|slot| *slot != session.slot);
        }
    }

    /// Ends a client in its slot: from now on it waits for nothing, hears nothing, and does nothing; its
    /// connection is closed at the end of the turn.
    pub fn kill(&mut self, slot: usize) {
        let Some(mut session) = self.clients.get_mut(slot).and_then(Option::take) else { return };
        self.forget(&mut session);
        session.killed = true;
        self.has_killed = true;
        self.clients[slot] = Some(session);
    }

    /// A client is gone: nothing is kept for it any more.
    pub fn forget(&mut self, session: &mut Session) {
        if let Some(blocked) = session.blocked.take() {
            self.end_wait(session, &blocked);
        }
        if let Some(at_us) = session.delayed_until_us.take() {
            self.deadlines.remove(at_us, session.waiter(), Due::Delay);
        }
        self.unwatch(session);
        self.stop_listening(session);
        self.stop_caching(session);
    }
}

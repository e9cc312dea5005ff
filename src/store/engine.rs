//! Everything that clients share, without a socket: the data, the settings, who is connected.
//!
//! Time comes in with [`Engine::set_now`], commands with [`Engine::run`]; replies wait in the session.

use super::command::{self, Index};
use super::keyspace::Keyspace;
use super::session::Session;
use super::settings::Settings;
use super::table::KeyHash;
use crate::wire::resp::{Args, Limits};

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
}

/// Counters of the server.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counters {
    /// Commands that were run, or refused.
    pub commands: u64,
    /// Error replies.
    pub errors: u64,
    /// Connections that were accepted.
    pub connections: u64,
    /// Connections that were refused because there were too many.
    pub rejected: u64,
    /// Bytes that came in.
    pub bytes_in: u64,
    /// Bytes that went out.
    pub bytes_out: u64,
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
    /// The table of commands.
    pub index: &'static Index,
    /// All clients by their slot. The one whose command runs is out of its slot meanwhile.
    pub clients: Vec<Option<Box<Session>>>,
    /// Clients that are connected, the one whose command runs included.
    pub connected: usize,
    /// Space for building values.
    pub scratch: Vec<u8>,
    /// SHUTDOWN has been called.
    pub stopping: bool,
    /// CLIENT KILL has marked clients that must be closed.
    pub has_killed: bool,
    /// Keys that have expired are removed although nobody asks for them.
    pub active_expiry: bool,
    /// The port that is listened on, for INFO.
    pub port: u16,
    /// Names this process' server, for INFO.
    pub run_id: String,
    now_us: u64,
    started_us: u64,
    next_id: u64,
    random: u64,
}

impl Engine {
    /// An engine without keys at `now_us` (microseconds of the wall clock).
    pub fn new(databases: usize, config: Limit, settings: Settings, now_us: u64) -> Engine {
        let mut engine = Engine {
            keyspace: Keyspace::new(databases),
            config,
            settings,
            stats: Counters::default(),
            index: Index::shared(),
            clients: Vec::new(),
            connected: 0,
            scratch: Vec::new(),
            stopping: false,
            has_killed: false,
            active_expiry: true,
            port: 0,
            run_id: String::new(),
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

    /// Microseconds of the wall clock.
    pub fn now_us(&self) -> u64 {
        self.now_us
    }

    /// Seconds since the start.
    pub fn uptime_s(&self) -> u64 {
        self.now_us.saturating_sub(self.started_us) / 1_000_000
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

    /// Runs one command of a client.
    #[inline]
    pub fn run(&mut self, session: &mut Session, args: Args<'_>) {
        command::run(self, session, args);
    }
}

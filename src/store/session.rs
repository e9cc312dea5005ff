//! What the store knows about one client, apart from its socket.

use std::net::SocketAddr;

use super::blocking::Blocked;
use super::observers::Waiter;
use super::pubsub::{Scope, Subscriptions};
use super::reply::Replies;
use super::tracking::Caching;
use super::transaction::Transaction;

/// CLIENT REPLY
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReplyMode {
    /// Every command is answered.
    #[default]
    On,
    /// None is.
    Off,
    /// The next one is not.
    Skip,
}

/// One client.
#[derive(Debug)]
pub struct Session {
    /// Its number, never used twice.
    pub id: u64,
    /// Its place among the clients, which another one may have later.
    pub slot: usize,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// Where it has connected to.
    pub local: SocketAddr,
    /// The descriptor of its socket, for CLIENT LIST.
    pub fd: i32,
    /// CLIENT SETNAME
    pub name: Vec<u8>,
    /// CLIENT SETINFO LIB-NAME
    pub lib_name: Vec<u8>,
    /// CLIENT SETINFO LIB-VER
    pub lib_version: Vec<u8>,
    /// SELECT
    pub db: usize,
    /// It has given the password, or there is none.
    pub authenticated: bool,
    /// CLIENT NO-EVICT ON
    pub no_evict: bool,
    /// MONITOR
    pub monitor: bool,
    /// CLIENT REPLY
    pub reply_mode: ReplyMode,
    /// Between MULTI and EXEC.
    pub transaction: Option<Box<Transaction>>,
    /// EXEC runs: nothing blocks.
    pub in_exec: bool,
    /// Keys that it watches, with their databases.
    pub watched: Vec<(usize, Box<[u8]>)>,
    /// What it listens to; `None` for nothing.
    pub subscriptions: Option<Box<Subscriptions>>,
    /// How it keeps copies of keys; `None` when it does not.
    pub caching: Option<Box<Caching>>,
    /// It waits for a key.
    pub blocked: Option<Box<Blocked>>,
    /// Its next command waits for the end of CLIENT PAUSE.
    pub postponed: bool,
    /// Its output waits until then (microseconds of the wall clock), because of a fault that was asked for.
    pub delayed_until_us: Option<u64>,
    /// Since when more output waits than the soft limit allows, in milliseconds of the wall clock.
    pub soft_limit_since_ms: Option<i64>,
    /// When it came, in milliseconds of the wall clock.
    pub created_ms: i64,
    /// When it sent its last command.
    pub active_ms: i64,
    /// Its last command.
    pub last_command: &'static str,
    /// Close when everything is sent.
    pub closing: bool,
    /// Close now, and send nothing more.
    pub killed: bool,
    /// What it will be sent.
    pub out: Replies,
}

impl Session {
    /// A client that has just connected.
    pub fn new(
        waiter: Waiter,
        peer: SocketAddr,
        local: SocketAddr,
        now_ms: i64,
        output_limit: usize,
    ) -> Session {
        Session {
            id: waiter.id,
            slot: waiter.slot,
            peer,
            local,
            fd: -1,
            name: Vec::new(),
            lib_name: Vec::new(),
            lib_version: Vec::new(),
            db: 0,
            authenticated: true,
            no_evict: false,
            monitor: false,
            reply_mode: ReplyMode::On,
            transaction: None,
            in_exec: false,
            watched: Vec::new(),
            subscriptions: None,
            caching: None,
            blocked: None,
            postponed: false,
            delayed_until_us: None,
            soft_limit_since_ms: None,
            created_ms: now_ms,
            active_ms: now_ms,
            last_command: "NULL",
            closing: false,
            killed: false,
            out: Replies::new(output_limit),
        }
    }

    /// Its place and number.
    pub fn waiter(&self) -> Waiter {
        Waiter { slot: self.slot, id: self.id }
    }

    /// Whether its next command needs a closer look before it runs.
    #[inline]
    pub fn is_special(&self) -> bool {
        self.transaction.is_some()
            || self.subscriptions.is_some()
            || self.reply_mode != ReplyMode::On
            || !self.authenticated
            || self.caching.is_some()
    }

    /// Whether its input waits: it is blocked, postponed, or delayed.
    #[inline]
    pub fn is_held(&self) -> bool {
        self.blocked.is_some() || self.postponed || self.delayed_until_us.is_some()
    }

    /// How many names it listens to.
    fn listens_to(&self, scope: Scope) -> usize {
        self.subscriptions.as_ref().map_or(0, |own| own.names(scope).len())
    }

    /// What kind of client CLIENT LIST and KILL take it for.
    pub fn kind(&self) -> &'static str {
        if self.subscriptions.is_some() { "pubsub" } else { "normal" }
    }

    fn shown_flags(&self, is_dirty: bool) -> String {
        let flags = [
            (self.monitor, 'O'),
            (self.subscriptions.is_some(), 'P'),
            (self.transaction.is_some(), 'x'),
            (self.blocked.is_some(), 'b'),
            (self.caching.is_some(), 't'),
            (self.caching.as_ref().is_some_and(|caching| caching.broken), 'R'),
            (self.caching.as_ref().is_some_and(|caching| caching.broadcast), 'B'),
            (is_dirty, 'd'),
            (self.closing, 'c'),
            (self.no_evict, 'e'),
        ];
        let shown: String = flags.into_iter().filter(|(on, _)| *on).map(|(_, letter)| letter).collect();
        if shown.is_empty() { "N".into() } else { shown }
    }

    /// Its line in CLIENT LIST, without the end of line. `is_dirty`: a key that it watches has changed;
    /// `input`: bytes of the command that it runs.
    pub fn describe(&self, now_ms: i64, is_dirty: bool, input: usize) -> String {
        let seconds = |since: i64| (now_ms - since).max(0) / 1000;
        let waiting = self.out.len();
        let queued = self.transaction.as_ref();
        format!(
            "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={} sub={} psub={} ssub={} \
             multi={} qbuf={} qbuf-free=0 argv-mem=0 multi-mem={} rbs=0 rbp=0 obl={waiting} oll=0 \
             omem={waiting} tot-mem={} events=r cmd={} user=default redir={} resp={}",
            self.id,
            self.peer,
            self.local,
            self.fd,
            String::from_utf8_lossy(&self.name),
            seconds(self.created_ms),
            seconds(self.active_ms),
            self.shown_flags(is_dirty),
            self.db,
            self.listens_to(Scope::Channel),
            self.listens_to(Scope::Pattern),
            self.listens_to(Scope::Shard),
            queued.map_or(-1, |queued| queued.len() as i64),
            input,
            queued.map_or(0, |queued| queued.bytes()),
            size_of::<Session>() + waiting,
            self.last_command,
            self.caching.as_ref().map_or(-1, |caching| caching.redirect as i64),
            if self.out.is_resp3() { 3 } else { 2 },
        )
    }
}

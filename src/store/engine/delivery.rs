//! What goes to clients that have not asked for it just now: messages, lines for monitors, and news of keys that
//! they keep copies of.

use super::{Engine, Limit};
use crate::store::observers::Waiter;
use crate::store::pubsub::Scope;
use crate::store::reply::Replies;
use crate::store::session::Session;

impl Engine {
    /// Writes to a client: the one whose command runs, or another one.
    fn deliver(&mut self, current: &mut Option<&mut Session>, slot: usize, write: impl FnOnce(&mut Replies)) {
        let session = match current {
            Some(session) if session.slot == slot => &mut **session,
            _ => match self.clients.get_mut(slot).and_then(Option::as_mut) {
                Some(session) => session,
                None => return,
            },
        };
        if session.killed {
            return;
        }
        write(&mut session.out);
        if is_too_slow(session, &self.config, self.keyspace.now_ms()) {
            session.killed = true;
            self.has_killed = true;
            self.stats.output_limit_closed += 1;
        }
        self.wake.push(slot);
    }

    /// Marks a client to be closed when too much output waits for it.
    pub fn check_output(&mut self, session: &mut Session) {
        if !session.killed && is_too_slow(session, &self.config, self.keyspace.now_ms()) {
            session.killed = true;
            self.stats.output_limit_closed += 1;
        }
    }

    /// Marks clients to be closed that have sent nothing for too long; whether any may become so.
    pub fn close_idle(&mut self) -> bool {
        let limit_ms = i64::from(self.config.idle_s) * 1000;
        let now_ms = self.keyspace.now_ms();
        let is_idle = |session: &Session| {
            let listens = session.subscriptions.is_some() || session.monitor || session.is_held();
            !listens && now_ms - session.active_ms > limit_ms
        };
        for session in self.clients.iter_mut().flatten().filter(|session| is_idle(session)) {
            session.killed = true;
            self.has_killed = true;
        }
        self.connected > 0
    }

    /// Sends a message to all who listen to `channel`, or to a pattern that matches it; how many.
    pub fn publish(&mut self, mut current: Option<&mut Session>, channel: &[u8], message: &[u8]) -> usize {
        if self.pubsub.is_empty() {
            return 0;
        }
        let pubsub = std::mem::take(&mut self.pubsub);
        let mut receivers = 0;
        for &slot in pubsub.listening(Scope::Channel, channel) {
            self.deliver(&mut current, slot, |out| out.message(&[b"message", channel, message]));
            receivers += 1;
        }
        for (pattern, slots) in pubsub.matching(channel) {
            for &slot in slots {
                let parts = [b"pmessage", pattern, channel, message];
                self.deliver(&mut current, slot, |out| out.message(&parts));
                receivers += 1;
            }
        }
        self.pubsub = pubsub;
        receivers
    }

    /// Sends a message to all who listen to a shard channel; how many.
    pub fn publish_to_shard(&mut self, current: &mut Session, channel: &[u8], message: &[u8]) -> usize {
        let mut current = Some(current);
        let slots = self.pubsub.listening(Scope::Shard, channel).to_vec();
        for &slot in &slots {
            self.deliver(&mut current, slot, |out| out.message(&[b"smessage", channel, message]));
        }
        slots.len()
    }

    /// Shows a line to all who monitor.
    pub fn show_monitors(&mut self, line: &str, current: &mut Session) {
        let mut current = Some(current);
        for slot in self.monitors.clone() {
            self.deliver(&mut current, slot, |out| out.simple(line));
        }
    }

    /// Tells clients that keep copies of keys which of them have changed.
    #[cold]
    pub(super) fn invalidate(&mut self, current: &mut Option<&mut Session>) {
        let (flushed, keys) = self.keyspace.changes.take();
        if flushed {
            self.tracking.clear();
            for waiter in self.tracking.everybody() {
                self.tell_change(current, waiter, None);
            }
        }
        for key in keys {
            let mut waiters = self.tracking.take(&key);
            waiters.extend(self.tracking.broadcast(&key));
            for waiter in waiters {
                self.tell_change(current, waiter, Some(&key));
            }
        }
    }

    /// Tells one client, or the one that it has named, that a key has changed, or all with `None`.
    fn tell_change(&mut self, current: &mut Option<&mut Session>, waiter: Waiter, key: Option<&[u8]>) {
        let own = current.as_deref().filter(|session| session.slot == waiter.slot);
        let own_write = own.is_some();
        let session = own.or_else(|| self.clients.get(waiter.slot)?.as_deref());
        let Some(caching) =
            session.filter(|session| session.id == waiter.id).and_then(|s| s.caching.as_ref())
        else {
            return;
        };
        if own_write && caching.no_loop && key.is_some() {
            return;
        }
        let redirect = caching.redirect;
        if redirect == 0 {
            self.deliver(current, waiter.slot, |out| out.invalidate(key));
            return;
        }
        let mut others = self.clients.iter().flatten().map(|other| &**other).chain(current.as_deref());
        match others
            .find(|other| other.id == redirect)
            .map(|other| (other.slot, other.subscriptions.is_some()))
        {
            Some((slot, listens)) => self.deliver(current, slot, |out| match (out.is_resp3(), listens) {
                (true, _) => out.invalidate(key),
                (false, true) => out.redirected(key),
                (false, false) => {}
            }),
            None => self.break_redirect(current, waiter.slot, redirect),
        }
    }

    /// The client is gone that should have been told instead.
    fn break_redirect(&mut self, current: &mut Option<&mut Session>, slot: usize, redirect: u64) {
        let session = match current {
            Some(session) if session.slot == slot => Some(&mut **session),
            _ => self.clients.get_mut(slot).and_then(Option::as_deref_mut),
        };
        if let Some(caching) = session.and_then(|session| session.caching.as_mut()) {
            caching.broken = true;
        }
        self.deliver(current, slot, |out| {
            if out.is_resp3() {
                out.push(2);
                out.text("tracking-redir-broken");
                out.integer(redirect as i64);
            }
        });
    }

    /// A client that tracks has read keys.
    #[cold]
    pub fn remember_reads<'k>(&mut self, session: &Session, keys: impl Iterator<Item = &'k [u8]>) {
        for key in keys {
            if let Some(victim) = self.tracking.remember(key, session.waiter()) {
                self.keyspace.changes.add(&victim);
            }
        }
    }

    /// A client no longer keeps copies.
    pub fn stop_caching(&mut self, session: &mut Session) {
        if let Some(caching) = session.caching.take() {
            self.tracking.leave(session.waiter(), &caching.prefixes);
            self.keyspace.changes.wanted = self.tracking.clients() > 0;
        }
    }
}

/// Bytes of output that no limit counts, as Redis keeps them in the client itself.
const FREE_OUTPUT: usize = 16 * 1024;

/// Whether a client reads so slowly that it must go.
#[inline]
fn is_too_slow(session: &mut Session, config: &Limit, now_ms: i64) -> bool {
    let limit = if session.subscriptions.is_some() { config.subscriber } else { config.normal };
    let waiting = session.out.len().saturating_sub(FREE_OUTPUT);
    if limit.hard > 0 && waiting > limit.hard {
        return true;
    }
    if limit.soft == 0 || waiting <= limit.soft {
        session.soft_limit_since_ms = None;
        return false;
    }
    let since_ms = *session.soft_limit_since_ms.get_or_insert(now_ms);
    now_ms - since_ms > i64::from(limit.soft_seconds) * 1000
}

//! What goes to clients that have not asked for it just now: messages, and lines for monitors. Who reads too
//! slowly, or says nothing for too long, is closed.

use super::{Engine, Limit};
use crate::store::pubsub::Scope;
use crate::store::reply::Replies;
use crate::store::session::Session;

impl Engine {
    /// Writes to a client: the one whose command runs, or another one.
    pub(super) fn deliver(
        &mut self,
        current: &mut Option<&mut Session>,
        slot: usize,
        write: impl FnOnce(&mut Replies),
    ) {
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
        for slot in 0..self.clients.len() {
            if self.clients[slot].as_deref().is_some_and(is_idle) {
                self.kill(slot);
            }
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

//! Clients that keep copies of keys are told when these change.

use super::Engine;
use crate::store::observers::Waiter;
use crate::store::session::Session;

impl Engine {
    /// Tells clients that keep copies of keys which of them have changed.
    #[cold]
    pub(super) fn invalidate(&mut self, current: &mut Option<&mut Session>) {
        let (flushed, keys) = self.keyspace.witnesses.changes.take();
        if flushed {
            self.tracking.clear();
            for waiter in self.tracking.everybody() {
                self.tell_change(current, waiter, None);
            }
        }
        for (key, by_itself) in keys {
            for waiter in self.tracking.take(&key) {
                self.tell_change(current, waiter, Some(&[&key]));
            }
            let writer = current.as_deref().filter(|_| !by_itself).map(Session::waiter);
            self.tracking.broadcast(&key, writer);
        }
    }

    /// Tells clients that have named prefixes which keys have changed in this turn, all of a prefix at once.
    pub fn tell_prefixes(&mut self) {
        if !self.tracking.has_broadcasts() {
            return;
        }
        for (waiters, keys) in self.tracking.take_broadcasts() {
            for waiter in waiters {
                let client = self.clients.get(waiter.slot).and_then(Option::as_deref);
                let caching = client.and_then(|session| session.caching.as_ref());
                let no_loop = caching.is_some_and(|caching| caching.no_loop);
                let wanted = keys.iter().filter(|(_, writer)| !no_loop || **writer != Some(waiter.id));
                let wanted: Vec<&[u8]> = wanted.map(|(key, _)| &**key).collect();
                if !wanted.is_empty() {
                    self.tell_change(&mut None, waiter, Some(&wanted));
                }
            }
        }
    }

    /// Tells one client, or the one that it has named, that a key has changed, or all with `None`.
    fn tell_change(&mut self, current: &mut Option<&mut Session>, waiter: Waiter, keys: Option<&[&[u8]]>) {
        let own = current.as_deref().filter(|session| session.slot == waiter.slot);
        let own_write = own.is_some();
        let session = own.or_else(|| self.clients.get(waiter.slot)?.as_deref());
        let Some(caching) =
            session.filter(|session| session.id == waiter.id).and_then(|s| s.caching.as_ref())
        else {
            return;
        };
        if own_write && caching.no_loop && keys.is_some() {
            return;
        }
        let redirect = caching.redirect;
        if redirect == 0 {
            self.deliver(current, waiter.slot, |out| out.invalidate(keys));
            return;
        }
        let mut others = self.clients.iter().flatten().map(|other| &**other).chain(current.as_deref());
        match others
            .find(|other| other.id == redirect)
            .map(|other| (other.slot, other.subscriptions.is_some()))
        {
            Some((slot, listens)) => self.deliver(current, slot, |out| match (out.is_resp3(), listens) {
                (true, _) => out.invalidate(keys),
                (false, true) => out.redirected(keys),
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
                self.keyspace.witnesses.changes.add(&victim, true);
            }
        }
    }

    /// A client no longer keeps copies.
    pub fn stop_caching(&mut self, session: &mut Session) {
        if let Some(caching) = session.caching.take() {
            self.tracking.leave(session.waiter(), &caching.prefixes);
            self.keyspace.witnesses.changes.wanted = self.tracking.clients() > 0;
        }
    }
}

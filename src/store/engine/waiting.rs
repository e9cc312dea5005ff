//! Clients that wait, and what ends their waits.

use super::Engine;
use crate::store::blocking::{Blocked, Due};
use crate::store::command;
use crate::store::observers::Waiter;
use crate::store::reply::Mark;
use crate::store::session::{ReplyMode, Session};

impl Engine {
    /// Publishes the notifications that wait, and runs again the commands that wait for keys which have
    /// been written; until there is neither.
    pub fn tell(&mut self, mut current: Option<&mut Session>) {
        loop {
            if !self.keyspace.witnesses.changes.is_empty() {
                self.invalidate(&mut current);
            }
            for (channel, message) in self.keyspace.witnesses.events.take() {
                self.publish(current.as_deref_mut(), &channel, &message);
            }
            let Some((db, key, waiters)) = self.keyspace.witnesses.observers.next_ready() else { return };
            for waiter in waiters {
                self.serve(waiter, db, &key);
            }
            if !self.keyspace.has_news() {
                return;
            }
        }
    }

    /// Lets a client that waits for `key` try again.
    fn serve(&mut self, waiter: Waiter, db: usize, key: &[u8]) {
        let Some(mut session) = self.take_client(waiter) else { return };
        if let Some(blocked) = session.blocked.take() {
            let mark = session.out.mark();
            if (blocked.when_gone || self.keyspace.contains(db, key))
                && command::resume(self, &mut session, &blocked, key)
            {
                mute(&mut session, &blocked, mark);
                self.end_wait(&session, &blocked);
            } else {
                session.blocked = Some(blocked);
            }
        }
        self.clients[waiter.slot] = Some(session);
    }

    /// Takes a client out of its slot, if it is still the same one.
    fn take_client(&mut self, waiter: Waiter) -> Option<Box<Session>> {
        let place = self.clients.get_mut(waiter.slot)?;
        if place.as_ref()?.id != waiter.id {
            return None;
        }
        place.take()
    }

    /// A client begins to wait.
    pub fn begin_wait(&mut self, session: &mut Session, blocked: Blocked) {
        let waiter = session.waiter();
        for key in &blocked.keys {
            self.keyspace.witnesses.observers.wait(blocked.db, key, waiter);
        }
        if let Some(at_us) = blocked.deadline_us {
            self.deadlines.add(at_us, waiter, Due::Wait);
        }
        self.blocked += 1;
        session.blocked = Some(Box::new(blocked));
    }

    /// A client no longer waits, and goes on.
    pub(super) fn end_wait(&mut self, session: &Session, blocked: &Blocked) {
        let waiter = session.waiter();
        for key in &blocked.keys {
            self.keyspace.witnesses.observers.unwait(blocked.db, key, waiter);
        }
        if let Some(at_us) = blocked.deadline_us {
            self.deadlines.remove(at_us, waiter, Due::Wait);
        }
        self.blocked -= 1;
        self.wake.push(waiter.slot);
    }

    /// Ends the wait of a client in its slot by `answer`; whether it waited.
    pub fn unblock(&mut self, slot: usize, answer: impl FnOnce(&mut Engine, &mut Session, &Blocked)) -> bool {
        let Some(mut session) = self.clients.get_mut(slot).and_then(Option::take) else { return false };
        let blocked = session.blocked.take();
        if let Some(blocked) = &blocked {
            let mark = session.out.mark();
            answer(self, &mut session, blocked);
            mute(&mut session, blocked, mark);
            self.end_wait(&session, blocked);
        }
        self.clients[slot] = Some(session);
        blocked.is_some()
    }

    /// Answers those whose time-out has come, sends what was delayed, and ends a pause.
    pub fn end_due(&mut self) {
        while let Some((waiter, due)) = self.deadlines.pop_due(self.now_us) {
            let client = self.clients.get_mut(waiter.slot).and_then(Option::as_mut);
            let Some(session) = client.filter(|session| session.id == waiter.id) else { continue };
            match due {
                Due::Delay => {
                    session.delayed_until_us = None;
                    self.wake.push(waiter.slot);
                }
                Due::Wait => {
                    self.unblock(waiter.slot, |_, session, blocked| blocked.empty.answer(&mut session.out));
                }
            }
        }
        if self.pause.is_some_and(|pause| pause.until_us <= self.now_us) {
            self.end_pause();
        }
    }

    /// Ends CLIENT PAUSE: those that were held up go on.
    pub fn end_pause(&mut self) {
        self.pause = None;
        for session in self.clients.iter_mut().flatten().filter(|session| session.postponed) {
            session.postponed = false;
            self.wake.push(session.slot);
        }
    }

    /// When the next thing is due, in microseconds of the wall clock.
    pub fn next_due_us(&self) -> Option<u64> {
        let pause = self.pause.map(|pause| pause.until_us);
        self.deadlines.next_us().into_iter().chain(pause).min()
    }
}

/// Takes an answer back that the client does not want.
fn mute(session: &mut Session, blocked: &Blocked, mark: Mark) {
    if blocked.muted || session.reply_mode == ReplyMode::Off {
        session.out.cut(mark);
    }
}

//! Who listens to which channel.
//!
//! Both sides know: here the listeners of each channel in the order in which they came, and each client its
//! own channels ([`Subscriptions`]), so that it can leave them when it goes.

use std::collections::{BTreeSet, HashMap};

use super::glob;

/// The three kinds of subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// SUBSCRIBE
    Channel,
    /// PSUBSCRIBE
    Pattern,
    /// SSUBSCRIBE
    Shard,
}

/// The channels and patterns of one client.
#[derive(Debug, Default)]
pub struct Subscriptions {
    channels: BTreeSet<Box<[u8]>>,
    patterns: BTreeSet<Box<[u8]>>,
    shards: BTreeSet<Box<[u8]>>,
}

impl Subscriptions {
    fn of(&mut self, scope: Scope) -> &mut BTreeSet<Box<[u8]>> {
        match scope {
            Scope::Channel => &mut self.channels,
            Scope::Pattern => &mut self.patterns,
            Scope::Shard => &mut self.shards,
        }
    }

    /// Its names in one scope.
    pub fn names(&self, scope: Scope) -> &BTreeSet<Box<[u8]>> {
        match scope {
            Scope::Channel => &self.channels,
            Scope::Pattern => &self.patterns,
            Scope::Shard => &self.shards,
        }
    }

    /// The number that a reply in this scope shows: channels and patterns together, shard channels alone.
    pub fn shown_count(&self, scope: Scope) -> usize {
        match scope {
            Scope::Channel | Scope::Pattern => self.channels.len() + self.patterns.len(),
            Scope::Shard => self.shards.len(),
        }
    }

    /// Whether it listens to nothing at all.
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty() && self.patterns.is_empty() && self.shards.is_empty()
    }
}

/// Slots of clients by channel or pattern.
type Listeners = HashMap<Box<[u8]>, Vec<usize>>;

/// All subscriptions.
#[derive(Debug, Default)]
pub struct PubSub {
    channels: Listeners,
    patterns: Listeners,
    /// Patterns in the order in which they were first asked for.
    pattern_order: Vec<Box<[u8]>>,
    shards: Listeners,
}

impl PubSub {
    fn listeners(&mut self, scope: Scope) -> &mut Listeners {
        match scope {
            Scope::Channel => &mut self.channels,
            Scope::Pattern => &mut self.patterns,
            Scope::Shard => &mut self.shards,
        }
    }

    /// The client in `slot` listens to `name`.
    pub fn subscribe(&mut self, scope: Scope, name: &[u8], slot: usize, own: &mut Subscriptions) {
        if !own.of(scope).insert(name.into()) {
            return;
        }
        let listeners = self.listeners(scope);
        let is_new = !listeners.contains_key(name);
        listeners.entry(name.into()).or_default().push(slot);
        if is_new && scope == Scope::Pattern {
            self.pattern_order.push(name.into());
        }
    }

    /// The client in `slot` no longer listens to `name`.
    pub fn unsubscribe(&mut self, scope: Scope, name: &[u8], slot: usize, own: &mut Subscriptions) {
        if !own.of(scope).remove(name) {
            return;
        }
        let listeners = self.listeners(scope);
        let Some(slots) = listeners.get_mut(name) else { return };
        slots.retain(|other| *other != slot);
        if slots.is_empty() {
            listeners.remove(name);
            if scope == Scope::Pattern {
                self.pattern_order.retain(|pattern| **pattern != *name);
            }
        }
    }

    /// Ends all subscriptions of a client.
    pub fn leave(&mut self, slot: usize, mut own: Subscriptions) {
        for scope in [Scope::Channel, Scope::Pattern, Scope::Shard] {
            for name in own.names(scope).clone() {
                self.unsubscribe(scope, &name, slot, &mut own);
            }
        }
    }

    /// Whether nobody listens to any channel or pattern.
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty() && self.patterns.is_empty()
    }

    /// Who listens to a channel, or a shard channel.
    pub fn listening(&self, scope: Scope, channel: &[u8]) -> &[usize] {
        let listeners = if scope == Scope::Shard { &self.shards } else { &self.channels };
        listeners.get(channel).map_or(&[], Vec::as_slice)
    }

    /// The patterns that match a channel, each with who listens to it.
    pub fn matching<'a>(&'a self, channel: &'a [u8]) -> impl Iterator<Item = (&'a [u8], &'a [usize])> {
        let matching = self.pattern_order.iter().filter(|pattern| glob::matches(pattern, channel, false));
        matching.map(|pattern| (&**pattern, self.patterns.get(pattern).map_or(&[][..], Vec::as_slice)))
    }

    /// Channels that somebody listens to.
    pub fn names(&self, scope: Scope) -> impl Iterator<Item = &[u8]> {
        let listeners = if scope == Scope::Shard { &self.shards } else { &self.channels };
        listeners.keys().map(|name| &**name)
    }

    /// How many patterns somebody listens to.
    pub fn pattern_count(&self) -> usize {
        self.patterns.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_come_and_go_on_both_sides() {
        let (mut pubsub, mut one, mut two) =
            (PubSub::default(), Subscriptions::default(), Subscriptions::default());
        pubsub.subscribe(Scope::Channel, b"news", 1, &mut one);
        pubsub.subscribe(Scope::Channel, b"news", 1, &mut one);
        pubsub.subscribe(Scope::Channel, b"news", 2, &mut two);
        pubsub.subscribe(Scope::Pattern, b"n*", 2, &mut two);
        assert_eq!(pubsub.listening(Scope::Channel, b"news"), [1, 2]);
        let matching: Vec<_> = pubsub.matching(b"news").collect();
        assert_eq!(matching, [(&b"n*"[..], &[2][..])]);
        assert_eq!((one.shown_count(Scope::Channel), two.shown_count(Scope::Pattern)), (1, 2));
        pubsub.leave(2, two);
        assert_eq!(pubsub.listening(Scope::Channel, b"news"), [1]);
        pubsub.unsubscribe(Scope::Channel, b"news", 1, &mut one);
        assert!(pubsub.is_empty() && one.is_empty() && pubsub.pattern_count() == 0);
    }
}

//! Consumer groups: who has been given which entries, and has not yet acknowledged them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::entries::Entries;
use super::ids::StreamId;

/// A consumer in its group, for as long as it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsumerId(usize);

/// An entry that was given to a consumer.
#[derive(Debug, Clone, Copy)]
pub struct Delivery {
    /// To whom.
    pub consumer: ConsumerId,
    /// When, in milliseconds of the wall clock.
    pub at_ms: i64,
    /// How many times.
    pub count: u64,
}

/// One who reads.
#[derive(Debug, Clone)]
pub struct Consumer {
    name: Arc<[u8]>,
    /// When it was last heard of, in milliseconds of the wall clock.
    pub seen_ms: i64,
    pending: BTreeSet<StreamId>,
}

impl Consumer {
    /// Its name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// What it has been given and has not acknowledged.
    pub fn pending(&self) -> &BTreeSet<StreamId> {
        &self.pending
    }
}

/// A group of consumers that share the entries of a stream.
#[derive(Debug, Clone)]
pub struct Group {
    /// The highest id that was given to anybody.
    pub last_id: StreamId,
    /// How many entries of the stream were read up to there, when that is known.
    pub entries_read: Option<i64>,
    pending: BTreeMap<StreamId, Delivery>,
    by_name: BTreeMap<Arc<[u8]>, ConsumerId>,
    /// By [`ConsumerId`]; places of consumers that have gone are used again.
    consumers: Vec<Option<Consumer>>,
    free: Vec<ConsumerId>,
}

impl Group {
    /// A group that has read up to `last_id`.
    pub fn new(last_id: StreamId, entries_read: Option<i64>) -> Group {
        Group {
            last_id,
            entries_read,
            pending: BTreeMap::new(),
            by_name: BTreeMap::new(),
            consumers: Vec::new(),
            free: Vec::new(),
        }
    }

    /// What is pending, whoever was given it.
    pub fn pending(&self) -> &BTreeMap<StreamId, Delivery> {
        &self.pending
    }

    /// The consumers in the order of their names.
    pub fn consumers(&self) -> impl Iterator<Item = &Consumer> {
        self.by_name.values().filter_map(|consumer| self.consumer(*consumer))
    }

    /// How many consumers.
    pub fn consumer_count(&self) -> usize {
        self.by_name.len()
    }

    /// The name of a consumer.
    pub fn name_of(&self, consumer: ConsumerId) -> &[u8] {
        self.consumer(consumer).map_or(&[], Consumer::name)
    }

    /// The consumer behind an id.
    pub fn consumer(&self, consumer: ConsumerId) -> Option<&Consumer> {
        self.consumers.get(consumer.0)?.as_ref()
    }

    fn consumer_mut(&mut self, consumer: ConsumerId) -> Option<&mut Consumer> {
        self.consumers.get_mut(consumer.0)?.as_mut()
    }

    /// The consumer of a name.
    pub fn find(&self, name: &[u8]) -> Option<ConsumerId> {
        self.by_name.get(name).copied()
    }

    /// The consumer of a name, who was heard of at `now_ms`.
    pub fn heard(&mut self, name: &[u8], now_ms: i64) -> Option<ConsumerId> {
        let found = self.find(name)?;
        self.consumer_mut(found)?.seen_ms = now_ms;
        Some(found)
    }

    /// Adds a consumer with a name that is free.
    pub fn add(&mut self, name: &[u8], now_ms: i64) -> ConsumerId {
        let name: Arc<[u8]> = name.into();
        let consumer = Consumer { name: name.clone(), seen_ms: now_ms, pending: BTreeSet::new() };
        let place = self.free.pop().unwrap_or(ConsumerId(self.consumers.len()));
        match self.consumers.get_mut(place.0) {
            Some(empty) => *empty = Some(consumer),
            None => self.consumers.push(Some(consumer)),
        }
        self.by_name.insert(name, place);
        place
    }

    /// Removes a consumer and forgets what it has not acknowledged; how much that was.
    pub fn remove(&mut self, name: &[u8]) -> Option<usize> {
        let place = self.by_name.remove(name)?;
        let consumer = self.consumers.get_mut(place.0)?.take()?;
        self.free.push(place);
        for id in &consumer.pending {
            self.pending.remove(id);
        }
        Some(consumer.pending.len())
    }

    /// Gives an entry to a consumer, taking it from whoever has it.
    pub fn give(&mut self, id: StreamId, delivery: Delivery) {
        let before = self.pending.insert(id, delivery);
        if before.is_some_and(|before| before.consumer == delivery.consumer) {
            return;
        }
        if let Some(consumer) = before.and_then(|before| self.consumer_mut(before.consumer)) {
            consumer.pending.remove(&id);
        }
        if let Some(consumer) = self.consumer_mut(delivery.consumer) {
            consumer.pending.insert(id);
        }
    }

    /// A pending entry is given to its consumer once more.
    pub fn give_again(&mut self, id: StreamId, now_ms: i64) {
        if let Some(delivery) = self.pending.get_mut(&id) {
            delivery.at_ms = now_ms;
            delivery.count = delivery.count.wrapping_add(1);
        }
    }

    /// An entry is done with; whether it was pending.
    pub fn acknowledge(&mut self, id: StreamId) -> bool {
        let Some(delivery) = self.pending.remove(&id) else { return false };
        if let Some(consumer) = self.consumer_mut(delivery.consumer) {
            consumer.pending.remove(&id);
        }
        true
    }

    /// An entry that was never given to anybody is: moves what the group has read up to there.
    pub fn read_up_to(&mut self, id: StreamId, entries: &Entries) {
        if id <= self.last_id {
            return;
        }
        match self.entries_read {
            Some(read) if !entries.may_have_gaps_from(id) => self.entries_read = Some(read.wrapping_add(1)),
            _ if entries.added > 0 => self.entries_read = entries.added_up_to(id),
            _ => {}
        }
        self.last_id = id;
    }

    /// How many entries the group has still to read, when that can be told.
    pub fn lag(&self, entries: &Entries) -> Option<i64> {
        if entries.added == 0 {
            return Some(0);
        }
        let known = self.entries_read.filter(|_| !entries.may_have_gaps_from(self.last_id));
        let read = known.or_else(|| entries.added_up_to(self.last_id))?;
        Some((entries.added as i64).wrapping_sub(read))
    }

    /// About how many bytes it takes.
    pub fn bytes(&self) -> usize {
        let names: usize =
            self.by_name.keys().map(|name| name.len() + size_of::<(Arc<[u8]>, ConsumerId)>()).sum();
        let pending = size_of::<(StreamId, Delivery)>() + size_of::<StreamId>();
        size_of::<Group>()
            + names
            + self.consumers.capacity() * size_of::<Option<Consumer>>()
            + self.pending.len() * pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(ms: u64) -> StreamId {
        StreamId { ms, seq: 0 }
    }

    #[test]
    fn the_place_of_a_consumer_that_has_gone_is_used_again() {
        let mut group = Group::new(StreamId::MIN, None);
        let first = group.add(b"a", 1);
        group.give(id(1), Delivery { consumer: first, at_ms: 1, count: 1 });
        assert_eq!((group.remove(b"a"), group.remove(b"a")), (Some(1), None));
        assert!(group.pending().is_empty());
        let second = group.add(b"b", 2);
        assert_eq!(group.heard(b"a", 3), None);
        assert_eq!((first, group.name_of(second)), (second, &b"b"[..]));
    }

    #[derive(Debug, Clone)]
    enum Change {
        Give(u64, usize),
        Acknowledge(u64),
        Remove(usize),
    }

    proptest! {
        #[test]
        fn what_is_pending_belongs_to_exactly_one_consumer(changes in prop::collection::vec(prop_oneof![
            (0u64..10, 0usize..3).prop_map(|(id, name)| Change::Give(id, name)),
            (0u64..10).prop_map(Change::Acknowledge),
            (0usize..3).prop_map(Change::Remove),
        ], 0..60)) {
            let names: [&[u8]; 3] = [b"a", b"b", b"c"];
            let mut group = Group::new(StreamId::MIN, None);
            let mut model = BTreeMap::new();
            for change in changes {
                match change {
                    Change::Give(ms, name) => {
                        let known = group.heard(names[name], 5);
                        let consumer = known.unwrap_or_else(|| group.add(names[name], 5));
                        group.give(id(ms), Delivery { consumer, at_ms: 5, count: 1 });
                        model.insert(id(ms), name);
                    }
                    Change::Acknowledge(ms) => {
                        prop_assert_eq!(group.acknowledge(id(ms)), model.remove(&id(ms)).is_some());
                    }
                    Change::Remove(name) => {
                        group.remove(names[name]);
                        model.retain(|_, owner| *owner != name);
                    }
                }
            }
            let owned = |(id, delivery): (&StreamId, &Delivery)| (*id, group.name_of(delivery.consumer).to_vec());
            let pending: Vec<_> = group.pending().iter().map(owned).collect();
            let expected: Vec<_> = model.iter().map(|(id, name)| (*id, names[*name].to_vec())).collect();
            prop_assert_eq!(&pending, &expected);
            let mut by_consumer: Vec<_> = group.consumers()
                .flat_map(|consumer| consumer.pending().iter().map(|id| (*id, consumer.name().to_vec())))
                .collect();
            by_consumer.sort();
            prop_assert_eq!(&by_consumer, &expected);
        }
    }
}

//! What a worker does when the schedule is changed: what is ready and not yet due is stamped anew, and everything that
//! follows from how many requests there are and when stages end is brought up to date.

use tokio::net::TcpStream;

use crate::arrival;
use crate::engine::worker::{Queued, Worker};
use crate::engine::{QueueLimit, is_sparse};
use crate::plan::course::Heading;
use crate::plan::schedule::Walker;

impl Worker {
    /// Whether the schedule is still the one that is known; else it is taken over.
    #[inline]
    pub(super) fn look_at_course(&mut self) {
        if self.ports.course.as_ref().is_some_and(|course| course.version() != self.version) {
            self.change_course();
        }
    }

    #[cold]
    fn change_course(&mut self) {
        if let Some(course) = self.ports.course.clone() {
            self.follow(course.heading());
        }
    }

    /// No change is made any more, and the last one counts: requests that it has added were not reached.
    pub(super) fn keep_last_course(&mut self) {
        if let Some(course) = self.ports.course.clone() {
            self.follow(course.close());
        }
    }

    fn follow(&mut self, heading: Heading) {
        // A change that came too late was taken back.
        if heading.version == self.version {
            return;
        }
        self.version = heading.version;
        self.shard.set_ends(heading.ends.iter().map(|end| end.0));
        let queue_limit = QueueLimit::of(heading.peak, self.config.max_lateness, 0);
        self.config.queue_limit.0 = self.config.queue_limit.0.max(queue_limit.0);
        self.take_stamps(is_sparse(heading.schedule.peak_ahead(), self.config.workers));
        let (before, total) = (self.config.total, heading.schedule.total());
        self.walker = Some(Walker::new(heading.schedule.clone()));
        self.heading = Some(heading);
        if total != before {
            self.config.total = total;
            self.share = self.config.share().remaining();
            self.share_out(before, total);
        }
        self.stamp_front();
        // The feed looks too, now and not when the next chunk is taken.
        self.ports.source.nudge();
    }

    /// Whether the kernel is asked when responses come follows the rates that lie ahead.
    fn take_stamps(&mut self, is_wanted: bool) {
        if std::mem::replace(&mut self.config.stamps, is_wanted) == is_wanted {
            return;
        }
        for (_, connection) in &self.connections {
            let stream: &TcpStream = connection.writer.as_ref();
            // Where the kernel has none, bytes have come when they are read.
            let _ = arrival::stamp(stream, is_wanted);
        }
    }

    /// Slots have more requests or fewer than before.
    fn share_out(&mut self, before: u64, total: u64) {
        let (segment, slots) = (self.config.segment, self.config.connections.count);
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            let on_slot = |total: u64| segment.count_on_slot(total, slot.number, slots);
            slot.unassigned = (slot.unassigned + on_slot(total)).saturating_sub(on_slot(before));
            self.consider_opening(index);
        }
    }

    /// Stamps what is left of the front chunk by the schedule that holds, and leaves out what is not in it.
    #[cold]
    pub(super) fn stamp_front(&mut self) {
        let Some(Queued { chunk: key, item: next }) = self.front else { return };
        let made_by = self.chunks.slab[key as usize].0.version;
        if made_by > self.version {
            // The feed has seen a change first. Taking it over comes back here.
            self.look_at_course();
            return;
        }
        let (Some(heading), Some(walker)) = (&self.heading, &mut self.walker) else { return };
        let (chunk, open) = &mut self.chunks.slab[key as usize];
        if made_by < self.version {
            let limit = heading.limit_since(made_by);
            let (count, next) = (chunk.items.len(), next as usize);
            let keep = next + chunk.items[next..].partition_point(|item| item.n < limit);
            chunk.items.truncate(keep);
            *open -= (count - keep) as u32;
            for item in &mut chunk.items[next..] {
                let (due, stage) = walker.due_at(item.n);
                (item.due_ns, item.stage) = (due.0, stage as u16);
            }
            chunk.version = self.version;
        }
        if next as usize == chunk.items.len() {
            self.front = None;
        }
        if *open == 0 {
            let (chunk, _) = self.chunks.slab.remove(key as usize);
            self.ports.source.recycle(chunk);
        }
    }
}

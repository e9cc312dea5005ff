//! Prefetch: which records the next requests need, and reading them ahead.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_local};

use crate::clock::{self, Clock, Stopwatch};
use crate::datastore::{self, Datastore};
use crate::feed::shape::{Fetched, Records, Shaper, Wanted};
use crate::feed::texts::Texts;
use crate::feed::{Error, OnMissing, Parts, Totals};
use crate::handoff::{Chunk, Sender};
use crate::plan::course::{Course, Rest};
use crate::plan::keys::Keys;
use crate::plan::mix::Mix;
use crate::plan::schedule::Walker;
use crate::plan::segment::Share;
use crate::records::generator::Generator;
use crate::units::Nanos;

/// Chunks that are being fetched at once.
pub(super) const FETCHES: usize = 2;

/// Bytes of one chunk: large records make chunks of fewer requests.
const CHUNK_BYTES: usize = 2 << 20;

/// About as long is a key; longer ones make room for themselves.
const KEY_BYTES: usize = 24;

/// Requests of the first chunks.
const FIRST_CHUNK: usize = 16;

/// How often a feed that waits for the datastore looks whether anybody still wants its payloads.
const WANTED: Duration = Duration::from_millis(50);

/// How long a feed that has nothing more to feed sleeps at most until it looks whether the schedule was changed. The
/// worker wakes it.
const IDLE: Duration = Duration::from_millis(500);

/// How often an absent datastore is looked for.
const LOOK: Duration = Duration::from_millis(20);

pub(super) struct Feed {
    parts: Parts,
}

impl Feed {
    pub(super) fn new(parts: Parts) -> Feed {
        Feed { parts }
    }

    pub(super) async fn run(self) -> Result<Totals, Error> {
        let Parts {
            course,
            keys,
            share,
            generator,
            mix,
            payloads,
            datastore,
            on_missing,
            script,
            keep,
            codec,
            mut sink,
            chunk,
            clock,
            max_lateness,
        } = self.parts;
        let fetcher = Rc::new(Fetcher {
            generator,
            datastore,
            on_missing,
            clock: clock.clone(),
            max_lateness,
            course: course.clone(),
            hungry: sink.hunger(),
            totals: RefCell::default(),
        });
        let mut shaper = Shaper::new(codec, script, keep, payloads, fetcher.generator.clone());
        let mut upcoming = Upcoming::new(course, share, keys, mix);
        // With the version of the schedule by which their requests are stamped.
        let mut fetches: VecDeque<(u64, JoinHandle<Result<Fetched, Error>>)> = VecDeque::new();
        let bell = sink.bell();
        // How large payloads are shows after the first few.
        let mut fitting = chunk.min(FIRST_CHUNK);
        loop {
            upcoming.keep_up();
            while fetches.len() < FETCHES {
                let wanted = upcoming.next(fitting);
                if wanted.is_empty() {
                    break;
                }
                let version = upcoming.version;
                fetches.push_back((version, spawn_local(fetcher.clone().fetch(wanted, version))));
            }
            let Some((version, next)) = fetches.pop_front() else {
                let now = clock.get().map_or(Nanos::ZERO, Clock::now);
                match upcoming.rest(now) {
                    Rest::Changed => continue,
                    Rest::Until(at) if !sink.is_closed() => {
                        let left = Duration::from_nanos(at.0.saturating_sub(now.0));
                        let _ = clock::timeout(left.min(IDLE), bell.notified()).await;
                        continue;
                    }
                    Rest::Until(_) | Rest::Over => break,
                }
            };
            let Some(fetched) = finished(next, &sink).await else { break };
            let fetched = fetched?;
            let mut full = sink.empty();
            full.version = version;
            shaper.shape(&fetched, &mut full)?;
            let mean = (full.bytes.len() / full.items.len().max(1)).max(1);
            fitting = (CHUNK_BYTES / mean).clamp(1, chunk);
            let mut unsent = Some(full);
            while let Some(full) = unsent.take() {
                if sink.is_closed() {
                    return Ok(shaper.totals(fetcher.totals.borrow().clone()));
                }
                if let Err(full) = sink.try_send(full) {
                    unsent = Some(full);
                    bell.notified().await;
                }
            }
        }
        Ok(shaper.totals(fetcher.totals.borrow().clone()))
    }
}

/// Waits for a fetch; `None` when the worker is gone and nobody wants it any more.
async fn finished(
    mut fetch: JoinHandle<Result<Fetched, Error>>,
    sink: &Sender<Chunk>,
) -> Option<Result<Fetched, Error>> {
    loop {
        match clock::timeout(WANTED, &mut fetch).await {
            Some(Ok(fetched)) => return Some(fetched),
            // A panic of a fetch is a bug; it goes on where it can be seen.
            Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Some(Err(_)) => return None,
            None if sink.is_closed() => {
                fetch.abort();
                return None;
            }
            None => {}
        }
    }
}

struct Upcoming {
    /// `None` in the closed model: what a user sends next is due when the user is ready.
    course: Option<Arc<Course>>,
    /// The schedule that is known, and its version.
    walker: Option<Walker>,
    version: u64,
    share: Share,
    keys: Arc<Keys>,
    mix: Arc<Mix>,
}

impl Upcoming {
    fn new(course: Option<Arc<Course>>, share: Share, keys: Arc<Keys>, mix: Arc<Mix>) -> Upcoming {
        let heading = course.as_ref().map(|course| course.heading());
        let version = heading.as_ref().map_or(0, |heading| heading.version);
        let walker = heading.map(|heading| Walker::new(heading.schedule));
        Upcoming { course, walker, version, share, keys, mix }
    }

    /// Takes over a schedule that was changed. The worker throws away what is in the plan no more.
    fn keep_up(&mut self) {
        let Some(course) = self.course.as_ref().filter(|course| course.version() != self.version) else {
            return;
        };
        let heading = course.heading();
        if heading.version != self.version {
            self.share.back_to(heading.limit_since(self.version), heading.schedule.total());
            self.version = heading.version;
            self.walker = Some(Walker::new(heading.schedule));
        }
    }

    /// What to do when all requests are fed.
    fn rest(&self, now: Nanos) -> Rest {
        self.course.as_ref().map_or(Rest::Over, |course| course.rest(self.version, now))
    }

    fn next(&mut self, count: usize) -> Vec<Wanted> {
        let mut wanted = Vec::with_capacity(count);
        for n in self.share.by_ref().take(count) {
            let (due, stage) = self.walker.as_mut().map_or((Nanos::ZERO, 0), |walker| walker.due_at(n));
            let (id, kind) = (self.keys.id_of(n), self.mix.kind_of(n));
            // Plans have far fewer stages than 65,536 and kinds than 256: the scenario says so.
            wanted.push(Wanted { n, id, due, stage: stage as u16, kind: kind as u8 });
        }
        wanted
    }
}

/// When the last of some requests is due by the schedule that holds now: it may have been changed since they were
/// stamped, and nothing is due in a pause. `None` where none of them is wanted any more.
fn last_due(wanted: &[Wanted], version: u64, course: Option<&Course>) -> Option<Nanos> {
    let Some(course) = course.filter(|course| course.version() != version) else {
        return wanted.last().map(|wanted| wanted.due);
    };
    let heading = course.heading();
    // What is behind that is not in the plan, or is fetched anew.
    let limit = heading.limit_since(version);
    let last = wanted.iter().rfind(|wanted| wanted.n < limit)?;
    let is_stamped_by_it = heading.version == version;
    Some(if is_stamped_by_it { last.due } else { heading.schedule.due_at(last.n) })
}

struct Fetcher {
    generator: Arc<Generator>,
    /// `None` where records are made from the template.
    datastore: Option<Datastore>,
    on_missing: OnMissing,
    clock: Arc<OnceLock<Clock>>,
    max_lateness: Nanos,
    /// `None` in the closed model.
    course: Option<Arc<Course>>,
    /// Whether the worker has used up all that was read ahead.
    hungry: Arc<AtomicBool>,
    totals: RefCell<Totals>,
}

impl Fetcher {
    /// Reads the records of some requests, again and again while the datastore is away, until it is
    /// too late for them. `version`: that of the schedule which they are stamped by.
    async fn fetch(self: Rc<Self>, wanted: Vec<Wanted>, version: u64) -> Result<Fetched, Error> {
        let Some(datastore) = &self.datastore else { return Ok(Fetched { wanted, records: Records::Made }) };
        let mut keys = Texts::with_room(wanted.len(), KEY_BYTES);
        for wanted in &wanted {
            keys.push(|out| self.generator.key(wanted.id, out));
        }
        let mut away = false;
        // In the open model the due time counts. In the closed one nobody waits before all that was read ahead is
        // used up; from then on a user may.
        let mut asked_ns = 0;
        loop {
            let watch = Stopwatch::start();
            let result = self.try_fetch(datastore, &wanted, &keys).await;
            self.took(watch.elapsed());
            match result {
                Ok(values) => return Ok(Fetched { wanted, records: Records::Read { keys, values } }),
                // Before time zero there is no run yet that would have to go on without it.
                Err(Error::Datastore(error)) if error.is_away() && self.clock.get().is_some() => {
                    self.totals.borrow_mut().outages += u64::from(!away);
                    away = true;
                }
                Err(error) => return Err(error),
            }
            if self.course.is_none() && !self.hungry.load(Relaxed) {
                asked_ns = self.clock.get().map_or(0, Clock::now_ns);
            }
            if self.is_too_late(&wanted, version, asked_ns) {
                let values = vec![None; keys.len()];
                return Ok(Fetched { wanted, records: Records::Read { keys, values } });
            }
            // Whether it is back shows at the next attempt.
            let _ = clock::timeout(LOOK, datastore.back()).await;
        }
    }

    fn took(&self, elapsed: Duration) {
        let mut totals = self.totals.borrow_mut();
        totals.slowest_fetch = totals.slowest_fetch.max(elapsed);
    }

    fn is_too_late(&self, wanted: &[Wanted], version: u64, asked_ns: u64) -> bool {
        let Some(clock) = self.clock.get() else { return false };
        let Some(due) = last_due(wanted, version, self.course.as_deref()) else { return true };
        clock.now_ns() > due.0.max(asked_ns).saturating_add(self.max_lateness.0)
    }

    async fn try_fetch(
        &self,
        datastore: &Datastore,
        wanted: &[Wanted],
        keys: &Texts,
    ) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let names: Vec<&[u8]> = keys.iter().collect();
        let mut values = datastore.get_many(&names).await?;
        let missing: Vec<usize> = (0..values.len()).filter(|&at| values[at].is_none()).collect();
        if missing.is_empty() {
            return Ok(values);
        }
        match self.on_missing {
            OnMissing::Drop => {}
            OnMissing::Fail => {
                let key = String::from_utf8_lossy(keys.get(missing[0])).into_owned();
                return Err(Error::Missing { key });
            }
            OnMissing::Generate => self.generate(datastore, wanted, keys, &missing, &mut values).await?,
        }
        Ok(values)
    }

    async fn generate(
        &self,
        datastore: &Datastore,
        wanted: &[Wanted],
        keys: &Texts,
        missing: &[usize],
        values: &mut [Option<Vec<u8>>],
    ) -> Result<(), datastore::Error> {
        let mut made: Vec<(&[u8], Vec<u8>)> = Vec::with_capacity(missing.len());
        for &at in missing {
            let mut value = Vec::with_capacity(96);
            self.generator.value(wanted[at].id, &mut value);
            made.push((keys.get(at), value));
        }
        let written = datastore.set_missing(&made).await?;
        self.totals.borrow_mut().generated += written;
        for (&at, (_, value)) in missing.iter().zip(made) {
            values[at] = Some(value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::schedule::{Arrivals, Change, Piece, Schedule, Shape};
    use crate::units::Tps;

    /// 100 per second for 10 seconds.
    fn planned() -> Schedule {
        let rate = Tps::per_second(100).units();
        let piece = Piece { duration_ns: 10_000_000_000, from: rate, to: rate };
        Schedule::new(vec![Shape::Pieces(vec![piece])], Arrivals::Uniform)
    }

    /// Requests as they are stamped by a schedule.
    fn wanted(schedule: &Schedule, upto: u64) -> Vec<Wanted> {
        let stamped = (0..upto).map(|n| Wanted { n, id: n, due: schedule.due_at(n), stage: 0, kind: 0 });
        stamped.collect()
    }

    fn changed(course: &Course, schedule: Schedule) {
        assert_eq!(course.change(Arc::new(schedule), || true), Ok(()));
    }

    #[test]
    fn a_request_is_due_when_the_schedule_says_that_holds_by_now() {
        let (paused, length) = (Nanos::from_secs(2), Nanos::from_secs(60));
        let schedule = planned();
        let course = Course::new(Arc::new(schedule.clone()), true);
        let before = wanted(&schedule, 301);
        let due = |wanted: &[Wanted], version| last_due(wanted, version, Some(&course));
        assert_eq!(due(&before, 0), Some(Nanos::from_secs(3)));
        // In a pause nothing is due, whenever it was stamped.
        let held = schedule.changed(paused, Change::Pause(crate::plan::schedule::FOREVER));
        let in_pause = wanted(&held, 301);
        changed(&course, held);
        assert!(due(&before, 0) > Some(Nanos::from_secs(1 << 30)));
        assert_eq!(due(&in_pause, 1), in_pause.last().map(|wanted| wanted.due));
        // And when it goes on it is due when that is over, whenever it was stamped.
        changed(&course, schedule.changed(paused, Change::Pause(length)));
        for (wanted, version) in [(&before, 0), (&in_pause, 1)] {
            assert_eq!(due(wanted, version), Some(Nanos::from_secs(63)));
        }
        assert_eq!(last_due(&before, 0, None), Some(Nanos::from_secs(3)));
    }

    #[test]
    fn what_is_in_the_plan_no_more_is_not_waited_for() {
        let schedule = planned();
        let course = Course::new(Arc::new(schedule.clone()), true);
        let ahead = wanted(&schedule, 400);
        changed(&course, schedule.changed(Nanos(2_995_000_000), Change::Rate(Tps::ZERO)));
        assert_eq!(last_due(&ahead, 0, Some(&course)), Some(Nanos(2_990_000_000)));
        assert_eq!(last_due(&ahead[300..], 0, Some(&course)), None);
    }
}

//! Writer: takes completions from one worker and writes their mappings in order.
//!
//! 1. Batches are written as they come, several pipelines at once on one connection, which keeps
//!    their order.
//! 2. When the datastore is away, what was not acknowledged goes back to the front of the queue. What
//!    no longer fits into the queue goes to the journal, and so does everything after it, in order.
//! 3. When it returns, the queue is written first, then the journal, then what comes.
//! 4. At the end there is a last wait for a datastore that is away; what cannot be written then stays
//!    in the journal for `runner flush`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_local};

use crate::clock::{self, Stopwatch};
use crate::datastore::{self, Datastore};
use crate::handoff::{Batch, Receiver};
use crate::ledger::Outcome;
use crate::mapping::form::{Form, Response};
use crate::mapping::journal::{Journal, ReadBack};
use crate::mapping::verify::LastWritten;
use crate::mapping::{Error, Totals};
use crate::plan::keys::Keys;

/// Pipelines on their way at once.
const IN_FLIGHT: usize = 4;

/// Completions that wait in memory while the datastore is away.
const QUEUE_ITEMS: usize = 65_536;

/// Responses of one pipeline out of the journal.
const JOURNAL_ITEMS: usize = 500;

/// How often an absent datastore is looked for, and waiting completions are taken in meanwhile.
const LOOK: Duration = Duration::from_millis(20);

/// Refusals after which a later attempt may succeed.
const PASSING: [&str; 9] =
    ["OOM", "READONLY", "MISCONF", "NOREPLICAS", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "BUSY", "TRYAGAIN"];

/// What a writer works with.
#[derive(Debug)]
pub struct Parts {
    /// Completions of one worker.
    pub source: Receiver<Batch>,
    /// The worker's number.
    pub worker: u64,
    /// How mappings look.
    pub form: Arc<Form>,
    /// Which record a request is for.
    pub keys: Arc<Keys>,
    /// Ports of the target's addresses.
    pub ports: Arc<[u16]>,
    /// Where to write.
    pub datastore: Datastore,
    /// Where to keep what cannot be written.
    pub journal: Journal,
    /// What was written last, for the check at the end.
    pub last_written: Arc<LastWritten>,
    /// How long to wait at the end for a datastore that is away.
    pub patience: Duration,
    /// Whether not even that should be waited for.
    pub hurry: Hurry,
}

/// Says whether the run was told to end at once.
pub struct Hurry(pub Box<dyn Fn() -> bool>);

impl std::fmt::Debug for Hurry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Hurry").field(&(self.0)()).finish()
    }
}

/// Responses on their way to the datastore.
#[derive(Debug)]
struct Load {
    batch: Box<Batch>,
    from_journal: bool,
}

impl Load {
    fn responses(&self) -> impl Iterator<Item = &crate::handoff::Completion> {
        self.batch.items.iter().filter(|item| item.outcome == Outcome::Matched)
    }

    fn count(&self) -> usize {
        self.responses().count()
    }
}

type Written = (Load, Result<Vec<Result<(), String>>, datastore::Error>, Duration);

struct Writer<S> {
    parts: Parts,
    see: S,
    queue: VecDeque<Load>,
    queued_items: usize,
    in_flight: VecDeque<JoinHandle<Written>>,
    /// Responses of the journal that are on their way.
    journal_in_flight: bool,
    /// Responses of the journal that have been worked off since it was last empty.
    journal_done: u64,
    away: bool,
    /// Waits until the datastore is back. Kept from one look to the next: connecting may take longer.
    looking: Option<JoinHandle<Result<(), datastore::Error>>>,
    /// Responses that were refused for a reason that passes.
    refused: Option<Journal>,
    totals: Totals,
}

/// Writes until the worker is done and everything is written or in the journal. `see` is shown each
/// batch before it is written.
///
/// # Errors
/// When the journal cannot be written, or `see` fails.
pub async fn run<E: From<Error>>(
    parts: Parts,
    see: impl FnMut(&Batch) -> Result<(), E>,
) -> Result<Totals, E> {
    let mut writer = Writer {
        parts,
        see,
        queue: VecDeque::new(),
        queued_items: 0,
        in_flight: VecDeque::new(),
        journal_in_flight: false,
        journal_done: 0,
        away: false,
        looking: None,
        refused: None,
        totals: Totals::default(),
    };
    writer.write_all().await?;
    Ok(writer.totals)
}

impl<S> Writer<S> {
    async fn write_all<E: From<Error>>(&mut self) -> Result<(), E>
    where
        S: FnMut(&Batch) -> Result<(), E>,
    {
        let bell = self.parts.source.bell();
        loop {
            self.take_in()?;
            if !self.away {
                self.send_more()?;
            }
            if self.away {
                if self.parts.source.is_finished() {
                    return Ok(self.give_it_time().await?);
                }
                self.look_for_it().await;
            } else if let Some(mut front) = self.in_flight.pop_front() {
                let has_room = self.in_flight.len() + 1 < IN_FLIGHT;
                tokio::select! {
                    written = &mut front => self.written(written.ok()).await?,
                    () = bell.notified(), if has_room => self.in_flight.push_front(front),
                }
            } else if self.parts.source.is_finished() && self.queue.is_empty() {
                return Ok(());
            } else if self.queue.is_empty() && self.parts.journal.pending() == 0 {
                bell.notified().await;
            }
        }
    }

    /// Takes what has come from the worker into the queue, or into the journal.
    fn take_in<E: From<Error>>(&mut self) -> Result<(), E>
    where
        S: FnMut(&Batch) -> Result<(), E>,
    {
        let mut journaled = false;
        while let Some(batch) = self.parts.source.try_recv() {
            (self.see)(&batch)?;
            let load = Load { batch, from_journal: false };
            let count = load.count();
            if count == 0 {
                self.parts.source.recycle(load.batch);
            } else if self.parts.journal.pending() > 0 || self.queued_items + count > QUEUE_ITEMS {
                self.append(&load)?;
                journaled = true;
                self.parts.source.recycle(load.batch);
            } else {
                self.queued_items += count;
                self.queue.push_back(load);
            }
            if !self.away && self.queue.len() >= IN_FLIGHT * 2 {
                break;
            }
        }
        if journaled {
            self.parts.journal.flush()?;
        }
        Ok(())
    }

    fn append(&mut self, load: &Load) -> Result<(), Error> {
        let keys = self.parts.keys.clone();
        self.parts.journal.append(&load.batch, |n| keys.id_of(n))
    }

    /// Sends the queue, then the journal, while there is room on the way.
    fn send_more(&mut self) -> Result<(), Error> {
        while self.in_flight.len() < IN_FLIGHT {
            if let Some(load) = self.queue.pop_front() {
                self.queued_items -= load.count();
                self.send(load);
            } else if self.parts.journal.pending() > 0 && !self.journal_in_flight {
                let ReadBack { batch, .. } = self.parts.journal.read(JOURNAL_ITEMS)?;
                self.journal_in_flight = true;
                self.send(Load { batch: Box::new(batch), from_journal: true });
            } else {
                break;
            }
        }
        Ok(())
    }

    fn send(&mut self, load: Load) {
        let (datastore, form) = (self.parts.datastore.clone(), self.parts.form.clone());
        let (keys, ports) = (self.parts.keys.clone(), self.parts.ports.clone());
        self.in_flight.push_back(spawn_local(async move {
            let watch = Stopwatch::start();
            let responses: Vec<Response<'_>> = load
                .responses()
                .map(|item| response_of(item, &load.batch, keys.id_of(item.n), &ports))
                .collect();
            let result = form.write(&datastore, &responses).await;
            drop(responses);
            (load, result, watch.elapsed())
        }));
    }

    /// One pipeline has come back.
    async fn written(&mut self, written: Option<Written>) -> Result<(), Error> {
        let Some((load, result, took)) = written else { return Ok(()) };
        match result {
            Ok(results) => self.acknowledged(load, &results, took),
            Err(error) if error.is_away() => self.went_away(load).await,
            Err(error) => {
                // The server refuses the whole pipeline: each response has failed with its words.
                let refused = vec![Err(error.to_string()); load.count()];
                self.acknowledged(load, &refused, took)
            }
        }
    }

    fn acknowledged(
        &mut self,
        load: Load,
        results: &[Result<(), String>],
        took: Duration,
    ) -> Result<(), Error> {
        self.totals.slowest_write = self.totals.slowest_write.max(took);
        let mut deferred = Batch::default();
        for (item, result) in load.responses().zip(results) {
            let body = &load.batch.bytes[item.body.start as usize..item.body.end as usize];
            match result {
                Ok(()) => {
                    self.totals.mapped += 1;
                    let record = self.parts.keys.index_of(item.n);
                    self.parts.last_written.wrote(self.parts.worker, record, body);
                }
                Err(text) => {
                    self.totals.refuse(text);
                    self.totals.map_failed += 1;
                    if PASSING.iter().any(|passing| text.contains(passing)) {
                        let start = deferred.bytes.len() as u32;
                        deferred.bytes.extend_from_slice(body);
                        let body = start..deferred.bytes.len() as u32;
                        deferred.items.push(crate::handoff::Completion { body, ..item.clone() });
                    }
                }
            }
        }
        if load.from_journal {
            self.journal_in_flight = false;
            let worked_off = load.batch.items.len() as u64;
            self.journal_done += worked_off;
            self.parts.journal.done(worked_off)?;
            if self.parts.journal.pending() == 0 {
                self.journal_done = 0;
            }
        } else {
            self.parts.source.recycle(load.batch);
        }
        self.keep(deferred)
    }

    /// Keeps what was refused for now in a journal of its own, which this run does not touch again.
    fn keep(&mut self, deferred: Batch) -> Result<(), Error> {
        if deferred.items.is_empty() {
            return Ok(());
        }
        self.totals.journaled += deferred.items.len() as u64;
        let keys = self.parts.keys.clone();
        let journal = self.refused.get_or_insert_with(|| self.parts.journal.beside("refused"));
        journal.append(&deferred, |n| keys.id_of(n))?;
        journal.flush()
    }

    /// The datastore is away: everything on its way goes back to the front, in order.
    async fn went_away(&mut self, first: Load) -> Result<(), Error> {
        self.away = true;
        self.totals.outages += 1;
        let mut back = vec![first];
        while let Some(next) = self.in_flight.pop_front() {
            let Ok((load, result, took)) = next.await else { continue };
            match result {
                Ok(results) => self.acknowledged(load, &results, took)?,
                Err(_) => back.push(load),
            }
        }
        for load in back.into_iter().rev() {
            if load.from_journal {
                self.journal_in_flight = false;
                self.parts.journal.rewind(self.journal_done);
            } else {
                self.queued_items += load.count();
                self.queue.push_front(load);
            }
        }
        Ok(())
    }

    async fn look_for_it(&mut self) {
        let datastore = &self.parts.datastore;
        let looking = self.looking.get_or_insert_with(|| {
            let datastore = datastore.clone();
            spawn_local(async move { datastore.back().await })
        });
        if let Some(looked) = clock::timeout(LOOK, looking).await {
            self.looking = None;
            self.away = !matches!(looked, Ok(Ok(())));
        }
    }

    /// The run is over and the datastore is away: waits for it a last time, then leaves the rest to
    /// the journal.
    async fn give_it_time(&mut self) -> Result<(), Error> {
        let watch = Stopwatch::start();
        while watch.elapsed() < self.parts.patience && !(self.parts.hurry.0)() {
            self.look_for_it().await;
            while !self.away {
                self.send_more()?;
                let Some(next) = self.in_flight.pop_front() else { return Ok(()) };
                self.written(next.await.ok()).await?;
            }
        }
        // What waits in memory is older than what is in the journal, so the order is lost here; a
        // record that was sent more than once may end with an older response of this run.
        let queue: Vec<Load> = self.queue.drain(..).collect();
        for load in &queue {
            self.append(load)?;
        }
        self.parts.journal.flush()?;
        let left = self.parts.journal.pending();
        self.totals.map_failed += left;
        self.totals.journaled += left;
        Ok(())
    }
}

fn response_of<'a>(
    item: &crate::handoff::Completion,
    batch: &'a Batch,
    record: u64,
    ports: &Arc<[u16]>,
) -> Response<'a> {
    Response {
        record,
        n: item.n,
        port: ports.get(usize::from(item.address)).copied().unwrap_or(0),
        slot: item.slot,
        generation: item.generation,
        due_ns: item.due_ns,
        sent_ns: item.sent_ns,
        received_ns: item.received_ns,
        body: &batch.bytes[item.body.start as usize..item.body.end as usize],
    }
}

/// Writes what a run has left in its journal. What is refused stays in it. Returns what became of all.
///
/// # Errors
/// When the journal cannot be used or the datastore is away.
pub async fn flush(journal: &mut Journal, datastore: &Datastore) -> Result<Totals, Error> {
    let form = Form::new(journal.header().mapping.clone())?;
    let ports: Arc<[u16]> = journal.header().ports.clone().into();
    let mut totals = Totals::default();
    // An empty journal, which has only its first line, goes too.
    journal.done(0)?;
    let mut left = journal.successor();
    let mut unread = journal.pending();
    while unread > 0 {
        let ReadBack { batch, records } = journal.read(JOURNAL_ITEMS)?;
        if records.is_empty() {
            return Err(journal.shortened());
        }
        unread -= records.len() as u64;
        let responses: Vec<Response<'_>> = batch
            .items
            .iter()
            .zip(&records)
            .map(|(item, &record)| response_of(item, &batch, record, &ports))
            .collect();
        let results = form.write(datastore, &responses).await?;
        for (at, result) in results.iter().enumerate() {
            match result {
                Ok(()) => totals.mapped += 1,
                Err(text) => {
                    totals.refuse(text);
                    totals.map_failed += 1;
                    left.append_one(&batch, &batch.items[at], records[at])?;
                }
            }
        }
    }
    journal.succeed(left)?;
    Ok(totals)
}

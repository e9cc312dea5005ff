//! Lane: the thread beside each worker that does everything which must not disturb it. It reads
//! records, lets Lua shape them, and takes completions: shows them to the `response` hook and to
//! `requests.csv`, and writes the mappings. Feed and mapping share one script, as hooks expect.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::LocalSet;

use crate::app::error::Error;
use crate::clock::Clock;
use crate::datastore::{self, Datastore};
use crate::engine::{Cause, Control};
use crate::feed::payload::Payloads;
use crate::feed::{self, Kept};
use crate::handoff::{Batch, Chunk, Completion, Receiver, Sender};
use crate::ledger::Outcome;
use crate::mapping;
use crate::mapping::form::Form;
use crate::mapping::journal::Journal;
use crate::mapping::verify::LastWritten;
use crate::mapping::writer;
use crate::plan::course::Course;
use crate::plan::keys::Keys;
use crate::plan::mix::Mix;
use crate::plan::segment::Share;
use crate::records::generator::Generator;
use crate::report::requests::RequestsCsv;
use crate::script::{self, Record, Reply, Script, Tallies};
use crate::units::Nanos;
use crate::wire::Codec;

/// What the lanes of a run share.
#[derive(Debug, Clone)]
pub(super) struct Common {
    /// `None` in the closed model.
    pub course: Option<Arc<Course>>,
    pub mix: Arc<Mix>,
    pub payloads: Arc<Payloads>,
    /// Records are made from the template, and not looked for.
    pub made_records: bool,
    pub keys: Arc<Keys>,
    pub generator: Arc<Generator>,
    pub datastore: datastore::Config,
    pub on_missing: feed::OnMissing,
    pub codec: Codec,
    pub script: Option<script::Config>,
    pub workers: u64,
    pub chunk: usize,
    pub clock: Arc<OnceLock<Clock>>,
    pub max_lateness: Nanos,
    pub patience: Duration,
    pub control: Arc<Control>,
    pub form: Option<Arc<Form>>,
    pub ports: Arc<[u16]>,
    pub last_written: Arc<LastWritten>,
    pub requests: Option<Arc<RequestsCsv>>,
}

/// What one lane has for itself.
#[derive(Debug)]
pub(super) struct Own {
    pub worker: u64,
    pub share: Share,
    pub payloads: Sender<Chunk>,
    pub completions: Option<Receiver<Batch>>,
    pub journal: Option<Journal>,
    /// The summary of the run for the `done` hook; closed without one where there is nothing to say.
    pub summary: oneshot::Receiver<serde_json::Value>,
}

/// What a lane has done.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub feed: feed::Totals,
    pub mapping: mapping::Totals,
    pub tallies: Tallies,
}

/// What a lane tells the run.
#[derive(Debug)]
pub(super) enum Event {
    /// Something failed for good. The lane goes on to account for what was sent.
    Failed(Error),
    /// All payloads were given and all completions taken.
    Settled(Box<Totals>),
    /// The `done` hook has run.
    Done(Option<Error>),
}

/// Runs a lane on the calling thread.
pub(super) fn run(common: Common, own: Own, events: mpsc::Sender<Event>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(source) => {
            let _ = events.send(Event::Failed(Error::System { what: "start a runtime", source }));
            return;
        }
    };
    let control = common.control.clone();
    let done = LocalSet::new().block_on(&runtime, work(common, own, &events));
    if let Err(error) = done {
        fail(error, &control, &events);
        // Nothing was fed and nothing taken: the run must not wait for the account of this lane.
        let _ = events.send(Event::Settled(Box::default()));
    }
}

/// Tells the run what has failed, and ends it: in this order, so that what ends a run which nobody has interrupted is
/// on its way to whoever asks why.
fn fail(error: Error, control: &Control, events: &mpsc::Sender<Event>) {
    // A run that is gone needs no lane.
    let _ = events.send(Event::Failed(error));
    control.drain(Cause::Failed);
}

async fn work(common: Common, own: Own, events: &mpsc::Sender<Event>) -> Result<(), Error> {
    let datastore = Datastore::connect(&common.datastore).await?;
    let script = match &common.script {
        None => None,
        Some(config) => {
            let mut script = Script::load(config)?;
            script.setup(own.worker as u32, common.workers as u32)?;
            Some(Rc::new(RefCell::new(script)))
        }
    };
    let wants_replies = script.as_ref().is_some_and(|script| script.borrow().hooks().response);
    let kept: Option<Kept> = wants_replies.then(Kept::default);
    let feeding = feed::run(feed::Parts {
        course: common.course.clone(),
        keys: common.keys.clone(),
        share: own.share,
        generator: common.generator.clone(),
        mix: common.mix.clone(),
        payloads: common.payloads.clone(),
        datastore: (!common.made_records).then(|| datastore.clone()),
        on_missing: common.on_missing,
        script: script.clone(),
        keep: kept.clone(),
        codec: common.codec,
        sink: own.payloads,
        chunk: common.chunk,
        clock: common.clock.clone(),
        max_lateness: common.max_lateness,
    });
    // What fails is told at once. Completions may come to no end before it is: a worker that is ready waits for time
    // zero, which never comes for a run whose feed has failed.
    let feeding = async {
        feeding.await.unwrap_or_else(|error| {
            fail(error.into(), &common.control, events);
            feed::Totals::default()
        })
    };
    let taking =
        take_completions(&common, own.worker, own.completions, own.journal, datastore, script.clone(), kept);
    let (feed, taken) = tokio::join!(feeding, taking);
    let mapping = taken.unwrap_or_else(|error| {
        fail(error, &common.control, events);
        mapping::Totals::default()
    });
    let tallies = script.as_ref().map(|script| script.borrow().tallies()).unwrap_or_default();
    let totals = Totals { feed, mapping, tallies };
    let _ = events.send(Event::Settled(Box::new(totals)));
    let mut failed = None;
    if let (Ok(summary), Some(script)) = (own.summary.await, &script) {
        failed = script.borrow_mut().done(&summary).err().map(Error::from);
    }
    let _ = events.send(Event::Done(failed));
    Ok(())
}

/// Shows completions to whoever wants to see them and writes mappings, until the worker is done.
async fn take_completions(
    common: &Common,
    worker: u64,
    source: Option<Receiver<Batch>>,
    journal: Option<Journal>,
    datastore: Datastore,
    script: Option<Rc<RefCell<Script>>>,
    kept: Option<Kept>,
) -> Result<mapping::Totals, Error> {
    let Some(source) = source else { return Ok(mapping::Totals::default()) };
    let mut failed: Option<Error> = None;
    let see = |batch: &Batch| -> Result<(), Error> {
        // After a first failure the run drains; responses are still mapped, but no longer shown.
        if failed.is_none()
            && let Err(error) = show(common, batch, script.as_deref(), kept.as_ref())
        {
            common.control.drain(Cause::Failed);
            failed = Some(error);
        }
        Ok(())
    };
    let totals = match (&common.form, journal) {
        (Some(form), Some(journal)) => {
            let parts = writer::Parts {
                source,
                worker,
                form: form.clone(),
                keys: common.keys.clone(),
                ports: common.ports.clone(),
                datastore,
                journal,
                last_written: common.last_written.clone(),
                patience: common.patience,
                hurry: writer::Hurry(Box::new({
                    let control = common.control.clone();
                    move || control.is_stopping_now()
                })),
            };
            writer::run(parts, see).await.inspect_err(|_| common.control.drain(Cause::Failed))?
        }
        _ => {
            only_see(source, see).await.inspect_err(|_| common.control.drain(Cause::Failed))?;
            mapping::Totals::default()
        }
    };
    failed.map_or(Ok(totals), Err)
}

async fn only_see(
    mut source: Receiver<Batch>,
    mut see: impl FnMut(&Batch) -> Result<(), Error>,
) -> Result<(), Error> {
    let bell = source.bell();
    loop {
        while let Some(batch) = source.try_recv() {
            see(&batch)?;
            source.recycle(batch);
        }
        if source.is_finished() {
            return Ok(());
        }
        bell.notified().await;
    }
}

fn show(
    common: &Common,
    batch: &Batch,
    script: Option<&RefCell<Script>>,
    kept: Option<&Kept>,
) -> Result<(), Error> {
    if let Some(requests) = &common.requests {
        requests.batch(batch, |n, out| common.generator.key(common.keys.id_of(n), out))?;
    }
    let (Some(script), Some(kept)) = (script, kept) else { return Ok(()) };
    let mut script = script.borrow_mut();
    let mut key = Vec::new();
    for item in &batch.items {
        let value = kept.borrow_mut().remove(&item.n);
        if item.outcome == Outcome::Matched {
            let body = &batch.bytes[item.body.start as usize..item.body.end as usize];
            reply_to_hook(common, &mut script, item, body, value.as_deref().unwrap_or_default(), &mut key)?;
        }
    }
    Ok(())
}

fn reply_to_hook(
    common: &Common,
    script: &mut Script,
    item: &Completion,
    body: &[u8],
    value: &[u8],
    key: &mut Vec<u8>,
) -> Result<(), Error> {
    let id = common.keys.id_of(item.n);
    key.clear();
    common.generator.key(id, key);
    let us = |ns: u64| (ns + 500) / 1000;
    let record = Record { id, key, value, seq: item.n, due: Nanos(item.due_ns) };
    let reply = Reply {
        id: body,
        body,
        service_us: us(item.received_ns.saturating_sub(item.sent_ns)),
        response_us: us(item.received_ns.saturating_sub(item.due_ns)),
    };
    Ok(script.response(&record, &reply)?)
}

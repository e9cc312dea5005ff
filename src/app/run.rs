//! One run, top to bottom: prepare, start the parts, wait for all to be ready, time zero, collect,
//! drain, verify, sum up, report.

mod collect;
mod conclude;
mod interrupt;
mod search;
mod series;
mod simulated;
mod steering;
mod ui;

pub(super) use conclude::decided;
pub(super) use series::{runs_of, worst};

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, OnceLock, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::app::compare::{Baseline, only_one_run};
use crate::app::error::{Error, exit};
use crate::app::prepare::{Prepared, SCRIPT_COPY, prepare};
use crate::app::{colour, dry_run, flush, lane, parts, say, to_stdout};
use crate::cli::RunArgs;
use crate::clock::{self, Clock};
use crate::engine::{self, Control, Gauges};
use crate::feed;
use crate::handoff::{self, Batch, Chunk};
use crate::mapping::form::{self, Form};
use crate::mapping::journal::{Header, Journal};
use crate::mapping::verify::{Extent, LastWritten};
use crate::plan::keys::Keys;
use crate::plan::preflight::{Concern, Machine, Preflight};
use crate::recorder::shard::Window;
use crate::recorder::summary::Summary;
use crate::records::generator::Generator;
use crate::report::compare::Compared;
use crate::report::counts::CountsCsv;
use crate::report::progress::{self, Mode, Progress};
use crate::report::requests::RequestsCsv;
use crate::report::{self, Folder};
use crate::responder::Responder;
use crate::scenario::schema::{Addresses, Source};
use crate::simulation::Dial;
use crate::steer::Steering;
use crate::store;

/// Batches of completions that may lie between a worker and its lane.
const BATCHES: usize = 64;

/// Which log lines are shown, unless `RUST_LOG` says otherwise.
const LOG_FILTER: &str = "warn,runner=info";

/// Time between the last worker being ready and time zero.
const LEAD: Duration = Duration::from_millis(2);

/// Runs a scenario, or prints its plan.
pub(super) fn run(args: &RunArgs) -> Result<u8, Error> {
    let path = args.scenario.clone().unwrap_or_default();
    let mut rows = prepare(&path, &args.overrides, args.segment)?;
    let (is_search, is_series) = (search::is_search(&rows), series::is_series(&rows));
    if let Some(baseline) = args.baseline.as_ref().filter(|_| is_search || is_series) {
        return Err(only_one_run(baseline));
    }
    if is_search {
        return search::run(args, &path, rows);
    }
    if is_series {
        return series::run(args, &path, rows);
    }
    let Some(prepared) = rows.pop() else { return Ok(exit::PASSED) };
    run_one(args, &path, prepared)
}

/// Runs one plan, or prints it.
pub(super) fn run_one(args: &RunArgs, path: &Path, prepared: Prepared) -> Result<u8, Error> {
    let mut order = Order::new(path, prepared, args.run_id.clone(), args.out.clone());
    if args.dry_run {
        let sheet = order.sheet();
        let text = if args.json { sheet.json() } else { sheet.text() };
        return Ok(to_stdout(text.as_bytes()));
    }
    simulated::announce(args, &order.prepared.loaded.scenario);
    order.check(args)?;
    order.baseline = Baseline::of(args, &order.prepared.plan, &order.prepared.loaded.scenario)?;
    let mode = start_logging(args)?;
    let interrupts = Rc::new(interrupt::Interrupts::watch(args.quiet)?);
    let ui = Rc::new(ui::Ui::start(args)?);
    let carried = order.carry_out(args, mode, &interrupts, &ui, (1, 1));
    let (mut run, summary) = match carried {
        Ok(done) => done,
        Err(error) => {
            finish(ui, &interrupts);
            return Err(error);
        }
    };
    let code = summary.verdict.exit_code;
    let keeps_store = run.keeps_store(args.keep_store);
    run.interrupts.forget_earlier();
    run.show(&summary, keeps_store);
    if keeps_store {
        run.interrupts.wait_for_next();
    }
    drop(run);
    finish(ui, &interrupts);
    Ok(code)
}

/// What `plan.json` holds of a run that was not made here.
pub(super) fn plan_json(prepared: &Prepared, run_id: &str, folder: &Path, simulated: bool) -> String {
    let path = folder.join("effective.yaml");
    let (run_id, folder) = (Some(run_id.to_string()), Some(folder.to_path_buf()));
    Order { simulated, ..Order::new(&path, prepared.clone(), run_id, folder) }.sheet().json()
}

/// Tells those who look that nothing follows.
fn finish(ui: Rc<ui::Ui>, interrupts: &interrupt::Interrupts) {
    // The runs that knew it are gone.
    if let Some(ui) = Rc::into_inner(ui) {
        ui.finish(interrupts);
    }
}

/// Log lines beside the bars. Once in a process.
fn start_logging(args: &RunArgs) -> Result<Mode, Error> {
    let mode = Mode::of_stderr(args.quiet);
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| LOG_FILTER.to_string());
    progress::init_logging(mode, &filter)?;
    Ok(mode)
}

/// One run that is to be: its plan, what it needs, and where its files go.
struct Order {
    path: PathBuf,
    prepared: Prepared,
    machine: Machine,
    preflight: Preflight,
    concerns: Vec<Concern>,
    run_id: String,
    folder: PathBuf,
    /// What the run is held against.
    baseline: Option<Baseline>,
    /// Why it must go as it was planned, where that does not follow from its plan.
    fixed: Option<&'static str>,
    /// Whether a model answers and nothing is sent.
    simulated: bool,
}

impl Order {
    /// `run_id`: its name, instead of one from the clock. `folder`: the run folder, instead of a new one under
    /// `report.dir`.
    fn new(path: &Path, prepared: Prepared, run_id: Option<String>, folder: Option<PathBuf>) -> Order {
        let machine = parts::machine();
        let preflight = Preflight::of(&prepared.plan, parts::target(&prepared.loaded.scenario), machine);
        let concerns = preflight.concerns(&prepared.plan);
        let run_id = run_id.unwrap_or_else(|| report::run_id(&prepared.plan.name, clock::wall()));
        let folder = folder.unwrap_or_else(|| prepared.loaded.scenario.report.dir.join(&run_id));
        Order {
            path: path.to_path_buf(),
            prepared,
            machine,
            preflight,
            concerns,
            run_id,
            folder,
            baseline: None,
            fixed: None,
            simulated: false,
        }
    }

    /// One of several runs, or of a search, in which each counts for what it was planned to be.
    fn of_several(path: &Path, prepared: Prepared, folder: PathBuf) -> Order {
        let fixed =
            Some("this is one of several runs, which are held against each other; it can only be stopped");
        Order { fixed, ..Order::new(path, prepared, None, Some(folder)) }
    }

    fn sheet(&self) -> dry_run::Sheet<'_> {
        dry_run::Sheet {
            path: &self.path,
            prepared: &self.prepared,
            preflight: self.preflight,
            concerns: &self.concerns,
            folder: &self.folder,
            simulated: self.simulated,
        }
    }

    /// Whether the machine has what the plan needs. What it lacks without being in the way is said; a
    /// simulation needs nothing of it.
    fn check(&self, args: &RunArgs) -> Result<(), Error> {
        for concern in &self.concerns {
            if concern.fatal && !args.simulate {
                return Err(Error::Preflight(concern.clone()));
            }
            if !args.quiet {
                concern_in_words(concern);
            }
        }
        Ok(())
    }

    /// Runs it and writes its files.
    fn carry_out(
        self,
        args: &RunArgs,
        mode: Mode,
        interrupts: &Rc<interrupt::Interrupts>,
        ui: &Rc<ui::Ui>,
        turn: (u64, u64),
    ) -> Result<(Run, Summary), Error> {
        let carried = self.carried(args, mode, interrupts, ui, turn);
        ui.ended(carried.as_ref().map(|(_, summary)| summary));
        carried
    }

    fn carried(
        self,
        args: &RunArgs,
        mode: Mode,
        interrupts: &Rc<interrupt::Interrupts>,
        ui: &Rc<ui::Ui>,
        turn: (u64, u64),
    ) -> Result<(Run, Summary), Error> {
        let mut run = self.begin(args, mode, interrupts, ui)?;
        let begins = ui::Begins {
            plan: &run.prepared.plan,
            scenario: &run.prepared.loaded.scenario,
            run_id: &run.run_id,
            folder: run.folder.path(),
            can_change: run.wheel.can_change(),
        };
        ui.begin(&begins, turn, run.steering.clone());
        let mut summary = run.execute()?;
        run.keep_books(&mut summary);
        Ok((run, summary))
    }

    /// Writes what is known beforehand, and starts every part.
    fn begin(
        mut self,
        args: &RunArgs,
        mode: Mode,
        interrupts: &Rc<interrupt::Interrupts>,
        ui: &Rc<ui::Ui>,
    ) -> Result<Run, Error> {
        let folder = Folder::create(&self.folder)?;
        if !flush::journals(folder.path())?.is_empty() {
            return Err(Error::JournalLeft(self.folder));
        }
        folder.begin_anew()?;
        self.simulated = args.simulate;
        folder.write(report::PLAN, self.sheet().json().as_bytes())?;
        let effective = self.prepared.loaded.effective_yaml().unwrap_or_else(|error| format!("# {error}\n"));
        folder.write("effective.yaml", effective.as_bytes())?;
        if let Some(script) = &self.prepared.script {
            folder.write(SCRIPT_COPY, script.source.as_bytes())?;
        }
        match args.simulate {
            true => Run::simulated(args, self, folder, mode, interrupts.clone(), ui.clone()),
            false => Run::start(args, self, folder, mode, interrupts.clone(), ui.clone()),
        }
    }
}

/// A run with all its parts.
struct Run {
    path: PathBuf,
    machine: Machine,
    prepared: Prepared,
    run_id: String,
    folder: Folder,
    quiet: bool,
    json: bool,
    control: Arc<Control>,
    store: Option<store::Handle>,
    responder: Option<Responder>,
    form: Option<Arc<Form>>,
    last_written: Arc<LastWritten>,
    requests: Option<Arc<RequestsCsv>>,
    /// The latencies of the run, when it is over.
    counts: Option<CountsCsv>,
    datastore: crate::datastore::Config,
    crew: Crew,
    /// What the run is held against when it is over.
    baseline: Option<Baseline>,
    /// What that came to.
    compared: Option<Compared>,
    progress: Option<Progress>,
    interrupts: Rc<interrupt::Interrupts>,
    ui: Rc<ui::Ui>,
    /// Where the run is asked to change. May be cloned before it begins.
    steering: Steering,
    wheel: steering::Wheel,
    /// Where the clock of a simulation stands; `None` in a real run.
    dial: Option<Arc<Dial>>,
}

/// The threads of a run and how they are reached.
struct Crew {
    workers: u64,
    clock: Arc<OnceLock<Clock>>,
    gauges: Vec<Arc<Gauges>>,
    starts: Vec<oneshot::Sender<Clock>>,
    windows_back: Vec<mpsc::Sender<Window>>,
    summaries: Vec<oneshot::Sender<serde_json::Value>>,
    events: mpsc::Receiver<(u64, engine::Event)>,
    lane_events: mpsc::Receiver<lane::Event>,
    /// What lanes told before all workers were ready: a short load may be fed by then.
    early: Vec<lane::Event>,
    /// What workers told by then of connections.
    early_events: Vec<(u64, engine::Event)>,
    threads: Vec<JoinHandle<()>>,
}

impl Run {
    /// Starts every part, so that only time zero is missing.
    fn start(
        args: &RunArgs,
        order: Order,
        folder: Folder,
        mode: Mode,
        interrupts: Rc<interrupt::Interrupts>,
        ui: Rc<ui::Ui>,
    ) -> Result<Run, Error> {
        let Order { path, prepared, machine, run_id, baseline, fixed, .. } = order;
        let scenario = &prepared.loaded.scenario;
        let control = Arc::new(Control::default());
        interrupts.attend(&control);
        let store = match scenario.redis.is_embedded() {
            true => Some(store::Server::start(parts::store(scenario))?),
            false => None,
        };
        let url =
            store.as_ref().map_or(scenario.redis.url.clone(), |store| format!("redis://{}", store.addr()));
        let datastore = crate::datastore::Config { url, timeout: scenario.redis.timeout.as_duration() };
        let (responder, addresses) = match &scenario.target.addresses {
            Addresses::Given(typed) => (None, parts::addresses(typed)?),
            Addresses::Store => match &store {
                Some(store) => (None, vec![store.addr()]),
                None => (None, parts::store_address(&scenario.redis.url)?),
            },
            Addresses::Responder => {
                let responder = Responder::start(&parts::responder(scenario, machine.cores))?;
                let addresses = responder.addresses().to_vec();
                (Some(responder), addresses)
            }
        };
        let form = parts::mapping(scenario, &run_id).map(Form::new).transpose()?.map(Arc::new);
        let last_written = Arc::new(LastWritten::new(
            verifiable(form.as_deref(), &prepared.plan.keys, parts::extent(scenario)),
            prepared.plan.keys.count(),
            prepared.plan.seed,
        ));
        let ports: Arc<[u16]> = addresses.iter().map(SocketAddr::port).collect();
        let requests = match scenario.report.requests {
            true => Some(Arc::new(RequestsCsv::new(&folder, ports.to_vec())?)),
            false => None,
        };
        let progress = Progress::new(&prepared.plan, mode);
        let workers = parts::workers(args.workers, machine.cores, prepared.plan.expected_connections().slots);
        let (steering, wheel) = steering::Wheel::new(&prepared.plan, scenario, fixed);
        let common = lane::Common {
            course: wheel.course.clone(),
            mix: prepared.plan.mix.clone(),
            payloads: prepared.payloads.clone(),
            made_records: scenario.records.source == Source::Template,
            keys: prepared.plan.keys.clone(),
            generator: Arc::new(Generator::seeded(
                &scenario.records.key,
                &scenario.records.template,
                scenario.seed,
            )?),
            datastore: datastore.clone(),
            on_missing: parts::on_missing(scenario),
            codec: parts::codec(&scenario.target),
            script: prepared.script.clone(),
            workers,
            chunk: feed::sizes(parts::prefetch(&prepared.plan, scenario, workers)).0,
            clock: Arc::default(),
            max_lateness: scenario.load.max_lateness,
            patience: scenario.load.graceful_stop.as_duration(),
            control: control.clone(),
            form: form.clone(),
            ports,
            last_written: last_written.clone(),
            requests: requests.clone(),
        };
        let crew = Crew::muster(&prepared, common, addresses.into(), workers, &folder)?;
        Ok(Run {
            path,
            machine,
            prepared,
            run_id,
            folder,
            quiet: args.quiet,
            json: args.json,
            control,
            store,
            responder,
            form,
            last_written,
            requests,
            counts: None,
            datastore,
            crew,
            baseline,
            compared: None,
            progress: Some(progress),
            interrupts,
            ui,
            steering,
            wheel,
            dial: None,
        })
    }

    /// Shows how it ended: the screen, the JSON, and the last line that says why.
    fn show(&mut self, summary: &Summary, keeps_store: bool) {
        self.end_progress();
        if self.json {
            let compared = self.compared.as_ref();
            to_stdout(report::screen::summary_json_against(summary, compared).as_bytes());
        }
        if !self.quiet {
            let files = self.files();
            say(&report::screen::final_screen(summary, self.folder.path(), &files, colour()));
        }
        if let Some(compared) = self.compared.as_ref().filter(|_| !self.quiet) {
            say(&report::compare::text(std::slice::from_ref(compared), colour()));
        }
        self.ui.settle(&self.interrupts);
        // A signal that has ended that wait ends the store too.
        if let Some(url) = self.store_url().filter(|_| keeps_store && !self.interrupts.hurries()) {
            say(&stays(&url));
        }
        let verdict = &summary.verdict;
        let word = if verdict.passed { "PASSED" } else { "FAILED" };
        let why = if verdict.reason.is_empty() { String::new() } else { format!(": {}", verdict.reason) };
        let simulated = if summary.simulated { " (SIMULATED)" } else { "" };
        say(&format!("{word}{simulated} {} (exit {}){why}", self.run_id, verdict.exit_code));
    }

    /// Where the embedded store is.
    fn store_url(&self) -> Option<String> {
        self.store.as_ref().map(|store| format!("redis://{}", store.addr()))
    }

    /// Takes the bars away.
    fn end_progress(&mut self) {
        if let Some(progress) = self.progress.take() {
            progress.finish();
        }
    }

    fn files(&self) -> Vec<String> {
        let mut files = parts::file_names(&self.prepared.loaded.scenario);
        if !self.prepared.plan.events.is_empty() {
            files.push(report::events::NAME.to_string());
        }
        files
    }

    /// `plan.json` as it is by now.
    fn plan_json(&self) -> String {
        let prepared = &self.prepared;
        let target = parts::target(&prepared.loaded.scenario);
        let preflight = Preflight::of(&prepared.plan, target, self.machine);
        let concerns = &preflight.concerns(&prepared.plan);
        let (path, folder) = (&self.path, self.folder.path());
        let simulated = self.dial.is_some();
        dry_run::Sheet { path, prepared, preflight, concerns, folder, simulated }.json()
    }

    /// Whether the embedded store stays up until Ctrl-C: where that was asked for.
    fn keeps_store(&self, asked: bool) -> bool {
        self.store.is_some() && (asked || self.prepared.loaded.scenario.redis.serve.is_some())
    }
}

fn concern_in_words(concern: &Concern) {
    say(&format!("warning: {}\nhint: {}", concern.message, concern.help));
}

fn stays(url: &str) -> String {
    format!("the store stays at {url} until Ctrl-C")
}

/// Reading back needs a mapping for each record, records that are named once, a field that holds the
/// response, and mappings that live.
fn verifiable(form: Option<&Form>, keys: &Keys, extent: Extent) -> Extent {
    match form {
        _ if keys.overlap() => Extent::None,
        Some(form) if form.config().ttl_ms == 0 && form.is_per_record() => match form.checked_field() {
            None if form.config().into != form::Into::String => Extent::None,
            _ => extent,
        },
        _ => Extent::None,
    }
}

impl Crew {
    /// Starts a worker and a lane for each share of the slots.
    fn muster(
        prepared: &Prepared,
        common: lane::Common,
        addresses: Arc<[SocketAddr]>,
        workers: u64,
        folder: &Folder,
    ) -> Result<Crew, Error> {
        let (events_in, events) = mpsc::channel();
        let (lane_events_in, lane_events) = mpsc::channel();
        let mut crew = Crew {
            workers,
            clock: common.clock.clone(),
            gauges: Vec::new(),
            starts: Vec::new(),
            windows_back: Vec::new(),
            summaries: Vec::new(),
            events,
            lane_events,
            early: Vec::new(),
            early_events: Vec::new(),
            threads: Vec::new(),
        };
        let (_, ring) = feed::sizes(parts::prefetch(&prepared.plan, &prepared.loaded.scenario, workers));
        for worker in 0..workers {
            let (payloads, source) = handoff::channel::<Chunk>(ring);
            let (sink, completions) = handoff::channel::<Batch>(BATCHES);
            let (start, started) = oneshot::channel();
            let (window_back, windows) = mpsc::channel();
            let (summary_in, summary) = oneshot::channel();
            let gauges = Arc::new(Gauges::default());
            let config =
                parts::worker(&prepared.plan, &prepared.loaded.scenario, addresses.clone(), worker, workers);
            let wants_any = config.all_completions || common.form.is_some();
            let plan = &prepared.plan;
            let own = lane::Own {
                worker,
                share: plan.share(worker, workers),
                payloads,
                completions: wants_any.then_some(completions),
                journal: common.form.as_ref().map(|form| journal(form, &common, folder, worker)),
                summary,
            };
            let ports = engine::Ports {
                source,
                sink: wants_any.then_some(sink),
                events: events_in.clone(),
                windows,
                start: started,
                control: common.control.clone(),
                course: common.course.clone(),
                gauges: gauges.clone(),
            };
            let (common, lane_events) = (common.clone(), lane_events_in.clone());
            crew.spawn(format!("lane-{worker}"), move || {
                let run = std::panic::AssertUnwindSafe(|| lane::run(common, own, lane_events.clone()));
                if std::panic::catch_unwind(run).is_err() {
                    // A bug of ours: it has said so on stderr, and the run must not wait for the lane.
                    let _ = lane_events.send(lane::Event::Failed(vanished("go on with a lane")));
                    let _ = lane_events.send(lane::Event::Settled(Box::default()));
                }
            })?;
            crew.spawn(format!("worker-{worker}"), move || {
                if let Err(error) = engine::run_worker(config, ports) {
                    tracing::error!("a worker stopped: {error}");
                }
            })?;
            crew.gauges.push(gauges);
            crew.starts.push(start);
            crew.windows_back.push(window_back);
            crew.summaries.push(summary_in);
        }
        Ok(crew)
    }

    fn spawn(&mut self, name: String, work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        let spawned = std::thread::Builder::new().name(name).spawn(work);
        let thread = spawned.map_err(|source| Error::System { what: "start a thread", source })?;
        self.threads.push(thread);
        Ok(())
    }
}

fn journal(form: &Form, common: &lane::Common, folder: &Folder, worker: u64) -> Journal {
    let name =
        if common.workers == 1 { "mapping.journal".to_string() } else { format!("mapping-{worker}.journal") };
    let path: PathBuf = folder.path().join(name);
    Journal::new(path, Header { mapping: form.config().clone(), ports: common.ports.to_vec() })
}

/// Ends a run that could not begin: nothing was sent, so there is nothing to account for.
fn give_up(control: &Control, starts: &mut Vec<oneshot::Sender<Clock>>, why: Error) -> Error {
    control.stop_now();
    starts.clear();
    why
}

/// What is said when a lane or a worker is gone without a word.
fn vanished(what: &'static str) -> Error {
    Error::System { what, source: std::io::Error::other("it ended without a word; the lines above say why") }
}

#[cfg(test)]
mod tests;

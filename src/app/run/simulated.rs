//! A run that is simulated: one thread takes the place of workers, lanes, store and responder. What collects,
//! judges and writes is that of every run.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::{Arc, OnceLock, mpsc};

use tokio::sync::oneshot;

use crate::app::error::Error;
use crate::app::run::interrupt::Interrupts;
use crate::app::run::steering::Wheel;
use crate::app::run::ui::Ui;
use crate::app::run::{Crew, Order, Run};
use crate::app::{lane, parts, say};
use crate::cli::RunArgs;
use crate::engine::{Cause, Control, Event, Gauges};
use crate::mapping::verify::{Extent, LastWritten};
use crate::plan::Plan;
use crate::plan::keys::Keys;
use crate::records::generator::Generator;
use crate::report::Folder;
use crate::report::progress::{Mode, Progress};
use crate::report::requests::RequestsCsv;
use crate::scenario::schema::{Address, Addresses, Scenario};
use crate::simulation::{self, Dial, Sink, Target};
use crate::units::Nanos;

/// How long the model takes to open a connection: what a connection to the machine itself takes.
const CONNECT: Nanos = Nanos(100_000);

/// The first port of the responder where the system would pick them.
const FIRST_PORT: u16 = 9000;

impl Run {
    /// Starts a simulation, so that only time zero is missing.
    pub(super) fn simulated(
        args: &RunArgs,
        order: Order,
        folder: Folder,
        mode: Mode,
        interrupts: Rc<Interrupts>,
        ui: Rc<Ui>,
    ) -> Result<Run, Error> {
        let Order { path, prepared, machine, run_id, baseline, .. } = order;
        let (plan, scenario) = (&prepared.plan, &prepared.loaded.scenario);
        takes_time(scenario, plan)?;
        let control = Arc::new(Control::default());
        interrupts.attend(&control);
        let addresses = addresses(scenario);
        let requests = match scenario.report.requests {
            true => {
                let ports = addresses.iter().map(SocketAddr::port).collect();
                Some(Arc::new(RequestsCsv::new(&folder, ports)?))
            }
            false => None,
        };
        let sink =
            requests.as_ref().map(|requests| keeps(requests, scenario, &plan.keys, &control)).transpose()?;
        let target = Target { delay: scenario.responder.delay, connect: CONNECT };
        let config = simulation::Config {
            engine: parts::worker(plan, scenario, addresses.into(), 0, 1),
            schedule: plan.closed.is_none().then(|| plan.schedule.clone()),
            mix: plan.mix.clone(),
            target,
            in_step: plan.thresholds.iter().any(|threshold| threshold.abort),
        };
        let dial = Arc::new(Dial::default());
        let (steering, wheel) = Wheel::of_simulation();
        let crew = Crew::simulated(config, sink, &control, &dial)?;
        let progress = Progress::new(plan, mode);
        let datastore = crate::datastore::Config {
            url: scenario.redis.url.clone(),
            timeout: scenario.redis.timeout.as_duration(),
        };
        let last_written = Arc::new(LastWritten::new(Extent::None, plan.keys.count(), plan.seed));
        Ok(Run {
            run_id,
            folder,
            quiet: args.quiet,
            json: args.json,
            control,
            store: None,
            responder: None,
            form: None,
            last_written,
            requests,
            counts: None,
            datastore,
            crew,
            progress: Some(progress),
            interrupts,
            baseline,
            compared: None,
            path,
            machine,
            ui,
            steering,
            wheel,
            dial: Some(dial),
            prepared,
        })
    }
}

/// Says what is simulated, and what is not.
pub(super) fn announce(args: &RunArgs, scenario: &Scenario) {
    if !args.simulate || args.quiet {
        return;
    }
    let script = match scenario.script {
        Some(_) => ", no hook of the script is called",
        None => "",
    };
    say(&format!(
        "SIMULATED: nothing is sent. A model of the target ({}) answers each request after {} (responder.delay) and \
         opens a connection in {CONNECT}. No record is read, no response is mapped{script}.",
        parts::target_in_words(scenario),
        scenario.responder.delay
    ));
}

/// Users who wait for nothing would send for ever without time passing.
fn takes_time(scenario: &Scenario, plan: &Plan) -> Result<(), Error> {
    let endless = plan.closed.as_ref().is_some_and(|closed| {
        closed.total().is_none()
            && closed.at_most.is_none()
            && closed.think.to == Nanos::ZERO
            && scenario.responder.delay == Nanos::ZERO
    });
    match endless {
        true => Err(Error::Timeless),
        false => Ok(()),
    }
}

/// Where connections would lead. No name is looked up: what is no IP address is shown as 0.0.0.0.
fn addresses(scenario: &Scenario) -> Vec<SocketAddr> {
    let of_host = |address: &Address| {
        let ip = address.host.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        (address.first_port..=address.last_port).map(move |port| SocketAddr::new(ip, port))
    };
    match &scenario.target.addresses {
        Addresses::Responder => {
            let responder = &scenario.responder;
            let first = if responder.first_port == 0 { FIRST_PORT } else { responder.first_port };
            let port = |index: u16| SocketAddr::new(responder.bind, first.saturating_add(index));
            (0..responder.ports).map(port).collect()
        }
        Addresses::Store => vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 6379))],
        Addresses::Given(typed) => typed.iter().flat_map(of_host).collect(),
    }
}

/// Writes `requests.csv`. Where that fails nothing more is sent, and the file is missing what follows.
fn keeps(
    requests: &Arc<RequestsCsv>,
    scenario: &Scenario,
    keys: &Arc<Keys>,
    control: &Arc<Control>,
) -> Result<Sink, Error> {
    let (requests, keys, control) = (Arc::downgrade(requests), keys.clone(), control.clone());
    let records = &scenario.records;
    let generator = Generator::seeded(&records.key, &records.template, scenario.seed)?;
    Ok(Box::new(move |batch| {
        let Some(requests) = requests.upgrade() else { return };
        if let Err(error) = requests.batch(batch, |n, out| generator.key(keys.id_of(n), out)) {
            tracing::error!("requests.csv ends here: failed to {error}");
            control.drain(Cause::Failed);
        }
    }))
}

impl Crew {
    /// One thread that is worker and lane in one.
    fn simulated(
        config: simulation::Config,
        sink: Option<Sink>,
        control: &Arc<Control>,
        dial: &Arc<Dial>,
    ) -> Result<Crew, Error> {
        let (events_in, events) = mpsc::channel();
        let (lane_events_in, lane_events) = mpsc::channel();
        let (start, started) = oneshot::channel();
        let (window_back, windows) = mpsc::channel();
        let gauges = Arc::new(Gauges::default());
        let ports = simulation::Ports {
            sink,
            events: events_in.clone(),
            windows,
            control: control.clone(),
            gauges: gauges.clone(),
            dial: dial.clone(),
        };
        let mut crew = Crew {
            workers: 1,
            clock: Arc::new(OnceLock::new()),
            gauges: vec![gauges],
            starts: vec![start],
            windows_back: vec![window_back],
            summaries: Vec::new(),
            events,
            lane_events,
            early: Vec::new(),
            early_events: Vec::new(),
            threads: Vec::new(),
        };
        crew.spawn("simulation".to_string(), move || {
            // Whoever is gone needs no word.
            let _ = events_in.send((0, Event::Ready));
            if started.blocking_recv().is_err() {
                return;
            }
            simulation::run(config, ports);
            let _ = lane_events_in.send(lane::Event::Settled(Box::default()));
            let _ = lane_events_in.send(lane::Event::Done(None));
        })?;
        Ok(crew)
    }
}

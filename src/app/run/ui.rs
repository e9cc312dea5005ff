//! Ui: who looks at a run while it goes: the live page, an OpenTelemetry collector, the program that has started it.
//!
//! Each has a thread of its own and takes the newest state from the [`Board`]; the collector waits for none of them.
//! Where nobody looks there is no board, and nothing is done.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use crate::app::error::Error;
use crate::app::run::interrupt::Interrupts;
use crate::app::{parts, say};
use crate::cli::RunArgs;
use crate::live::{self, Board, Change, Controlled, Facts, Moment, Phase, State, Wheel};
use crate::plan::Plan;
use crate::recorder::summary::{SecondRow, Summary};
use crate::scenario::schema::{ReportFile, Scenario};
use crate::serve::{LiveConfig, LiveServer};
use crate::steer::{Done, Steering};
use crate::telemetry::otlp::{Pusher, Settings};

/// How long the program that has started the run may take to read how it ended.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Everybody who looks at a run, and what they see.
pub(super) struct Ui {
    board: Option<RefCell<Board>>,
    wheel: Wheel,
    server: Option<LiveServer>,
    pusher: RefCell<Option<Pusher>>,
    link: Option<Link>,
}

/// The thread that tells the program which has started the run.
struct Link {
    socket: UnixStream,
    thread: JoinHandle<()>,
}

impl Ui {
    /// Starts what was asked for on the command line and in the environment.
    pub(super) fn start(args: &RunArgs) -> Result<Ui, Error> {
        let env: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with("OTEL_"))
            .collect();
        let settings = Settings::from(&env)?;
        let is_wanted = args.ui.is_some() || args.link || settings.is_some();
        let mut ui =
            Ui { board: None, wheel: Wheel::default(), server: None, pusher: RefCell::default(), link: None };
        if !is_wanted {
            return Ok(ui);
        }
        let board = Board::new();
        if let Some(listen) = args.ui {
            let config = LiveConfig {
                listen,
                token: args.ui_token.clone(),
                allowed_hosts: args.ui_allowed_hosts.clone(),
            };
            let server = LiveServer::start(config, board.watch(), ui.wheel.clone())?;
            if !args.quiet {
                say(&format!("live at http://{}/ until the run ends", server.addr()));
            }
            ui.server = Some(server);
        }
        if let Some(settings) = settings {
            let pusher = Pusher::start(settings, board.watch(), |why| tracing::warn!("{why}"))?;
            ui.pusher.replace(Some(pusher));
        }
        if args.link {
            ui.link = Some(Link::start(&board, ui.wheel.clone())?);
        }
        ui.board = Some(RefCell::new(board));
        Ok(ui)
    }

    fn with(&self, act: impl FnOnce(&mut Board)) {
        if let Some(board) = &self.board {
            act(&mut board.borrow_mut());
        }
    }

    /// Whether anybody looks.
    pub(super) fn is_on(&self) -> bool {
        self.board.is_some()
    }

    /// A run begins, one of several maybe.
    pub(super) fn begin(&self, run: &Begins<'_>, (turn, turns): (u64, u64), steering: Steering) {
        self.wheel.attend(steering);
        let Begins { plan, scenario, run_id, folder, can_change } = *run;
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
        self.with(|board| {
            let facts = Facts {
                run_id: run_id.to_string(),
                folder: folder.display().to_string(),
                has_report: parts::keeps_counts(scenario)
                    && scenario.report.files.contains(&ReportFile::Html),
                turn,
                turns,
                can_change,
                ..Facts::of(plan)
            };
            board.begin(facts, plan);
        });
    }

    /// Time zero.
    pub(super) fn started(&self, at: SystemTime) {
        self.with(|board| board.started(at));
    }

    /// A second whose requests have all ended.
    pub(super) fn second(&self, row: &SecondRow, plan: &Plan) {
        self.with(|board| board.second(row, plan));
    }

    /// Somebody has changed something, and this is the plan now.
    pub(super) fn changed(&self, done: Done, plan: &Plan, is_paused: bool) {
        let Controlled { action, rate, at_s } = done.into();
        self.with(|board| {
            board.replanned(plan, is_paused);
            board.changed(Change { at_s, action: action.word().to_string(), rate });
        });
    }

    /// A tick of the collector; what is to be told is asked for where it is time to.
    pub(super) fn tick(&self, phase: Phase, moment: impl FnOnce() -> Moment) {
        self.with(|board| {
            if board.is_due(phase) {
                board.tell(moment());
            }
        });
    }

    /// How the run stands, whenever that was told before.
    pub(super) fn tell(&self, moment: Moment) {
        self.with(|board| board.tell(moment));
    }

    /// The run has ended, and its files are written.
    pub(super) fn ended(&self, ended: Result<&Summary, &Error>) {
        self.with(|board| {
            match ended {
                Ok(summary) => board.end(summary),
                Err(error) => board.failed(error.code(), &format!("failed to {error}")),
            }
            self.push_end(board.state());
        });
    }

    /// A collector has the end of each run, also of one that another follows at once.
    fn push_end(&self, state: &State) {
        let run_id = &state.facts.run_id;
        let is_lost = match &*self.pusher.borrow() {
            Some(pusher) if !run_id.is_empty() => !pusher.ended(state.clone()),
            _ => false,
        };
        if is_lost {
            tracing::warn!("the metrics of {run_id} at its end could not be sent: the collector is too slow");
        }
    }

    /// Nothing more is measured: what is left to be sent to a collector is sent, or given up, in a bounded time and not
    /// later than with the next signal after [`Interrupts::forget_earlier`]. What there is to say of that comes before
    /// the last line.
    pub(super) fn settle(&self, interrupts: &Interrupts) {
        if let Some(pusher) = self.pusher.take() {
            pusher.finish(|| interrupts.hurries());
        }
    }

    /// Nothing follows: those who look are told, for a bounded time.
    pub(super) fn finish(self, interrupts: &Interrupts) {
        self.with(Board::close);
        // What ended a run that could not begin is not to cut what is to be told of it.
        interrupts.forget_earlier();
        self.settle(interrupts);
        if let Some(server) = self.server {
            server.finish();
        }
        if let Some(link) = self.link {
            link.finish();
        }
    }
}

/// What is known of a run when it begins.
#[derive(Clone, Copy)]
pub(super) struct Begins<'a> {
    pub plan: &'a Plan,
    pub scenario: &'a Scenario,
    pub run_id: &'a str,
    pub folder: &'a std::path::Path,
    /// Whether it can be paused and given another rate.
    pub can_change: bool,
}

impl Link {
    /// Standard input is a socket to the program that has started this one.
    fn start(board: &Board, wheel: Wheel) -> Result<Link, Error> {
        let failed = |what| move |source| Error::System { what, source };
        let open = || -> std::io::Result<(UnixStream, UnixStream)> {
            let socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
            // Standard input may be anything: only a socket has a peer.
            socket.peer_addr()?;
            // A program that does not read must not hold up the end of this one.
            socket.set_nonblocking(true)?;
            Ok((socket.try_clone()?, socket))
        };
        let (socket, ours) = open().map_err(failed("use standard input as a socket (--link)"))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed("start a runtime"))?;
        let states = board.watch();
        let tell = move || {
            runtime.block_on(async {
                let Ok(socket) = tokio::net::UnixStream::from_std(ours) else { return };
                let (reader, writer) = socket.into_split();
                live::tell_parent(reader, writer, states, wheel).await;
            });
        };
        let thread = std::thread::Builder::new().name("link".to_string()).spawn(tell);
        Ok(Link { socket, thread: thread.map_err(failed("start a thread"))? })
    }

    /// Waits until the last state is written; a reader that is stuck is cut off.
    fn finish(self) {
        let since = crate::clock::Stopwatch::start();
        while !self.thread.is_finished() && since.elapsed() < LAST_WORDS {
            crate::clock::sleep_thread(Duration::from_millis(5));
        }
        // Writing fails from now on; a peer that is gone does not mind.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        // A thread that panicked has said so on stderr.
        let _ = self.thread.join();
    }
}

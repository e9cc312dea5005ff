//! Progress: what is seen while a run goes, on stderr, and log lines that never tear it.
//!
//! On a terminal a bar and a line of numbers; elsewhere one plain line a second; or nothing.

mod counted;

use std::io::{self, IsTerminal, Write};
use std::sync::LazyLock;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::plan::Plan;
use crate::report::Error;
use crate::report::figures::{clock, grouped, micros, plain, rate};
use crate::units::{NANOS_PER_SEC, Nanos};

pub use counted::Counted;

/// The bars of the process. There is one stderr, so bars and log lines must know of each other
/// wherever they are made.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// How a run is shown while it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A bar and a line of numbers, drawn again and again.
    Bars,
    /// One plain line a second.
    Lines,
    /// Nothing, and no log lines.
    Quiet,
}

impl Mode {
    /// What fits stderr.
    pub fn of_stderr(quiet: bool) -> Mode {
        if quiet {
            Mode::Quiet
        } else if io::stderr().is_terminal() {
            Mode::Bars
        } else {
            Mode::Lines
        }
    }
}

/// The numbers of the moment.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Live {
    /// Since time zero.
    pub elapsed: Nanos,
    /// The stage, from 0.
    pub stage: usize,
    /// Requests that have come due.
    pub due: u64,
    /// Requests sent.
    pub sent: u64,
    /// Responses matched.
    pub matched: u64,
    /// Requests that failed or timed out.
    pub failed: u64,
    /// Requests dropped.
    pub dropped: u64,
    /// Requests in flight.
    pub in_flight: u64,
    /// Connections open.
    pub connections: u64,
    /// Requests per second that are planned now.
    pub rate_planned: f64,
    /// Requests per second that are sent now.
    pub rate_actual: f64,
    /// Median response time of the last seconds, in microseconds.
    pub p50_us: u64,
    /// 99th percentile of the response time of the last seconds, in microseconds.
    pub p99_us: u64,
    /// 99th percentile of the lag of the last seconds, in microseconds.
    pub lag_p99_us: u64,
}

/// Shows a run while it goes.
#[derive(Debug)]
pub struct Progress {
    /// When it ends, where that is known.
    total: Option<Nanos>,
    /// How many requests there are, where that ends it.
    requests: u64,
    stages: Vec<String>,
    is_paused: bool,
    shown: Shown,
}

#[derive(Debug)]
enum Shown {
    Bars { all: MultiProgress, bar: ProgressBar, numbers: ProgressBar },
    Lines { next_second: u64 },
    Quiet,
}

impl Progress {
    /// Begins with an empty bar.
    pub fn new(plan: &Plan, mode: Mode) -> Progress {
        Progress::on(plan, mode, &BARS)
    }

    fn on(plan: &Plan, mode: Mode, all: &MultiProgress) -> Progress {
        let shown = match mode {
            Mode::Bars => bars(all, plan),
            Mode::Lines => Shown::Lines { next_second: 0 },
            Mode::Quiet => Shown::Quiet,
        };
        let stages = plan.stages.iter().map(|stage| plain(&stage.name, 40)).collect();
        Progress { total: plan.end(), requests: plan.scheduled(), stages, is_paused: false, shown }
    }

    /// The plan is another from now on.
    pub fn follow(&mut self, plan: &Plan, is_paused: bool) {
        self.is_paused = is_paused;
        if is_paused {
            // Nobody knows when it will end.
            return;
        }
        (self.total, self.requests) = (plan.end(), plan.scheduled());
        if let Shown::Bars { bar, .. } = &self.shown {
            bar.set_length(length(plan));
        }
    }

    /// Shows the numbers of the moment. May be called as often as one likes: bars are drawn at most
    /// twenty times a second, lines written once for each second of elapsed time.
    pub fn tick(&mut self, live: &Live) {
        let stage = self.stage(live);
        let times = match self.total {
            Some(total) => format!("{}/{}", clock(live.elapsed), clock(total)),
            None => clock(live.elapsed),
        };
        match &mut self.shown {
            Shown::Bars { bar, numbers, .. } => {
                let done = self.total.map_or(live.due, |total| live.elapsed.min(total).0 / 1_000_000);
                bar.set_position(done);
                bar.set_message(format!("{times}  {stage}"));
                numbers.set_message(figures(live));
            }
            Shown::Lines { next_second } => {
                let second = live.elapsed.0 / NANOS_PER_SEC;
                if second >= *next_second {
                    *next_second = second + 1;
                    say(&format!("{times}  {stage}  {}", figures(live)));
                }
            }
            Shown::Quiet => {}
        }
    }

    /// Says something above the bars.
    pub fn message(&self, text: &str) {
        match &self.shown {
            Shown::Bars { all, .. } => all.suspend(|| say(text)),
            Shown::Lines { .. } => say(text),
            Shown::Quiet => {}
        }
    }

    /// Takes the bars away.
    pub fn finish(self) {
        if let Shown::Bars { all, bar, numbers } = self.shown {
            for line in [bar, numbers] {
                line.finish_and_clear();
                all.remove(&line);
            }
        }
    }

    /// `stage 2/4 up`, or what comes after the last.
    fn stage(&self, live: &Live) -> String {
        if self.is_paused {
            return "paused".to_string();
        }
        if self.total.map_or(live.due >= self.requests, |total| live.elapsed > total) {
            return "waiting for what is in flight".to_string();
        }
        let name = self.stages.get(live.stage).map_or("", String::as_str);
        format!("stage {}/{} {name}", live.stage.saturating_add(1).min(self.stages.len()), self.stages.len())
    }
}

/// Milliseconds of the plan, or its requests.
fn length(plan: &Plan) -> u64 {
    plan.end().map_or(plan.scheduled(), |end| end.0 / 1_000_000)
}

fn bars(all: &MultiProgress, plan: &Plan) -> Shown {
    let bar = all.add(ProgressBar::new(length(plan)));
    let numbers = all.add(ProgressBar::new_spinner());
    // The templates are constant; were one wrong, indicatif's own would be seen instead.
    if let Ok(style) = ProgressStyle::with_template("{prefix}  [{bar:30}] {percent:>3} %  {wide_msg}") {
        bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
    }
    if let Ok(style) = ProgressStyle::with_template("  {wide_msg}") {
        numbers.set_style(style);
    }
    bar.set_prefix(plain(&plan.name, 30));
    Shown::Bars { all: all.clone(), bar, numbers }
}

/// The line of numbers. A narrow terminal cuts its end, so what went wrong stands before the times.
fn figures(live: &Live) -> String {
    // Users have no plan to be held against.
    let planned =
        if live.rate_planned > 0.0 { format!("/{}", rate(live.rate_planned)) } else { String::new() };
    format!(
        "sent {}/{} due  {}{planned} per s  in flight {}  conn {}  errors {}  dropped {}  p50 {}  p99 {}  lag p99 {}",
        grouped(live.sent),
        grouped(live.due),
        rate(live.rate_actual),
        grouped(live.in_flight),
        grouped(live.connections),
        grouped(live.failed),
        grouped(live.dropped),
        micros(live.p50_us),
        micros(live.p99_us),
        micros(live.lag_p99_us),
    )
}

/// Talk goes to stderr; when that is closed nobody listens.
fn say(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Writes to stderr while the bars are out of the way. Each `write` should be whole lines.
#[derive(Debug, Clone, Copy, Default)]
pub struct BesideBars;

impl Write for BesideBars {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        BARS.suspend(|| io::stderr().lock().write_all(bytes)).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for BesideBars {
    type Writer = BesideBars;

    fn make_writer(&self) -> BesideBars {
        BesideBars
    }
}

/// Where log lines go, for a subscriber that is put together elsewhere.
pub fn make_writer() -> BesideBars {
    BesideBars
}

/// Sends log lines that pass `filter` (as in `RUST_LOG`) to stderr, beside the bars. Does nothing when
/// quiet. Once in a process.
///
/// # Errors
/// [`Error::Logging`] when the filter makes no sense or there is a subscriber already.
pub fn init_logging(mode: Mode, filter: &str) -> Result<(), Error> {
    let wrong = |why: String| Error::Logging(why);
    let directives = EnvFilter::try_new(filter).map_err(|error| {
        wrong(format!("filter `{filter}`: {error}; write it as in RUST_LOG, such as info"))
    })?;
    if mode == Mode::Quiet {
        return Ok(());
    }
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(directives)
        .with_writer(make_writer())
        .with_ansi(io::stderr().is_terminal() && !no_color)
        .with_target(false)
        .try_init()
        .map_err(|error| wrong(error.to_string()))
}

#[cfg(test)]
mod tests;

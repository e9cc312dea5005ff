//! Dry run: what would happen, without a connection being opened.

use std::fmt::Write;

use serde::Serialize;

use crate::plan::closed::Closed;
use crate::plan::keys::Order;
use crate::plan::preflight::{Concern, Preflight};
use crate::plan::replay::Speed;
use crate::plan::schedule::Arrivals;
use crate::plan::{Plan, Stage};
use crate::report::events::PlannedEvent;
use crate::report::figures::{Tone, columns, count, grouped, instant, paint, percent, plain, rate, time};
use crate::report::json::written;
use crate::units::{Nanos, Tps};

/// Characters of the picture of the rate.
const CURVE: u64 = 60;

/// Heights of the picture, from the lowest rate above zero.
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Everything a dry run shows.
#[derive(Debug, Clone, Copy)]
pub struct DryRun<'a> {
    /// What would happen.
    pub plan: &'a Plan,
    /// A fingerprint of what the bytes of requests follow from, beside the plan.
    pub content: &'a str,
    /// What it needs and what there is.
    pub preflight: &'a Preflight,
    /// What does not fit.
    pub concerns: &'a [Concern],
    /// Names of the files that would be written.
    pub files: &'a [String],
    /// The thresholds as they were written.
    pub thresholds: &'a [String],
    /// The scenario file.
    pub scenario_path: &'a str,
    /// The folder that would be made.
    pub folder: &'a str,
    /// Whether a model answers and nothing is sent.
    pub simulated: bool,
    /// Who would be sent to, in words.
    pub target: &'a str,
    /// Where records would come from, in words.
    pub redis: &'a str,
}

impl DryRun<'_> {
    /// For people.
    pub fn text(&self, colour: bool) -> String {
        let plan = self.plan;
        let mut out = String::new();
        let mut fact = |name: &str, text: String| {
            let _ = writeln!(out, "{}  {text}", paint(&format!("{name:<12}"), Tone::Head, colour));
        };
        fact("scenario", format!("{} ({})", plan.name, plain(self.scenario_path, 200)));
        fact(
            "plan",
            format!("{}  seed {}, {}{}", plan.fingerprint, plan.seed, self.arrivals(), self.segment()),
        );
        fact("target", plain(self.target, 400));
        fact("redis", plain(self.redis, 400));
        out.push('\n');
        match &plan.closed {
            None => {
                out.push_str(&self.stages());
                let curve = sparkline(&plan.rate_curve(CURVE));
                let _ = writeln!(out, "\nrate  {curve}  peak {}/s\n", plan.peak());
            }
            Some(closed) => {
                out.push_str(&self.users(closed, colour));
                out.push('\n');
            }
        }
        self.needs(colour, &mut out);
        for concern in self.concerns {
            let (mark, tone) = if concern.fatal { ("error", Tone::Bad) } else { ("warning", Tone::Doubt) };
            let _ = writeln!(out, "{}: {}", paint(mark, tone, colour), concern.message);
            let _ = writeln!(out, "  hint: {}", concern.help);
        }
        out.push_str("nothing was sent\n");
        out
    }

    /// Who sends in the closed model, and until when.
    fn users(&self, closed: &Closed, colour: bool) -> String {
        let plan = self.plan;
        let mut out = String::new();
        let mut fact = |name: &str, text: String| {
            let _ = writeln!(out, "{}  {text}", paint(&format!("{name:<12}"), Tone::Head, colour));
        };
        let begin = match closed.ramp_up {
            Nanos::ZERO => "all begin at time zero".to_string(),
            ramp_up => format!("begin evenly over {}", time(ramp_up)),
        };
        let users = grouped(plan.segment.count(closed.users));
        fact("users", format!("{users}, each waits for its response; {begin}"));
        let think = match (closed.think.from, closed.think.to) {
            (Nanos::ZERO, Nanos::ZERO) => "none".to_string(),
            (from, to) if from == to => time(from),
            (from, to) => format!("from {} to {}, seeded", time(from), time(to)),
        };
        fact("think time", think);
        let until = match (closed.end(), closed.at_most) {
            (None, _) => format!("exactly {}", grouped(plan.scheduled())),
            (Some(end), None) => format!("as many as are answered in {}", time(end)),
            (Some(end), Some(most)) => {
                format!("as many as are answered in {}, at most {}", time(end), grouped(most))
            }
        };
        fact("requests", until);
        out
    }

    fn mix(&self) -> String {
        let total: u64 = self.plan.mix.kinds().iter().map(|kind| kind.weight).sum();
        let kinds = self.plan.mix.kinds().iter().map(|kind| {
            let share = percent(kind.weight as f64, total as f64);
            format!("{} {share} ({})", plain(&kind.name, 40), plain(&kind.payload, 60))
        });
        kinds.collect::<Vec<_>>().join(", ")
    }

    fn arrivals(&self) -> &'static str {
        if self.plan.closed.is_some() {
            return "closed model";
        }
        match self.plan.schedule.arrivals() {
            Arrivals::Uniform => "arrivals uniform",
            Arrivals::Poisson { .. } => "arrivals poisson",
        }
    }

    fn segment(&self) -> String {
        match self.plan.segment.of() {
            1 => String::new(),
            _ => format!(", segment {} (counts are those of this segment)", self.plan.segment),
        }
    }

    fn stages(&self) -> String {
        let plan = self.plan;
        let head = ["stage", "kind", "from", "to", "duration", "requests", "first due", "last due"];
        let mut rows = vec![head.map(str::to_string).to_vec()];
        let number_width = plan.stages.len().to_string().len();
        for (index, stage) in plan.stages.iter().enumerate() {
            let share = plan.share_of(stage);
            let due = share
                .due
                .map_or(["-".to_string(), "-".to_string()], |(first, last)| [instant(first), instant(last)]);
            let warm = if stage.warmup { " (warm-up)" } else { "" };
            let mut row = vec![
                format!("{:>number_width$} {}{warm}", index + 1, plain(&stage.name, 40)),
                stage.kind.to_string(),
                stage.from.to_string(),
                stage.to.to_string(),
                time(stage.duration()),
                grouped(share.scheduled),
            ];
            row.extend(due);
            rows.push(row);
        }
        let pad = " ".repeat(number_width);
        rows.push(vec![
            format!("{pad} total"),
            String::new(),
            String::new(),
            String::new(),
            time(plan.schedule.end()),
            grouped(plan.scheduled()),
        ]);
        columns(0, 2, rows)
    }

    fn needs(&self, colour: bool, out: &mut String) {
        let need = self.preflight;
        let mut fact = |name: &str, text: String, fits: bool| {
            let mark = if fits { String::new() } else { format!("  {}", paint("!", Tone::Doubt, colour)) };
            let _ = writeln!(out, "{}  {text}{mark}", paint(&format!("{name:<12}"), Tone::Head, colour));
        };
        fact("connections", self.connections(), true);
        fact("in flight", self.in_flight(), need.in_flight_needed <= need.in_flight_allowed);
        fact(
            "ports",
            format!("{} needed, {} available", grouped(need.ports_needed), grouped(need.ports_available)),
            need.ports_needed <= need.ports_available,
        );
        fact(
            "descriptors",
            format!(
                "{} needed, {} allowed",
                grouped(need.descriptors_needed),
                grouped(need.descriptors_available)
            ),
            need.descriptors_needed <= need.descriptors_available,
        );
        let keys = &self.plan.keys;
        let records = format!(
            "{} needed of {}, {}",
            grouped(need.records_needed),
            grouped(keys.count()),
            order(keys.order())
        );
        fact("records", records, true);
        if !self.plan.mix.is_empty() {
            fact("mix", self.mix(), true);
        }
        fact("thresholds", list(self.thresholds, "; "), true);
        fact("files", format!("{} in {}", list(self.files, ", "), plain(self.folder, 400)), true);
    }

    fn connections(&self) -> String {
        let connections = &self.plan.connections;
        let expected = self.plan.expected_connections();
        let limit = match connections.limit {
            0 => "without limit".to_string(),
            limit => format!("with a limit of {}", count(limit, "request")),
        };
        if let Some(closed) = &self.plan.closed {
            let slots = grouped(expected.slots);
            return match (closed.total(), connections.limit) {
                (_, 0) => format!("{slots} {limit}"),
                (None, _) => format!("{slots} {limit}"),
                (Some(_), _) => format!(
                    "{slots} {limit}: about {} opened, {}",
                    grouped(expected.opened),
                    count(expected.reconnects(), "reconnect")
                ),
            };
        }
        format!(
            "{} {limit}: {} opened, {}, {}/s at the peak",
            grouped(expected.slots),
            grouped(expected.opened),
            count(expected.reconnects(), "reconnect"),
            rate(self.preflight.reconnects_per_1000_s as f64 / 1000.0)
        )
    }

    /// Little's law: in flight = rate × time. The rate is known, so the time at which the connections
    /// are full is too.
    fn in_flight(&self) -> String {
        let need = self.preflight;
        let allowed = grouped(need.in_flight_allowed);
        if self.plan.closed.is_some() {
            return format!(
                "{} at most, one for each user; {allowed} allowed",
                grouped(need.in_flight_needed)
            );
        }
        if self.plan.peak() == Tps::ZERO {
            return format!("{allowed} allowed");
        }
        let delay = match need.in_flight_needed {
            0 => String::new(),
            needed => format!("; the responder's delay alone needs {}", grouped(needed)),
        };
        let full = time(need.fills_at);
        format!("{allowed} allowed, which is full at the peak when a response takes {full} (mean){delay}")
    }

    /// For programs: the same as JSON, ending in a newline.
    pub fn json(&self) -> String {
        let plan = self.plan;
        let expected = plan.expected_connections();
        let need = self.preflight;
        written(&Whole {
            scheduled: plan.total().map(|_| plan.scheduled()),
            plan: &plan.fingerprint,
            content: self.content,
            name: &plan.name,
            seed: plan.seed,
            scenario: self.scenario_path,
            segment: plan.segment.to_string(),
            duration_ns: plan.end().map(|end| end.0),
            model: if plan.closed.is_some() { "closed" } else { "open" },
            users: plan.closed.map(|closed| plan.segment.count(closed.users)),
            think_ns: plan.closed.map(|closed| [closed.think.from.0, closed.think.to.0]),
            mix: plan
                .mix
                .kinds()
                .iter()
                .map(|kind| KindJson { name: &kind.name, weight: kind.weight, payload: &kind.payload })
                .collect(),
            peak: plan.peak().as_f64(),
            stages: plan.stages.iter().map(|stage| StageJson::of(plan, stage)).collect(),
            connections: expected.slots,
            connections_opened: expected.opened,
            reconnects: expected.reconnects(),
            reconnects_per_second_at_peak: need.reconnects_per_1000_s as f64 / 1000.0,
            in_flight_needed: need.in_flight_needed,
            in_flight_allowed: need.in_flight_allowed,
            // Users never have more in flight than fits; where nothing is sent, nothing fills.
            fills_at_ns: Some(need.fills_at.0).filter(|&at_ns| plan.closed.is_none() && at_ns < u64::MAX),
            ports_needed: need.ports_needed,
            ports_available: need.ports_available,
            descriptors_needed: need.descriptors_needed,
            descriptors_available: need.descriptors_available,
            records_needed: need.records_needed,
            thresholds: self.thresholds,
            target: self.target,
            redis: self.redis,
            folder: self.folder,
            files: self.files,
            events: plan.events.iter().map(PlannedEvent::of).collect(),
            speed: Some(plan.schedule.speed())
                .filter(|speed| *speed != Speed::PLANNED)
                .map(|speed| speed.thousandths() as f64 / 1000.0),
            simulated: self.simulated.then_some(true),
            concerns: self
                .concerns
                .iter()
                .map(|c| ConcernJson { message: &c.message, help: &c.help, fatal: c.fatal })
                .collect(),
        })
    }
}

fn order(order: Order) -> String {
    format!("{order:?}").to_lowercase()
}

fn list(items: &[String], between: &str) -> String {
    if items.is_empty() { "none".to_string() } else { plain(&items.join(between), 2000) }
}

/// A picture of rates, a character each: a space for zero, the highest block for the highest rate.
fn sparkline(rates: &[Tps]) -> String {
    let highest = rates.iter().map(|rate| rate.units()).max().unwrap_or(0);
    rates
        .iter()
        .map(|rate| match rate.units() {
            0 => ' ',
            units => {
                let steps = HEIGHTS.len() as u128;
                let height = (u128::from(units) * steps).div_ceil(u128::from(highest.max(1)));
                HEIGHTS[(height.clamp(1, steps) - 1) as usize]
            }
        })
        .collect()
}

#[derive(Serialize)]
struct Whole<'a> {
    /// Null where only time ends a closed load.
    scheduled: Option<u64>,
    plan: &'a str,
    /// Of what the bytes of requests follow from.
    content: &'a str,
    name: &'a str,
    seed: u64,
    scenario: &'a str,
    segment: String,
    /// Null where a number of requests ends a closed load.
    duration_ns: Option<u64>,
    model: &'static str,
    /// Null in the open model.
    users: Option<u64>,
    think_ns: Option<[u64; 2]>,
    mix: Vec<KindJson<'a>>,
    peak: f64,
    stages: Vec<StageJson<'a>>,
    connections: u64,
    connections_opened: u64,
    reconnects: u64,
    reconnects_per_second_at_peak: f64,
    in_flight_needed: u64,
    in_flight_allowed: u64,
    fills_at_ns: Option<u64>,
    ports_needed: u64,
    ports_available: u64,
    descriptors_needed: u64,
    descriptors_available: u64,
    records_needed: u64,
    thresholds: &'a [String],
    target: &'a str,
    redis: &'a str,
    folder: &'a str,
    files: &'a [String],
    /// What was done to the run while it went; left out where nothing was.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    events: Vec<PlannedEvent>,
    /// How many times as fast as it was planned it is replayed; left out where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    speed: Option<f64>,
    /// Left out of a run that sends.
    #[serde(skip_serializing_if = "Option::is_none")]
    simulated: Option<bool>,
    concerns: Vec<ConcernJson<'a>>,
}

#[derive(Serialize)]
struct KindJson<'a> {
    name: &'a str,
    weight: u64,
    payload: &'a str,
}

#[derive(Serialize)]
struct StageJson<'a> {
    name: &'a str,
    kind: &'a str,
    from: f64,
    to: f64,
    duration_ns: u64,
    scheduled: u64,
    /// Null where nothing is due.
    first_due_ns: Option<u64>,
    last_due_ns: Option<u64>,
    warmup: bool,
}

impl<'a> StageJson<'a> {
    fn of(plan: &Plan, stage: &'a Stage) -> StageJson<'a> {
        let share = plan.share_of(stage);
        let Nanos(duration_ns) = stage.duration();
        StageJson {
            name: &stage.name,
            kind: stage.kind,
            from: stage.from.as_f64(),
            to: stage.to.as_f64(),
            duration_ns,
            scheduled: share.scheduled,
            first_due_ns: share.due.map(|(first, _)| first.0),
            last_due_ns: share.due.map(|(_, last)| last.0),
            warmup: stage.warmup,
        }
    }
}

#[derive(Serialize)]
struct ConcernJson<'a> {
    message: &'a str,
    help: &'a str,
    fatal: bool,
}

#[cfg(test)]
mod tests;

//! Compare: two runs of one plan side by side, and whether what differs is more than chance.
//!
//! 1. Both must have had the same load: the same plan, or plans that differ in nothing but what their seeds
//!    draw.
//! 2. What is compared is what both have done (`report/blocks.rs`), warm-up left out, as [`BLOCKS`] blocks in each of
//!    which both had something to send.
//! 3. A metric has changed if its blocks say so ([`signs`]) **and** the change matters: that of the whole run
//!    and the typical one of a block are both larger than the bounds, in the same direction.
//! 4. Besides, more requests may fail in a part of one run ([`failing`]). A burst or two are told, and decide nothing.
//! 5. Tail percentiles beyond p99, the maximum, the mean, lag and connecting are shown and do not decide: in
//!    a block there are too few of the first, and the others are not the target's doing or said by what
//!    decides.

mod failing;
mod pairs;
mod signs;
mod words;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::plan::Plan;
use crate::recorder::histogram::{Latencies, percentile_ns};
use crate::report::Error;
pub use crate::report::blocks::BLOCKS;
use crate::report::blocks::{Block, PIECES, Piece};
use crate::report::compare::failing::Failures;
use crate::report::figures::count;
use crate::report::json::Whole;
use crate::report::page;
use crate::report::saved::{self, Saved};
use crate::units::Nanos;

pub(super) use words::{HEAD, basis, cells, doubt, outcome, terms};
pub use words::{json, markdown, text};

/// How often chance alone may make any metric of two equal runs differ, by their signs or by what fails.
const CHANCE: f64 = signs::CHANCE + failing::CHANCE;

/// What a change must be beyond to matter.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    /// As a share of what it was.
    pub change: f64,
    /// Of times, in microseconds.
    pub time_us: u64,
    /// Of shares of the requests.
    pub share: f64,
}

impl Bounds {
    /// `change` and `share` from 0 to 1.
    pub fn new(change: f64, time: Nanos, share: f64) -> Bounds {
        Bounds { change, time_us: time.0 / 1000, share }
    }
}

/// What the comparison of two runs comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// Whatever differs is chance, or too little to matter.
    NoSignificantChange,
    /// Something has become worse.
    Regression,
    /// Something has become better, and nothing worse.
    Improvement,
    /// There are too few blocks to tell.
    TooShort,
}

impl Judgement {
    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Judgement::NoSignificantChange => "no significant change",
            Judgement::Regression => "regression",
            Judgement::Improvement => "improvement",
            Judgement::TooShort => "too short to tell",
        }
    }
}

/// What is said of one metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Finding {
    /// Chance, or too little to matter.
    Same,
    Worse,
    Better,
    /// Not asked.
    Shown,
}

/// One of two runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Named {
    pub run_id: String,
    /// Nothing was sent: a model answered.
    #[serde(default)]
    pub simulated: bool,
    pub scenario: String,
    pub plan: String,
    pub seed: u64,
    pub started_at: String,
    pub outcome: String,
}

/// A metric of both runs. Times are in µs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Measure {
    pub metric: String,
    /// `us`, `per_second`, `share` (0 to 1) or `count`.
    pub unit: String,
    pub base: Option<f64>,
    pub new: Option<f64>,
    pub change: Option<f64>,
    /// As a share of the base; null where that is nothing.
    pub change_share: Option<f64>,
    /// The typical change of a block.
    pub typical: Option<f64>,
    /// How far the even and the odd blocks of one run are apart: the larger of both runs.
    pub noise: Option<f64>,
    /// How likely chance alone makes any metric differ so clearly.
    pub probability: Option<f64>,
    /// In how many blocks of one run it is worse than anywhere in the other, where that is why it has changed, or would be
    /// if it were no burst.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<u64>,
    pub finding: Finding,
}

/// Two runs held against each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    pub(super) base: Named,
    pub(super) new: Named,
    /// How the plans differ; empty where they do not.
    pub(super) differs: String,
    pub(super) blocks: u64,
    /// Seconds of each run that were compared.
    pub(super) seconds: f64,
    pub(super) bounds: Bounds,
    pub(super) judgement: Judgement,
    /// Whether a regression fails.
    pub(super) decides: bool,
    /// What has changed, in words; empty where nothing has.
    pub(super) reason: String,
    pub(super) metrics: Vec<Measure>,
}

impl Compared {
    /// What it comes to.
    pub fn judgement(&self) -> Judgement {
        self.judgement
    }

    /// What has changed, in words; empty where nothing has.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The names of the two runs.
    pub fn names(&self) -> [&str; 2] {
        [&self.base.run_id, &self.new.run_id]
    }

    /// How the plans differ; empty where they do not.
    pub fn differs(&self) -> &str {
        &self.differs
    }

    /// The same where a regression is told and nothing more.
    pub fn not_decisive(self) -> Compared {
        Compared { decides: false, ..self }
    }

    /// What it fails with, where it does, and why. What cannot be told has not passed.
    pub fn failure(&self) -> Option<(Judgement, String)> {
        let base = &self.base.run_id;
        let why = match self.judgement {
            _ if !self.decides => return None,
            Judgement::Regression => format!("regression against {base}: {}", self.reason),
            Judgement::TooShort => {
                format!("too short to tell a regression against {base}: {}", self.reason)
            }
            Judgement::NoSignificantChange | Judgement::Improvement => return None,
        };
        Some((self.judgement, why))
    }
}

/// A run that is compared.
#[derive(Debug, Clone)]
pub struct Side {
    pub(super) whole: Whole,
    blocks: Vec<Block>,
    /// Where its blocks stand.
    file: PathBuf,
}

impl Side {
    /// Reads a run folder, or the `summary.json` of one.
    ///
    /// # Errors
    /// When it cannot be read, or holds no blocks.
    pub fn read(path: &Path) -> Result<Side, Error> {
        let saved = if path.is_dir() { Saved::read(path)? } else { Saved::of_file(path)? };
        Side::of(saved, path)
    }

    /// A run that was read from `path`.
    ///
    /// # Errors
    /// When it holds no blocks.
    pub fn of(mut saved: Saved, path: &Path) -> Result<Side, Error> {
        let blocks = saved.whole.drawn.as_mut().map(|drawn| std::mem::take(&mut drawn.blocks));
        let blocks = blocks.filter(|blocks| !blocks.is_empty());
        let blocks = blocks.ok_or_else(|| Error::NoBlocks(path.to_path_buf()))?;
        let file = if path.is_dir() { path.join(saved::NAME) } else { path.to_path_buf() };
        let side = Side { whole: saved.whole, blocks, file };
        if side.blocks.len() > PIECES {
            let what = format!("{} blocks are more than the {PIECES} of a run", side.blocks.len());
            return Err(side.wrong(what));
        }
        // What is wrong with them is said now, and not when the other run is over.
        side.blocks.iter().try_for_each(|block| side.piece(&[block]).map(drop))?;
        Ok(side)
    }

    /// Some of its blocks as one.
    fn piece(&self, blocks: &[&Block]) -> Result<Piece, Error> {
        Piece::of(blocks.iter().copied()).map_err(|what| self.wrong(what))
    }

    fn wrong(&self, what: String) -> Error {
        Error::Content { path: self.file.clone(), line: 0, what }
    }

    /// How many blocks a run of a plan can have in common with this one: [`BLOCKS`], or fewer where that is too short.
    pub fn blocks_with(&self, plan: &Plan) -> usize {
        match pairs::of_plan(plan) {
            Some(planned) => pairs::alike(&self.blocks, &planned).len(),
            None => pairs::alone(&self.blocks).len(),
        }
    }

    /// How the load of a plan, sent or simulated, differs from what this run had; `None` where it does not.
    pub fn differs_from(&self, plan: &Plan, simulated: bool) -> Option<String> {
        Load::of(&self.whole).differs(&Load::of_plan(plan, simulated))
    }

    fn named(&self) -> Named {
        let whole = &self.whole;
        Named {
            run_id: whole.run_id.clone(),
            simulated: whole.simulated,
            scenario: whole.scenario.clone(),
            plan: whole.plan.clone(),
            seed: whole.seed,
            started_at: whole.started_at.clone(),
            outcome: whole.outcome.clone(),
        }
    }
}

/// Whether a plan is long enough for a comparison to come to anything. Where a number of requests ends a closed load,
/// that shows when it has ended.
pub fn is_long_enough(plan: &Plan) -> bool {
    pairs::of_plan(plan).is_none_or(|planned| pairs::alone(&planned).len() >= BLOCKS)
}

/// The fewest seconds besides warm-up, with something to send in each, that can be compared.
pub const LEAST_SECONDS: usize = BLOCKS;

/// What a run was asked to send.
#[derive(Debug, PartialEq)]
struct Load {
    plan: String,
    /// The fingerprint of the plan without what its seed draws; runs of earlier versions have none.
    undrawn: Option<String>,
    segment: String,
    simulated: bool,
}

impl Load {
    fn of(whole: &Whole) -> Load {
        Load {
            plan: whole.plan.clone(),
            undrawn: whole.load.clone(),
            segment: whole.segment.clone(),
            simulated: whole.simulated,
        }
    }

    fn of_plan(plan: &Plan, simulated: bool) -> Load {
        Load {
            plan: plan.fingerprint.clone(),
            undrawn: plan.load().map(str::to_string),
            segment: plan.segment.to_string(),
            simulated,
        }
    }

    /// How another load differs; `None` where it is the same in everything that can matter.
    ///
    /// 1. Both send the same segment, or neither sends: a model says nothing about a service.
    /// 2. Equal fingerprints are equal plans.
    /// 3. With other seeds, due times and keys are drawn anew: the same if all is that they are drawn from.
    fn differs(&self, other: &Load) -> Option<String> {
        if self.simulated != other.simulated {
            let how = |load: &Load| if load.simulated { "simulated" } else { "measured" };
            return Some(format!("one {} and one {}", how(self), how(other)));
        }
        if self.segment != other.segment {
            return Some(format!("segment {} and segment {}", self.segment, other.segment));
        }
        if self.plan == other.plan || self.undrawn.is_some() && self.undrawn == other.undrawn {
            return None;
        }
        Some(format!("plan {} and plan {}", self.plan, other.plan))
    }
}

/// What is measured of a block, or of several together.
#[derive(Debug, Clone, Copy)]
enum Metric {
    /// Of response time, service time or lag: a percentile.
    Percentile(fn(&Latencies) -> &hdrhistogram::Histogram<u64>, f64),
    Mean(fn(&Latencies) -> &hdrhistogram::Histogram<u64>),
    /// Answered requests per second.
    Rate,
    /// Requests without the answer they wanted.
    Errors,
}

/// All that is measured in blocks: its name, and whether it decides.
fn metrics() -> Vec<(String, Metric, bool)> {
    type Of = fn(&Latencies) -> &hdrhistogram::Histogram<u64>;
    let latencies: [(&str, Of, bool); 3] = [
        ("response_time", |latencies| &latencies.response, true),
        ("service_time", |latencies| &latencies.service, true),
        ("lag", |latencies| &latencies.lag, false),
    ];
    let mut all = Vec::new();
    for (name, of, decides) in latencies {
        for (word, percentile) in [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9)] {
            let metric = Metric::Percentile(of, percentile);
            all.push((format!("{name} {word}"), metric, decides && percentile <= 99.0));
        }
        all.push((format!("{name} max"), Metric::Percentile(of, 100.0), false));
        all.push((format!("{name} mean"), Metric::Mean(of), false));
    }
    all.push(("rate".to_string(), Metric::Rate, true));
    all.push(("errors".to_string(), Metric::Errors, true));
    all
}

impl Metric {
    const fn unit(self) -> &'static str {
        match self {
            Metric::Percentile(..) | Metric::Mean(_) => "us",
            Metric::Rate => "per_second",
            Metric::Errors => "share",
        }
    }

    /// Its value; `None` where nothing was measured.
    fn of(self, piece: &Piece) -> Option<f64> {
        match self {
            Metric::Percentile(of, percentile) => {
                let histogram = of(&piece.latencies);
                (!histogram.is_empty()).then(|| percentile_ns(histogram, percentile) as f64 / 1e3)
            }
            Metric::Mean(of) => {
                let histogram = of(&piece.latencies);
                (!histogram.is_empty()).then(|| histogram.mean() / 1e3)
            }
            Metric::Rate => (piece.seconds > 0.0).then(|| piece.matched as f64 / piece.seconds),
            Metric::Errors => (piece.scheduled > 0).then(|| piece.errors as f64 / piece.scheduled as f64),
        }
    }

    /// Whether a change from a value is large enough to matter.
    fn matters(self, base: f64, change: f64, bounds: &Bounds) -> bool {
        let least = match self {
            Metric::Percentile(..) | Metric::Mean(_) => bounds.time_us as f64,
            Metric::Errors => bounds.share,
            Metric::Rate => 0.0,
        };
        change != 0.0 && change.abs() >= least && change.abs() >= bounds.change * base.abs()
    }

    /// Whether more of it is worse.
    const fn more_is_worse(self) -> bool {
        !matches!(self, Metric::Rate)
    }
}

fn joined<'a>(pieces: impl IntoIterator<Item = &'a Piece>) -> Option<Piece> {
    let mut pieces = pieces.into_iter();
    let mut sum = pieces.next()?.clone();
    pieces.for_each(|piece| sum.join(piece));
    Some(sum)
}

/// Holds a run against an earlier one.
///
/// # Errors
/// [`Error::Unlike`] when they had different loads, unless that is to be so.
pub fn compare(base: &Side, new: &Side, bounds: &Bounds, force: bool) -> Result<Compared, Error> {
    let differs = Load::of(&base.whole).differs(&Load::of(&new.whole)).unwrap_or_default();
    if !differs.is_empty() && !force {
        let runs = [base.whole.run_id.clone(), new.whole.run_id.clone()];
        return Err(Error::Unlike { runs, differs });
    }
    let pairs = match differs.is_empty() && base.whole.model == "open" {
        true => pairs::alike(&base.blocks, &new.blocks),
        false => pairs::unlike(&base.blocks, &new.blocks),
    };
    let pairs = pairs.iter().map(|pair| Ok((base.piece(&pair.base)?, new.piece(&pair.new)?)));
    let pairs = pairs.collect::<Result<Vec<_>, Error>>()?;
    let mut metrics = measured(&pairs, bounds);
    metrics.extend(besides(&base.whole, &new.whole));
    let (judgement, reason) = judged(&metrics, pairs.len());
    Ok(Compared {
        base: base.named(),
        new: new.named(),
        differs,
        blocks: pairs.len() as u64,
        seconds: pairs.iter().map(|(piece, _)| piece.seconds).sum(),
        bounds: *bounds,
        judgement,
        decides: true,
        reason,
        metrics,
    })
}

/// Runs side by side on one page; `all` has what was found of each of `news`.
pub fn html(base: &Side, news: &[Side], all: &[Compared]) -> String {
    page::compare_html(base, news, all)
}

/// Every metric of the blocks.
fn measured(pairs: &[(Piece, Piece)], bounds: &Bounds) -> Vec<Measure> {
    let (base, new): (Vec<&Piece>, Vec<&Piece>) = pairs.iter().map(|(base, new)| (base, new)).unzip();
    let half = |pieces: &[&Piece], rest: usize| {
        joined(pieces.iter().enumerate().filter(|(index, _)| index % 2 == rest).map(|(_, piece)| *piece))
    };
    let halves = [&base, &new].map(|pieces| [half(pieces, 0), half(pieces, 1)]);
    let (all_of_base, all_of_new) = (joined(base.iter().copied()), joined(new.iter().copied()));
    let metrics = metrics();
    let differences: Vec<Vec<Option<f64>>> = metrics
        .iter()
        .map(|(_, metric, _)| {
            pairs.iter().map(|(base, new)| Some(metric.of(new)? - metric.of(base)?)).collect()
        })
        .collect();
    let decisive: Vec<Vec<f64>> = metrics
        .iter()
        .zip(&differences)
        .filter(|((_, _, decides), _)| *decides)
        .map(|(_, blocks)| blocks.iter().map(|block| block.unwrap_or(0.0)).collect())
        .collect();
    let mut probabilities = signs::probabilities(&decisive).into_iter();
    let enough = pairs.len() >= BLOCKS;
    let failures = |pieces: &[&Piece]| -> Vec<Failures> {
        pieces.iter().map(|piece| Failures { failed: piece.errors, of: piece.scheduled }).collect()
    };
    let matters = |than, by| Metric::Errors.matters(than, by, bounds);
    let part = failing::part(&failures(&base), &failures(&new), matters);
    let part = part.filter(|part| enough && part.probability <= failing::CHANCE);
    let mut found = Vec::with_capacity(metrics.len());
    for ((name, metric, decides), blocks) in metrics.iter().zip(&differences) {
        let mut probability = if *decides { probabilities.next() } else { None }.filter(|_| enough);
        let of = |piece: &Option<Piece>| piece.as_ref().and_then(|piece| metric.of(piece));
        let apart = |[even, odd]: &[Option<Piece>; 2]| Some((of(even)? - of(odd)?).abs());
        let (before, after) = (of(&all_of_base), of(&all_of_new));
        let known: Vec<f64> = blocks.iter().copied().flatten().collect();
        let typical = (!known.is_empty()).then(|| signs::typical(&known));
        let change = before.zip(after).map(|(before, after)| after - before);
        let mut finding = match (probability, before, change, typical) {
            (Some(probability), Some(before), Some(change), Some(typical)) => {
                let matters = |change| metric.matters(before, change, bounds);
                let is_one_way = change.signum() == typical.signum();
                match probability <= signs::CHANCE && is_one_way && matters(change) && matters(typical) {
                    false => Finding::Same,
                    true if (change > 0.0) == metric.more_is_worse() => Finding::Worse,
                    true => Finding::Better,
                }
            }
            _ => Finding::Shown,
        };
        let part = part.filter(|_| matches!(metric, Metric::Errors) && finding == Finding::Same);
        if let Some(part) = part.filter(|part| !part.is_burst) {
            finding = if part.is_new { Finding::Worse } else { Finding::Better };
            probability = probability.map(|signs| signs.min(part.probability));
        }
        found.push(Measure {
            metric: name.clone(),
            unit: metric.unit().to_string(),
            base: before,
            new: after,
            change,
            change_share: share_of(change, before),
            typical,
            noise: halves.iter().filter_map(apart).reduce(f64::max),
            probability,
            part: part.map(|part| part.blocks as u64),
            finding,
        });
    }
    found
}

fn share_of(change: Option<f64>, base: Option<f64>) -> Option<f64> {
    change.zip(base).filter(|(_, base)| *base != 0.0).map(|(change, base)| change / base)
}

/// What is known of whole runs only, warm-up and all.
fn besides(base: &Whole, new: &Whole) -> Vec<Measure> {
    let shown = |metric: &str, unit: &str, of: &dyn Fn(&Whole) -> Option<f64>| {
        let (before, after) = (of(base), of(new));
        let change = before.zip(after).map(|(before, after)| after - before);
        Measure {
            metric: metric.to_string(),
            unit: unit.to_string(),
            base: before,
            new: after,
            change,
            change_share: share_of(change, before),
            typical: None,
            noise: None,
            probability: None,
            part: None,
            finding: Finding::Shown,
        }
    };
    let connect = |whole: &Whole, us: u64| (whole.connect_time.count > 0).then_some(us as f64);
    vec![
        shown("failed", "count", &|whole| Some(whole.ledger.failed as f64)),
        shown("timed_out", "count", &|whole| Some(whole.ledger.timed_out as f64)),
        shown("dropped", "count", &|whole| Some(whole.ledger.dropped as f64)),
        shown("error_replies", "count", &|whole| Some(whole.ledger.error_replies as f64)),
        shown("reconnects", "count", &|whole| Some(whole.connections.reconnects as f64)),
        shown("connect_time p50", "us", &|whole| connect(whole, whole.connect_time.p50_us)),
        shown("connect_time p99", "us", &|whole| connect(whole, whole.connect_time.p99_us)),
    ]
}

fn judged(metrics: &[Measure], blocks: usize) -> (Judgement, String) {
    if blocks < BLOCKS {
        let reason = format!(
            "{} in common besides warm-up with something to send in each, and {BLOCKS} are needed",
            count(blocks as u64, "block")
        );
        return (Judgement::TooShort, reason);
    }
    let of = |finding: Finding| metrics.iter().filter(move |measure| measure.finding == finding);
    for (finding, judgement) in
        [(Finding::Worse, Judgement::Regression), (Finding::Better, Judgement::Improvement)]
    {
        if let Some(first) = of(finding).next() {
            let more = match of(finding).count() - 1 {
                0 => String::new(),
                more => format!(", and {more} more"),
            };
            return (judgement, format!("{}{more}", words::change(first)));
        }
    }
    (Judgement::NoSignificantChange, String::new())
}

#[cfg(test)]
mod tests;

//! What a search for the highest rate has found: the screen, `search.csv`, `search.json` and `search.html`.

use std::fmt::Write;

use serde::Serialize;

use crate::plan::search::{Bounds, Finding};
use crate::recorder::histogram::percentile_us;
use crate::recorder::summary::Summary;
use crate::report::csv::{decimal, names, table};
use crate::report::figures::{
    Tone, columns, count, found, grouped, measure, micros, paint, percent, plain, rate,
};
use crate::report::health::bottleneck;
use crate::report::json::written;
use crate::report::page;
use crate::units::{Tps, Unit};

/// The table of the trials.
pub const CSV: &str = "search.csv";
/// The same for programs, with what was found.
pub const JSON: &str = "search.json";
/// The same for people.
pub const HTML: &str = "search.html";

/// Columns of `search.csv`.
pub const COLUMNS: &str = "trial,rate,attempt,verdict,outcome,exit_code,measured,unit,response_p50_us,response_p99_us,\
                           response_max_us,service_p99_us,rate_actual,operations,errors,lag_p99_us,cpu,folder,reason";

/// Characters of a reason that are shown.
const SHOWN: usize = 160;

/// One trial.
#[derive(Debug, Clone, Serialize)]
pub struct Trial {
    /// Which, from 1.
    pub trial: usize,
    /// Planned requests per second.
    pub rate: f64,
    /// 1, or 2 for a repetition.
    pub attempt: u64,
    /// `holds`, `breaks` or `saturated`; empty where it was cut short.
    pub verdict: &'static str,
    /// One word: how its run ended.
    pub outcome: String,
    /// The exit code of its run.
    pub exit_code: u8,
    /// Why it does not hold; empty where it does.
    pub reason: String,
    /// The folder of its run, below that of the search.
    pub folder: String,
    /// What was measured; null where the run could not begin.
    pub figures: Option<Figures>,
}

/// The figures of a trial, its warm-up left out.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Figures {
    /// What is held against the limit: microseconds, a share, a number or a number per second; null where
    /// nothing was measured.
    pub measured: Option<f64>,
    /// Median response time.
    pub response_p50_us: u64,
    /// 99th percentile of the response time.
    pub response_p99_us: u64,
    /// The longest response time.
    pub response_max_us: u64,
    /// 99th percentile of the service time.
    pub service_p99_us: u64,
    /// Requests sent per second.
    pub rate_actual: f64,
    /// Requests that came due, warm-up included.
    pub operations: u64,
    /// Of these, without the answer they wanted.
    pub errors: u64,
    /// 99th percentile of the lag.
    pub lag_p99_us: u64,
    /// The share of a processor that the busiest worker used.
    pub cpu: f64,
    /// Who was the bottleneck.
    pub bottleneck: &'static str,
    /// The same value in the unit of the metric (nanoseconds for times).
    #[serde(skip)]
    value: Option<f64>,
}

impl Figures {
    /// Those of a run. `check`: the limit of the search, which stands behind the thresholds of the scenario.
    pub fn of(summary: &Summary, check: &str) -> Figures {
        let row = summary.thresholds.iter().rfind(|row| row.check == check);
        let value = row.and_then(|row| row.measured);
        let scale = if row.is_some_and(|row| row.unit == Unit::Time) { 1e-3 } else { 1.0 };
        let latencies = &summary.latencies;
        let run_s = summary.duration.as_secs_f64();
        let busiest =
            summary.health.worker_cpu.iter().map(std::time::Duration::as_secs_f64).fold(0.0, f64::max);
        Figures {
            measured: value.map(|value| value * scale),
            response_p50_us: percentile_us(&latencies.response, 50.0),
            response_p99_us: percentile_us(&latencies.response, 99.0),
            response_max_us: percentile_us(&latencies.response, 100.0),
            service_p99_us: percentile_us(&latencies.service, 99.0),
            rate_actual: summary.stages.last().map_or(0.0, |stage| stage.rate_actual()),
            operations: summary.operations(),
            errors: summary.errors(),
            lag_p99_us: percentile_us(&latencies.lag, 99.0),
            cpu: if run_s > 0.0 { busiest / run_s } else { 0.0 },
            bottleneck: bottleneck(summary).party.word(),
            value,
        }
    }
}

/// A search that is over, or has been cut short.
#[derive(Debug, Clone)]
pub struct Search {
    /// `<name>-<UTC time>`.
    pub run_id: String,
    /// The scenario's name.
    pub scenario: String,
    /// The metric and its limit: `response_time p(99) < 50ms`.
    pub check: String,
    /// The metric alone.
    pub metric: String,
    /// The limit: nanoseconds, a share, a number or a number per second.
    pub limit: f64,
    /// What the limit is.
    pub unit: Unit,
    /// The first and the last rate of the search.
    pub from: Tps,
    /// The highest rate that may be tried.
    pub to: Tps,
    /// What was found.
    pub bounds: Bounds,
    /// The trials in their order.
    pub trials: Vec<Trial>,
    /// Why it ended before its time; empty where it did not.
    pub cut_short: String,
    /// Whether the trials were simulated.
    pub simulated: bool,
}

/// `search.json`.
#[derive(Serialize)]
struct InFile<'a> {
    run_id: &'a str,
    scenario: &'a str,
    simulated: bool,
    check: &'a str,
    from: f64,
    to: f64,
    /// Null where no rate holds.
    highest_rate: Option<f64>,
    /// Null where none was found.
    lowest_rate_that_breaks: Option<f64>,
    /// Who held the lowest rate back that breaks: `target`, `connections`, `generator` …; `none` where `to`
    /// holds.
    limited_by: &'static str,
    found: String,
    trials: &'a [Trial],
}

impl Search {
    /// What was found, in a sentence.
    pub fn found(&self) -> String {
        let Bounds { holds, breaks } = self.bounds;
        let cut = if self.cut_short.is_empty() { String::new() } else { format!("; {}", self.cut_short) };
        let Some(low) = holds else {
            let Some((rate, finding)) = breaks else {
                return match self.trials.len() as u64 {
                    0 => format!("no trial was made{cut}"),
                    made => format!("{} came to no result{cut}", count(made, "trial")),
                };
            };
            let why = self.at(rate).map_or_else(String::new, |trial| format!(" ({})", self.shown(trial)));
            return match finding {
                Finding::Saturated => format!(
                    "the generator was saturated at {}/s already{why}: use more workers or machines{cut}",
                    per_second(rate)
                ),
                _ => format!(
                    "{}/s, the lowest rate, breaks {} already{why}{cut}",
                    per_second(rate),
                    plain(&self.check, SHOWN)
                ),
            };
        };
        let kept = self.at(low).map_or_else(String::new, |trial| format!(" ({})", self.shown(trial)));
        let head = format!("highest rate that holds: {}/s{kept}", per_second(low));
        let rest = match breaks {
            Some((high, Finding::Saturated)) => format!(
                "; at {}/s the generator was saturated, so this limit is its own: use more workers or machines",
                per_second(high)
            ),
            Some((high, _)) => {
                let why = self.at(high).map_or_else(String::new, |trial| format!(" ({})", self.shown(trial)));
                format!("; {}/s does not{why}", per_second(high))
            }
            None if low >= self.to => "; nothing higher was tried: raise search.to".to_string(),
            None => String::new(),
        };
        format!("{head}{rest}{cut}")
    }

    /// The last trial at a rate.
    fn at(&self, rate: Tps) -> Option<&Trial> {
        self.trials.iter().rfind(|trial| trial.rate == rate.as_f64())
    }

    /// What was measured in a trial: `response_time p(99) 48 ms < 50 ms`, or why it broke.
    fn shown(&self, trial: &Trial) -> String {
        let value = trial.figures.as_ref().and_then(|figures| figures.value);
        match value {
            Some(value) if value < self.limit && trial.verdict == Finding::Holds.word() => {
                let (value, limit) = (measure(value, self.unit), measure(self.limit, self.unit));
                format!("{} {value} < {limit}", plain(&self.metric, SHOWN))
            }
            Some(value) if value >= self.limit => {
                format!("{} {}", plain(&self.metric, SHOWN), measure(value, self.unit))
            }
            _ => plain(&trial.reason, SHOWN),
        }
    }

    fn limited_by(&self) -> &'static str {
        match self.bounds.breaks {
            Some((_, Finding::Saturated)) => "generator",
            // One that was sent on time to a target that answered in time, and yet broke its limit, met the
            // target's.
            Some((rate, _)) => match self.at(rate).and_then(|trial| trial.figures.as_ref()) {
                Some(figures) if !["", "none"].contains(&figures.bottleneck) => figures.bottleneck,
                _ => "target",
            },
            None => "none",
        }
    }

    /// `search.csv`: a row for each trial.
    pub fn csv(&self) -> Vec<u8> {
        let unit = match self.unit {
            Unit::Time => "us",
            Unit::Share => "share",
            Unit::Count => "count",
            Unit::PerSecond => "per_second",
        };
        let head = names(COLUMNS);
        let rows = self.trials.iter().map(|trial| {
            let mut row = vec![
                trial.trial.to_string(),
                decimal(trial.rate),
                trial.attempt.to_string(),
                trial.verdict.to_string(),
                trial.outcome.clone(),
                trial.exit_code.to_string(),
            ];
            match &trial.figures {
                None => row.resize(head.len() - 2, String::new()),
                Some(figures) => {
                    let measured = figures.measured.map(|value| match self.unit {
                        Unit::Time => format!("{}", value.round()),
                        _ => value.to_string(),
                    });
                    row.extend([measured.unwrap_or_default(), unit.to_string()]);
                    let times = [
                        figures.response_p50_us,
                        figures.response_p99_us,
                        figures.response_max_us,
                        figures.service_p99_us,
                    ];
                    row.extend(times.map(|us| us.to_string()));
                    row.push(decimal(figures.rate_actual));
                    row.extend(
                        [figures.operations, figures.errors, figures.lag_p99_us].map(|n| n.to_string()),
                    );
                    row.push(decimal(figures.cpu));
                }
            }
            row.extend([trial.folder.clone(), trial.reason.clone()]);
            row
        });
        let rows: Vec<Vec<String>> = rows.collect();
        table(&head, rows)
    }

    /// `search.json`.
    pub fn json(&self) -> String {
        written(&InFile {
            run_id: &self.run_id,
            scenario: &self.scenario,
            simulated: self.simulated,
            check: &self.check,
            from: self.from.as_f64(),
            to: self.to.as_f64(),
            highest_rate: self.bounds.holds.map(Tps::as_f64),
            lowest_rate_that_breaks: self.bounds.breaks.map(|(rate, _)| rate.as_f64()),
            limited_by: self.limited_by(),
            found: self.found(),
            trials: &self.trials,
        })
    }

    /// `search.html`.
    pub fn html(&self) -> String {
        page::search::html(self)
    }

    /// The trials as a table for people.
    pub fn text(&self, colour: bool) -> String {
        let head = ["trial", "rate", "", "measured", "p50", "p99", "sent", "errors", "lag p99", "cpu"];
        let mut rows = vec![head.map(str::to_string).to_vec()];
        rows.extend(self.trials.iter().map(|trial| self.cells(trial)));
        format!("{}\n{}", paint("TRIALS", Tone::Head, colour), columns(2, 0, rows))
    }

    /// One trial in ten cells.
    pub(super) fn cells(&self, trial: &Trial) -> Vec<String> {
        let verdict = if trial.verdict.is_empty() { &trial.outcome } else { trial.verdict };
        let mut row = vec![trial.trial.to_string(), format!("{}/s", rate(trial.rate)), verdict.to_string()];
        match &trial.figures {
            None => row.extend(["-"; 7].map(str::to_string)),
            Some(figures) => row.extend([
                figures.value.map_or("-".to_string(), |value| measure(value, self.unit)),
                micros(figures.response_p50_us),
                micros(figures.response_p99_us),
                format!("{}/s", rate(figures.rate_actual)),
                grouped(figures.errors),
                micros(figures.lag_p99_us),
                percent(figures.cpu, 1.0),
            ]),
        }
        row
    }
}

impl Trial {
    /// One line about a trial that has just ended.
    pub fn line(&self, search: &Search) -> String {
        let verdict = if self.verdict.is_empty() { &self.outcome } else { self.verdict };
        format!("  {verdict}: {}", search.shown(self))
    }
}

fn per_second(tps: Tps) -> String {
    rate(tps.as_f64())
}

/// Why a run does not hold: where thresholds have decided, the first that is broken.
pub fn reason(summary: &Summary) -> String {
    match summary.broken().next() {
        Some(row) if summary.verdict.word == "threshold" => format!("{}: {}", row.check, found(row)),
        _ => summary.verdict.reason.clone(),
    }
}

/// What a search would try, in a few lines.
pub fn plan_text(
    check: &str,
    rising: &[Tps],
    halvings: u64,
    most: u64,
    of_trial: &str,
    colour: bool,
) -> String {
    let mut out = String::new();
    let mut fact = |name: &str, text: String| {
        let _ = writeln!(out, "{}  {text}", paint(&format!("{name:<12}"), Tone::Head, colour));
    };
    let rates: Vec<String> = rising.iter().map(|tps| per_second(*tps)).collect();
    fact("search", format!("the highest rate at which {} holds", plain(check, SHOWN)));
    fact("rising", format!("{} per second, until one breaks", rates.join(", ")));
    fact("between", format!("at most {} more", count(halvings, "rate")));
    fact("trials", format!("at most {most}, since what breaks is tried twice; {of_trial}"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{blank, typical};

    pub(in crate::report) fn typical_search() -> Search {
        let trial = |number: usize, rate: u64, verdict: &'static str, p99_us: u64| Trial {
            trial: number,
            rate: rate as f64,
            attempt: 1,
            verdict,
            outcome: if verdict == "holds" { "passed" } else { "threshold" }.to_string(),
            exit_code: if verdict == "holds" { 0 } else { 99 },
            reason: String::new(),
            folder: format!("{number:02}-{rate}"),
            figures: Some(Figures {
                measured: Some(p99_us as f64),
                value: Some(p99_us as f64 * 1e3),
                response_p50_us: p99_us / 2,
                response_p99_us: p99_us,
                rate_actual: rate as f64,
                ..Figures::default()
            }),
        };
        Search {
            run_id: "knee-1".to_string(),
            scenario: "knee".to_string(),
            check: "response_time p(99) < 50ms".to_string(),
            metric: "response_time p(99)".to_string(),
            limit: 50e6,
            unit: Unit::Time,
            from: Tps::per_second(4000),
            to: Tps::per_second(20_000),
            bounds: Bounds {
                holds: Some(Tps::per_second(4250)),
                breaks: Some((Tps::per_second(4340), Finding::Breaks)),
            },
            trials: vec![
                trial(1, 4000, "holds", 12_000),
                trial(2, 8000, "breaks", 900_000),
                trial(3, 4250, "holds", 48_000),
                trial(4, 4340, "breaks", 81_000),
            ],
            cut_short: String::new(),
            simulated: false,
        }
    }

    #[test]
    fn what_was_found_is_said_in_a_sentence_with_what_was_measured() {
        let search = typical_search();
        assert_eq!(
            search.found(),
            "highest rate that holds: 4 250/s (response_time p(99) 48 ms < 50 ms); 4 340/s does not \
             (response_time p(99) 81 ms)"
        );
        let saturated = Bounds { breaks: Some((Tps::per_second(4340), Finding::Saturated)), ..search.bounds };
        let own = Search { bounds: saturated, ..search.clone() }.found();
        assert!(own.contains("at 4 340/s the generator was saturated, so this limit is its own"), "{own}");
        let none = Bounds { holds: None, breaks: Some((Tps::per_second(4340), Finding::Breaks)) };
        let none = Search { bounds: none, ..search.clone() }.found();
        assert_eq!(
            none,
            "4 340/s, the lowest rate, breaks response_time p(99) < 50ms already (response_time p(99) 81 ms)"
        );
        let all = Bounds { holds: Some(Tps::per_second(20_000)), breaks: None };
        assert!(
            Search { bounds: all, ..search }.found().ends_with("nothing higher was tried: raise search.to")
        );
    }

    #[test]
    fn every_trial_has_a_row_as_wide_as_the_header() {
        let mut search = typical_search();
        search.trials[1].figures = None;
        search.trials[1].reason = "=cmd".to_string();
        let csv = String::from_utf8(search.csv()).expect("text");
        let mut reader = ::csv::Reader::from_reader(csv.as_bytes());
        let head = reader.headers().expect("a header").clone();
        let rows: Vec<_> = reader.records().map(|row| row.expect("as wide as the header")).collect();
        let at = |name: &str| head.iter().position(|column| column == name).expect("a column");
        assert_eq!(head.iter().collect::<Vec<_>>().join(","), COLUMNS.replace(' ', ""));
        assert_eq!((&rows[2][at("measured")], &rows[2][at("unit")], rows.len()), ("48000", "us", 4));
        assert_eq!((&rows[1][at("measured")], &rows[1][at("folder")]), ("", "02-8000"));
        assert!(!rows[1][at("reason")].starts_with('='), "guarded against spreadsheets");
        let json: serde_json::Value = serde_json::from_str(&search.json()).expect("JSON");
        assert_eq!((&json["highest_rate"], &json["limited_by"]), (&4250.0.into(), &"target".into()));
        assert_eq!(json["trials"].as_array().map(Vec::len), Some(4));
    }

    #[test]
    fn the_page_has_the_curve_the_trials_and_no_network() {
        let mut search = typical_search();
        search.scenario = "<b>knee</b>".to_string();
        let page = search.html();
        for id in ["curve", "rates", "trials"] {
            assert_eq!(page.matches(&format!("id=\"{id}\"")).count(), 1, "{id}");
        }
        assert!(page.contains("&lt;b&gt;knee") && !page.contains("<b>knee") && !page.contains("NaN"));
        assert!(!page.replace("url(#clip-", "").contains("url(") && !page.contains("src="));
        search.trials.clear();
        assert!(search.html().contains("Nothing was measured"));
    }

    #[test]
    fn a_search_that_is_cut_short_has_made_the_trials_that_it_has_made() {
        let mut search = typical_search();
        (search.bounds, search.cut_short) = (Bounds::default(), "interrupted".to_string());
        search.trials.truncate(1);
        assert_eq!(search.found(), "1 trial came to no result; interrupted");
        search.trials.clear();
        assert_eq!(search.found(), "no trial was made; interrupted");
    }

    #[test]
    fn figures_of_a_run_without_numbers_are_zeros() {
        let figures = Figures::of(&blank(), "none");
        assert_eq!((figures.measured, figures.response_p99_us, figures.cpu), (None, 0, 0.0));
        assert!(Figures::of(&typical(), "none").rate_actual > 0.0);
    }
}

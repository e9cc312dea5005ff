//! Saved: `summary.json`, from which the reports of a run are made, now or years later.
//!
//! It holds everything that `report.html` shows, so that both are made from files alone, by the same code at
//! the end of a run and by `runner report`.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::Path;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::recorder::histogram::{Latencies, percentile_us};
use crate::recorder::summary::Summary;
use crate::report::blocks::{self, Block};
use crate::report::compare::Compared;
use crate::report::counts::{Reader, Scope};
use crate::report::json::{Ending, Whole, whole, written};
use crate::report::timeline::{self, Timeline};
use crate::report::{Error, junit, page};

/// The name of the file.
pub const NAME: &str = "summary.json";

/// The most bytes of it that are read.
const MAX_BYTES: u64 = 64 << 20;

/// The largest number in it. What is added up for a report or a merged run does not overflow.
const MAX_NUMBER: u64 = 1 << 53;

/// The most of the scenario that is kept here; all of it is in `effective.yaml`.
const MAX_SCENARIO: usize = 64 << 10;

/// Bars of a histogram for each power of ten.
const BARS: i32 = 10;

/// Points of a spectrum for each further nine of its percentile.
const PER_NINE: u32 = 8;

/// The machine that a run was made on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Processors.
    pub cores: usize,
    /// What they call themselves.
    pub processor: String,
    /// Bytes of memory.
    pub memory: u64,
    /// Operating system and its version.
    pub system: String,
    /// The version of this program.
    pub runner: String,
}

/// What `report.html` draws.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Drawn {
    pub timeline: Timeline,
    pub spectrum: Vec<Percentile>,
    pub histogram: Vec<Bar>,
    /// What a later comparison needs.
    #[serde(default)]
    pub blocks: Vec<Block>,
    /// The scenario with every default, as in `effective.yaml`.
    pub scenario: String,
    pub machine: Machine,
    /// The runs that this one was merged from; empty for one that was made as a whole.
    #[serde(default)]
    pub parts: Vec<Part>,
}

/// A point of the three spectra.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Percentile {
    /// From 0 to 100.
    pub percentile: f64,
    /// The response time at it.
    pub response_time_us: u64,
    /// The service time at it.
    pub service_time_us: u64,
    /// The lag at it.
    pub lag_us: u64,
}

/// How many requests took so long. The borders are `10^(i/10)` µs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bar {
    /// The shortest of them.
    pub from_us: f64,
    /// Shorter than this.
    pub to_us: f64,
    /// By their response time.
    pub response_time: u64,
    /// By their service time.
    pub service_time: u64,
    /// By their lag.
    pub lag: u64,
}

/// A run that was merged with others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Part {
    pub run_id: String,
    pub segment: String,
    pub started_at: String,
    pub outcome: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ending>,
    pub sent: u64,
    pub machine: Machine,
}

/// Everything that is known about a run that is over.
#[derive(Debug, Clone, PartialEq)]
pub struct Saved {
    pub(super) whole: Whole,
}

impl Saved {
    /// Of a run whose seconds, counts and connections lie in the folder.
    ///
    /// # Errors
    /// When one of these files cannot be read.
    pub fn of(folder: &Path, summary: &Summary, scenario: &str, machine: Machine) -> Result<Saved, Error> {
        let mut whole = whole(summary);
        whole.drawn = Some(Drawn {
            blocks: blocks::read(folder, &whole)?,
            timeline: timeline::read(folder)?,
            spectrum: spectrum(&summary.latencies),
            histogram: histogram(&summary.latencies),
            scenario: bounded(scenario),
            machine,
            parts: Vec::new(),
        });
        Ok(Saved { whole })
    }

    /// Reads `summary.json` of a folder, and looks again at its seconds and counts where they are there.
    ///
    /// # Errors
    /// When there is none, or a file holds what no run writes.
    pub fn read(folder: &Path) -> Result<Saved, Error> {
        let mut whole = read_whole(folder)?;
        let latencies = latencies(folder, &whole)?;
        let timeline = timeline::read(folder)?;
        let blocks = blocks::read(folder, &whole)?;
        let mut drawn = whole.drawn.take().unwrap_or_default();
        if let Some(latencies) = latencies {
            (drawn.spectrum, drawn.histogram) = (spectrum(&latencies), histogram(&latencies));
        }
        if !timeline.points.is_empty() {
            drawn.timeline = timeline;
        }
        if !blocks.is_empty() {
            drawn.blocks = blocks;
        }
        whole.drawn = Some(drawn);
        Ok(Saved { whole })
    }

    /// Reads a `summary.json`, wherever it lies.
    ///
    /// # Errors
    /// When it cannot be read, or is none.
    pub fn of_file(path: &Path) -> Result<Saved, Error> {
        Ok(Saved { whole: parsed(path, File::open(path))? })
    }

    /// Reads `summary.json` of a folder as it stands there.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn of_folder(folder: &Path) -> Result<Saved, Error> {
        Ok(Saved { whole: read_whole(folder)? })
    }

    /// What the run came to against an earlier one.
    pub fn against(&mut self, compared: Compared) {
        self.whole.baseline = Some(compared);
    }

    /// The name of the run.
    pub fn run_id(&self) -> &str {
        &self.whole.run_id
    }

    /// The fingerprint of its plan.
    pub fn plan(&self) -> &str {
        &self.whole.plan
    }

    /// Whether nothing was sent.
    pub fn is_simulated(&self) -> bool {
        self.whole.simulated
    }

    /// The exit code that the run ended with, and why; empty when it passed.
    pub fn verdict(&self) -> (u8, &str) {
        (self.whole.exit_code, &self.whole.reason)
    }

    /// As it stands in `summary.json`.
    pub fn json(&self) -> String {
        written(&self.whole)
    }

    /// As `junit.xml`.
    pub fn junit(&self) -> String {
        junit::text(&self.whole)
    }

    /// As `report.html`.
    pub fn html(&self) -> String {
        page::html(&self.whole)
    }
}

/// `summary.json` of a folder.
pub(super) fn read_whole(folder: &Path) -> Result<Whole, Error> {
    let path = folder.join(NAME);
    match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Err(Error::NotSummedUp(folder.to_path_buf())),
        file => parsed(&path, file),
    }
}

fn parsed(path: &Path, file: std::io::Result<File>) -> Result<Whole, Error> {
    let path = path.to_path_buf();
    let mut text = String::new();
    let read = file.and_then(|file| BufReader::new(file).take(MAX_BYTES).read_to_string(&mut text));
    read.map_err(|source| Error::Read { path: path.clone(), source })?;
    let wrong = |line: usize, what: String| Error::Content { path: path.clone(), line: line as u64, what };
    let unreadable = |error: serde_json::Error| wrong(error.line(), error.to_string());
    let whole = serde_json::from_str(&text).map_err(unreadable)?;
    match beyond(&serde_json::from_str(&text).map_err(unreadable)?) {
        Some(number) => Err(wrong(0, format!("{number} is more than any run counts"))),
        None => Ok(whole),
    }
}

/// A number that is too large for any count or time. A seed may be any number.
fn beyond(value: &serde_json::Value) -> Option<u64> {
    match value {
        serde_json::Value::Number(number) => number.as_u64().filter(|&number| number > MAX_NUMBER),
        serde_json::Value::Array(items) => items.iter().find_map(beyond),
        serde_json::Value::Object(map) => {
            map.iter().filter(|(name, _)| *name != "seed").find_map(|(_, value)| beyond(value))
        }
        _ => None,
    }
}

/// The latencies of a whole run, warm-up left out; `None` without `counts.csv`.
fn latencies(folder: &Path, whole: &Whole) -> Result<Option<Latencies>, Error> {
    let Some(mut counts) = Reader::open(folder)? else { return Ok(None) };
    let mut sum = Latencies::default();
    while let Some((scope, index)) = counts.advance()? {
        let stage = whole.stages.get(index as usize);
        if scope == Scope::Stage && stage.is_some_and(|stage| !stage.warmup) {
            counts.add_to(&mut sum)?;
        }
    }
    Ok(Some(sum))
}

/// The beginning of a scenario that is too long to be shown.
fn bounded(scenario: &str) -> String {
    if scenario.len() <= MAX_SCENARIO {
        return scenario.to_string();
    }
    let mut end = MAX_SCENARIO;
    while !scenario.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}\n# … the rest is in effective.yaml\n", &scenario[..end])
}

/// Percentiles that come nearer and nearer to 100, as far as there are samples for them.
pub fn spectrum(latencies: &Latencies) -> Vec<Percentile> {
    let samples = latencies.response.len().max(latencies.lag.len());
    if samples == 0 {
        return Vec::new();
    }
    let at = |percentile: f64| Percentile {
        percentile,
        response_time_us: percentile_us(&latencies.response, percentile),
        service_time_us: percentile_us(&latencies.service, percentile),
        lag_us: percentile_us(&latencies.lag, percentile),
    };
    // At 1 - 10^-nines there is one sample beyond when 10^nines of them were taken.
    let steps = ((samples as f64).log10() * f64::from(PER_NINE)).floor() as u32;
    let of_step = |step: u32| 100.0 - 100.0 / 10f64.powf(f64::from(step) / f64::from(PER_NINE));
    (0..=steps).map(of_step).chain([100.0]).map(at).collect()
}

/// How many requests took how long.
pub fn histogram(latencies: &Latencies) -> Vec<Bar> {
    let place = |ns: u64| ((ns.max(1) as f64 / 1000.0).log10() * f64::from(BARS)).floor() as i32;
    let mut bars: std::collections::BTreeMap<i32, [u64; 3]> = std::collections::BTreeMap::new();
    let of: [&Histogram<u64>; 3] = [&latencies.response, &latencies.service, &latencies.lag];
    for (which, histogram) in of.into_iter().enumerate() {
        for value in histogram.iter_recorded() {
            bars.entry(place(value.value_iterated_to())).or_default()[which] += value.count_at_value();
        }
    }
    let (Some(&first), Some(&last)) = (bars.keys().next(), bars.keys().next_back()) else {
        return Vec::new();
    };
    let border = |place: i32| 10f64.powf(f64::from(place) / f64::from(BARS));
    (first..=last)
        .map(|place| {
            let [response_time, service_time, lag] = bars.get(&place).copied().unwrap_or_default();
            Bar { from_us: border(place), to_us: border(place + 1), response_time, service_time, lag }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Folder;
    use crate::report::tests::typical;

    #[test]
    fn a_summary_is_read_back_as_it_was_written() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = Folder::create(dir.path()).expect("made");
        let machine = Machine { cores: 2, system: "Linux 6.1".to_string(), ..Machine::default() };
        let saved = Saved::of(dir.path(), &typical(), "name: ramp\n", machine).expect("summed up");
        folder.write(NAME, saved.json().as_bytes()).expect("written");
        let read = Saved::read(dir.path()).expect("read");
        assert_eq!(read, saved);
        assert_eq!(read.json(), saved.json());
    }

    #[test]
    fn every_request_is_in_one_bar_and_the_spectrum_ends_with_the_longest() {
        let mut latencies = Latencies::default();
        for value in 1..=10_000u64 {
            latencies.response.saturating_record(value * 1000);
        }
        let bars = histogram(&latencies);
        assert_eq!(bars.iter().map(|bar| bar.response_time).sum::<u64>(), 10_000);
        assert!(bars.iter().all(|bar| bar.from_us < bar.to_us));
        let spectrum = spectrum(&latencies);
        assert_eq!(spectrum.first().map(|point| point.percentile), Some(0.0));
        let last = spectrum.last().expect("a point");
        assert_eq!((last.percentile, last.response_time_us), (100.0, 10_002));
        assert!(spectrum.windows(2).all(|pair| pair[0].response_time_us <= pair[1].response_time_us));
        assert!(super::spectrum(&Latencies::default()).is_empty());
    }

    #[test]
    fn a_folder_that_is_not_summed_up_says_so() {
        let dir = tempfile::tempdir().expect("a folder");
        let error = Saved::read(dir.path()).expect_err("no summary").to_string();
        assert!(error.contains("summary.json"), "{error}");
        std::fs::write(dir.path().join(NAME), "{\n\"run_id\": 7}").expect("written");
        let error = Saved::read(dir.path()).expect_err("no summary").to_string();
        assert!(error.contains("line 2"), "{error}");
    }

    #[test]
    fn a_number_that_no_run_counts_is_refused_unless_it_is_a_seed() {
        let dir = tempfile::tempdir().expect("a folder");
        let summary = Summary { seed: u64::MAX, ..typical() };
        let saved = Saved::of(dir.path(), &summary, "", Machine::default()).expect("summed up");
        std::fs::write(dir.path().join(NAME), saved.json()).expect("written");
        assert_eq!(Saved::read(dir.path()).expect("read"), saved);
        let most = saved.json().replace("\"matched\": 13500", "\"matched\": 18446744073709551615");
        std::fs::write(dir.path().join(NAME), most).expect("written");
        let error = Saved::read(dir.path()).expect_err("refused").to_string();
        assert!(error.contains("18446744073709551615 is more than any run counts"), "{error}");
    }
}

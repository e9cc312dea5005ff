//! A comparison as text, as Markdown for a pull request, and as JSON.

use std::fmt::Write;

use serde::Serialize;

use crate::report::compare::failing::LEAST;
use crate::report::compare::{BLOCKS, CHANCE, Compared, Finding, Judgement, Measure, Named};
use crate::report::figures::{Tone, columns, exact_seconds, grouped, measure, paint, percent, plain};
use crate::report::json::written;
use crate::units::{Nanos, Unit};

/// Characters of a foreign text that are shown.
const SHOWN: usize = 120;

/// Below this a probability is no number any more that means something.
const LEAST_SHOWN: f64 = 0.001;

/// What is compared, in columns.
pub(in crate::report) const HEAD: [&str; 8] = ["", "base", "new", "change", "", "per block", "noise", "p"];

/// A value in the unit of its metric.
pub(in crate::report) fn value(value: f64, unit: &str) -> String {
    match unit {
        "us" => measure(value * 1e3, Unit::Time),
        "share" => measure(value, Unit::Share),
        "per_second" => measure(value, Unit::PerSecond),
        _ => grouped(value.max(0.0).round() as u64),
    }
}

/// The same with its sign.
fn signed(change: f64, unit: &str) -> String {
    let sign = if change < 0.0 { "−" } else { "+" };
    match value(change.abs(), unit) {
        nothing if change == 0.0 => nothing,
        text => format!("{sign}{text}"),
    }
}

fn signed_share(share: f64) -> String {
    let sign = if share < 0.0 { "−" } else { "+" };
    let percents = share.abs() * 100.0;
    match percents {
        percents if percents < 0.05 => "0 %".to_string(),
        percents if percents < 100.0 => format!("{sign}{percents:.1} %"),
        percents => format!("{sign}{} %", grouped(percents.round() as u64)),
    }
}

/// `response_time p99 from 12 ms to 17 ms (+41.7 %)`.
pub(super) fn change(of: &Measure) -> String {
    let show = |side: Option<f64>| side.map_or_else(|| "–".to_string(), |number| value(number, &of.unit));
    let share = of.change_share.map_or_else(String::new, |share| format!(" ({})", signed_share(share)));
    let part = of.part.map_or_else(String::new, |blocks| format!(" in {blocks} of {BLOCKS} blocks"));
    format!("{} from {} to {}{share}{part}", of.metric, show(of.base), show(of.new))
}

/// A row of the table: the cells of [`HEAD`], and the word at its end.
pub(in crate::report) fn cells(of: &Measure) -> (Vec<String>, &'static str) {
    let show = |side: Option<f64>| side.map_or_else(|| "–".to_string(), |number| value(number, &of.unit));
    let sign = |side: Option<f64>| side.map_or_else(|| "–".to_string(), |number| signed(number, &of.unit));
    let word = match of.finding {
        Finding::Worse => "WORSE",
        Finding::Better => "better",
        Finding::Same | Finding::Shown => "",
    };
    let cells = vec![
        of.metric.clone(),
        show(of.base),
        show(of.new),
        sign(of.change),
        of.change_share.map_or_else(|| "–".to_string(), signed_share),
        sign(of.typical),
        of.noise.map_or_else(|| "–".to_string(), |noise| format!("±{}", value(noise, &of.unit))),
        match of.probability {
            None => "–".to_string(),
            Some(small) if small < LEAST_SHOWN => format!("<{LEAST_SHOWN}"),
            Some(probability) => format!("{probability:.3}"),
        },
    ];
    (cells, word)
}

/// How a run came out, and that it was none.
pub(in crate::report) fn outcome(named: &Named) -> String {
    let simulated = if named.simulated { ", SIMULATED" } else { "" };
    format!("{}{simulated}", plain(&named.outcome, SHOWN))
}

fn run(named: &Named) -> String {
    format!("{} ({}, {})", plain(&named.run_id, SHOWN), outcome(named), plain(&named.started_at, SHOWN))
}

/// What was compared, in a line.
pub(in crate::report) fn basis(compared: &Compared) -> String {
    let plan = match compared.differs.as_str() {
        "" if compared.base.plan == compared.new.plan => format!("plan {}", compared.new.plan),
        "" => {
            format!("the same stages, drawn with seed {} and seed {}", compared.base.seed, compared.new.seed)
        }
        differs => format!("DIFFERENT LOADS: {differs}"),
    };
    let seconds = exact_seconds(Nanos((compared.seconds * 1e9).round() as u64));
    format!("{}: {seconds} s in {} blocks, warm-up left out", plain(&plan, SHOWN), compared.blocks)
}

/// What would be called a change.
pub(in crate::report) fn terms(compared: &Compared) -> String {
    let bounds = &compared.bounds;
    format!(
        "a change is one that chance makes in less than {} of comparisons, of at least {}, {} and {} of the requests; \
         errors count in a part of the run too, from {} of the requests on",
        percent(CHANCE, 1.0),
        percent(bounds.change, 1.0),
        value(bounds.time_us as f64, "us"),
        value(bounds.share, "share"),
        value(bounds.share.max(LEAST), "share"),
    )
}

/// What is no change, and is to be known all the same.
pub(in crate::report) fn doubt(compared: &Compared) -> Option<String> {
    let of = compared.metrics.iter().find(|of| of.part.is_some() && of.finding == Finding::Same)?;
    Some(format!("{}: that may be a burst or two, which decide nothing; run it again to know", change(of)))
}

fn judgement(compared: &Compared) -> String {
    let words = compared.judgement.words();
    if compared.reason.is_empty() { words.to_string() } else { format!("{words}: {}", compared.reason) }
}

/// A table for people, the verdict first.
pub fn text(all: &[Compared], colour: bool) -> String {
    let mut out = String::new();
    for (index, compared) in all.iter().enumerate() {
        let tone = match compared.judgement {
            Judgement::Regression => Tone::Bad,
            Judgement::TooShort => Tone::Doubt,
            Judgement::NoSignificantChange | Judgement::Improvement => Tone::Good,
        };
        let gap = if index > 0 { "\n" } else { "" };
        let (words, reason) = (compared.judgement.words().to_uppercase(), &compared.reason);
        let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let _ = writeln!(out, "{gap}{}{reason}", paint(&words, tone, colour));
        let _ = writeln!(out, "  base  {}\n  new   {}", run(&compared.base), run(&compared.new));
        let _ = writeln!(out, "  {}", paint(&basis(compared), Tone::Faint, colour));
        let mut rows = vec![HEAD.map(str::to_string).to_vec()];
        for of in &compared.metrics {
            let (mut cells, word) = cells(of);
            cells.push(word.to_string());
            rows.push(cells);
        }
        out.push('\n');
        for line in columns(2, 1, rows).lines() {
            let tone = if line.ends_with("WORSE") { Some(Tone::Bad) } else { None };
            let tone = tone.or_else(|| line.ends_with("better").then_some(Tone::Good));
            let _ = writeln!(out, "{}", tone.map_or(line.to_string(), |tone| paint(line, tone, colour)));
        }
        let _ = writeln!(out);
        if let Some(doubt) = doubt(compared) {
            let _ = writeln!(out, "  {}", paint(&doubt, Tone::Doubt, colour));
        }
        let _ = writeln!(out, "  {}", paint(&terms(compared), Tone::Faint, colour));
    }
    out
}

/// Markdown for a pull request: the verdict and what decides, and the rest under a fold.
pub fn markdown(all: &[Compared]) -> String {
    let mut out = String::new();
    for compared in all {
        let mark = match compared.judgement {
            Judgement::Regression => "❌",
            Judgement::TooShort => "❔",
            Judgement::NoSignificantChange | Judgement::Improvement => "✅",
        };
        let name = safe(&compared.new.scenario);
        let _ = writeln!(out, "### {mark} {name}: {}\n", safe(&judgement(compared)));
        let _ = writeln!(
            out,
            "`{}`{} against `{}`{}; {}.\n",
            code(&compared.new.run_id),
            simulated(&compared.new),
            code(&compared.base.run_id),
            simulated(&compared.base),
            safe(&basis(compared))
        );
        if let Some(doubt) = doubt(compared) {
            let _ = writeln!(out, "{}.\n", safe(&doubt));
        }
        let (decide, rest): (Vec<_>, Vec<_>) =
            compared.metrics.iter().partition(|of| of.finding != Finding::Shown);
        rows(&mut out, &decide);
        let _ = writeln!(out, "\n<details><summary>What does not decide</summary>\n");
        rows(&mut out, &rest);
        let _ = writeln!(out, "\n</details>\n\n<sub>{}</sub>\n", safe(&terms(compared)));
    }
    out
}

fn rows(out: &mut String, of: &[&Measure]) {
    let _ = writeln!(out, "| | base | new | change | | per block | noise | p | |");
    let _ = writeln!(out, "|---|---:|---:|---:|---:|---:|---:|---:|---|");
    for of in of {
        let (cells, word) = cells(of);
        let word = if word.is_empty() { String::new() } else { format!("**{word}**") };
        let cells: Vec<String> = cells.iter().map(|cell| safe(cell)).collect();
        let _ = writeln!(out, "| {} | {word} |", cells.join(" | "));
    }
}

fn simulated(named: &Named) -> &'static str {
    if named.simulated { " (**simulated**)" } else { "" }
}

/// A text from outside as Markdown: one line, no markup.
fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in plain(text, 400).chars() {
        if "\\`*[]<>|#~@".contains(character) {
            out.push('\\');
        }
        out.push(character);
    }
    out
}

/// The same within a span of code, where nothing can be escaped.
fn code(text: &str) -> String {
    plain(text, SHOWN).replace('`', "'")
}

/// Everything, with stable names.
pub fn json(all: &[Compared]) -> String {
    #[derive(Serialize)]
    struct All<'a> {
        compared: &'a [Compared],
    }
    written(&All { compared: all })
}

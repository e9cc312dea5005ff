//! `compare.html`: runs side by side on one page, in one file, without a network.

use std::fmt::Write;

use crate::report::compare::{
    Compared, Finding, HEAD, Judgement, Named, Side, basis, cells, doubt, outcome, terms,
};
use crate::report::json::Whole;
use crate::report::page::charts::{Along, Chart, Line, Of};
use crate::report::page::{at, close, end, end_of, foreign, joined, opening, section, table};
use crate::report::saved::Percentile;
use crate::report::timeline::{Point, Timeline};

/// The names of the lines: the base and the first of the others. There are no more strokes to tell them
/// apart.
const NAMES: [&str; 5] = ["base", "new", "new 2", "new 3", "new 4"];

/// The page of what `news` came to against `base`; `all` has what was found of each of them.
pub(in crate::report) fn html(base: &Side, news: &[Side], all: &[Compared]) -> String {
    let worst = all.iter().map(|compared| compared.judgement()).max_by_key(|judgement| weight(*judgement));
    let worst = worst.unwrap_or(Judgement::NoSignificantChange);
    let words = worst.words().to_uppercase();
    let mut out = opening(&format!("{words} {}", foreign(&base.whole.scenario)));
    let tone = if worst == Judgement::Regression { "bad" } else { "good" };
    let name = foreign(&base.whole.scenario);
    let _ = write!(out, "<header><p class=\"verdict {tone}\">{words}</p><h1>{name}</h1>");
    for compared in all.iter().filter(|compared| !compared.reason().is_empty()) {
        let of = if all.len() > 1 { format!("{}: ", foreign(compared.names()[1])) } else { String::new() };
        let _ = write!(out, "<p class=\"reason\">{of}{}</p>", foreign(compared.reason()));
    }
    out.push_str("</header>\n<main>");
    section(&mut out, "runs", "Runs");
    let named = all.first().map(|compared| &compared.base).into_iter();
    let rows = named
        .chain(all.iter().map(|compared| &compared.new))
        .zip(NAMES.iter().copied().chain(std::iter::repeat("")));
    let rows = rows.map(|(run, line)| facts(run, line));
    table(&mut out, "What is compared", &["", "run", "started", "plan", "seed", "outcome"], 6, rows);
    end(&mut out);
    for (index, compared) in all.iter().enumerate() {
        verdict(&mut out, compared, index, all.len());
    }
    let sides: Vec<&Whole> =
        std::iter::once(base).chain(news).map(|side| &side.whole).take(NAMES.len()).collect();
    let left_out = match news.len().saturating_sub(NAMES.len() - 1) {
        0 => String::new(),
        more => format!(" The last {more} of the runs are not drawn."),
    };
    over_time(&mut out, &sides, &left_out);
    spectra(&mut out, &sides, &left_out);
    close(&mut out);
    out
}

const fn weight(judgement: Judgement) -> u8 {
    match judgement {
        Judgement::NoSignificantChange => 0,
        Judgement::Improvement => 1,
        Judgement::TooShort => 2,
        Judgement::Regression => 3,
    }
}

fn facts(run: &Named, line: &str) -> Vec<String> {
    vec![
        line.to_string(),
        foreign(&run.run_id),
        foreign(&run.started_at),
        foreign(&run.plan),
        run.seed.to_string(),
        foreign(&outcome(run)),
    ]
}

pub(super) fn verdict(out: &mut String, compared: &Compared, index: usize, of: usize) {
    let title = match of {
        1 => "What has changed".to_string(),
        _ => format!("What has changed in {}", foreign(compared.names()[1])),
    };
    section(out, &format!("changes-{index}"), &title);
    let tone = if compared.judgement() == Judgement::Regression { "bad" } else { "good" };
    let _ = write!(out, "<p class=\"{tone}\">{}", compared.judgement().words());
    if !compared.reason().is_empty() {
        let _ = write!(out, ": {}", foreign(compared.reason()));
    }
    let _ = write!(out, "</p><p>{}.</p>", foreign(&basis(compared)));
    if let Some(doubt) = doubt(compared) {
        let _ = write!(out, "<p>{}.</p>", foreign(&doubt));
    }
    let rows = compared.metrics.iter().map(|of| {
        let (cells, word) = cells(of);
        let mut row: Vec<String> = cells.iter().map(|cell| foreign(cell)).collect();
        let tone = if of.finding == Finding::Worse { "bad" } else { "good" };
        row.push(if word.is_empty() {
            String::new()
        } else {
            format!("<span class=\"{tone}\">{word}</span>")
        });
        row
    });
    let head: Vec<&str> = HEAD.into_iter().chain([""]).collect();
    table(out, &foreign(&terms(compared)), &head, 1, rows);
    end(out);
}

fn timeline(whole: &Whole) -> Timeline {
    whole.drawn.as_ref().map(|drawn| drawn.timeline.clone()).unwrap_or_default()
}

/// Lines of all runs over the points of the first.
fn lines(timelines: &[Timeline], steps: bool, of: impl Fn(&Point) -> Option<f64>) -> Vec<Line> {
    let Some(base) = timelines.first() else { return Vec::new() };
    let of_run = |timeline: &Timeline| {
        let value = |point: &Point| {
            let place = timeline.points.binary_search_by_key(&point.second, |other| other.second).ok()?;
            timeline.points.get(place).and_then(&of)
        };
        base.points.iter().map(value).collect()
    };
    timelines
        .iter()
        .zip(NAMES)
        .map(|(timeline, name)| Line { name, values: of_run(timeline), steps })
        .collect()
}

fn over_time(out: &mut String, sides: &[&Whole], left_out: &str) {
    let timelines: Vec<Timeline> = sides.iter().map(|whole| timeline(whole)).collect();
    let Some(base) = timelines.first() else { return };
    section(out, "time", "Over time");
    let mut chart = |id, title, note: &str, of, lines| {
        let note = format!("{note}{}{left_out}", joined(base));
        Chart {
            id,
            title,
            note,
            along: Along::Seconds,
            at: at(base),
            end: end_of(base),
            of,
            lines,
            band: None,
        }
        .html(out);
    };
    let response = |value: fn(&Point) -> u64| {
        lines(&timelines, false, move |point| (point.response_time.count > 0).then(|| value(point) as f64))
    };
    let note = "received − intended; logarithmic.";
    chart("p50", "response_time p50", note, Of::Micros, response(|point| point.response_time.p50_us));
    chart("p99", "response_time p99", note, Of::Micros, response(|point| point.response_time.p99_us));
    let per_second = |value: fn(&Point) -> u64| {
        lines(&timelines, true, move |point| Some(value(point) as f64 / point.seconds.max(1) as f64))
    };
    let note = "Counted in the second in which the requests were due.";
    chart("rate", "Answered per second", note, Of::Rate, per_second(|point| point.matched));
    chart(
        "trouble",
        "Without the answer they wanted, per second",
        note,
        Of::Rate,
        per_second(|point| point.failed + point.timed_out + point.dropped + point.error_replies),
    );
    end(out);
}

fn spectra(out: &mut String, sides: &[&Whole], left_out: &str) {
    let spectra: Vec<Vec<Percentile>> = sides
        .iter()
        .map(|whole| whole.drawn.as_ref().map(|drawn| drawn.spectrum.clone()).unwrap_or_default())
        .collect();
    // 100 % is beyond any number of nines. The points are the same in all runs, as far as each has samples.
    let longest = spectra.iter().max_by_key(|spectrum| spectrum.len()).cloned().unwrap_or_default();
    let points: Vec<&Percentile> = longest.iter().filter(|point| point.percentile < 100.0).collect();
    let of_run = |spectrum: &Vec<Percentile>| {
        let value = |point: &&Percentile| {
            let own = spectrum.iter().find(|own| own.percentile == point.percentile)?;
            Some(own.response_time_us as f64)
        };
        points.iter().map(value).collect()
    };
    let lines = spectra.iter().zip(NAMES);
    let lines = lines.map(|(spectrum, name)| Line { name, values: of_run(spectrum), steps: false }).collect();
    section(out, "distribution", "Distribution");
    Chart {
        id: "spectrum",
        title: "Percentile spectrum of response_time",
        note: format!(
            "The time within which that share of the requests was answered; logarithmic.{left_out}"
        ),
        along: Along::Nines,
        at: points.iter().map(|point| -(1.0 - point.percentile / 100.0).log10()).collect(),
        end: None,
        of: Of::Micros,
        lines,
        band: None,
    }
    .html(out);
    end(out);
}

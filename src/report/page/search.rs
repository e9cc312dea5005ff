//! `search.html`: what a search for the highest rate has found, with the curve of latency over rate.

use std::fmt::Write;

use crate::report::figures::measure;
use crate::report::page::charts::{Along, Chart, Line, Of};
use crate::report::page::{SCRIPT, end, foreign, opening, section, table};
use crate::report::search::{Figures, Search, Trial};
use crate::units::Unit;

/// The page of a search.
pub(in crate::report) fn html(search: &Search) -> String {
    let found = search.bounds.holds.is_some() && search.cut_short.is_empty();
    let (word, tone) = if found { ("FOUND", "good") } else { ("NOT FOUND", "bad") };
    let name = foreign(&search.scenario);
    let mut out = opening(&format!("{word} {name}"));
    let sad = if found { "" } else { " class=\"reason\"" };
    let simulated = if search.simulated { " (SIMULATED)" } else { "" };
    let _ = write!(
        out,
        "<header><p class=\"verdict {tone}\">{word}{simulated}</p><h1>{name}</h1><p{sad}>{}</p>\
         <p class=\"facts\">run {} · search for the highest rate at which {} holds</p></header>\n<main>",
        foreign(&search.found()),
        foreign(&search.run_id),
        foreign(&search.check)
    );
    let points = by_rate(search);
    curve(&mut out, search, &points);
    trials(&mut out, search);
    let _ = writeln!(out, "</main><script>{SCRIPT}</script></body></html>");
    out
}

/// The last trial at each rate of which anything is known, by rate.
fn by_rate(search: &Search) -> Vec<(&Trial, &Figures)> {
    let mut points: Vec<(&Trial, &Figures)> = Vec::new();
    for trial in &search.trials {
        let Some(figures) = &trial.figures else { continue };
        points.retain(|(other, _)| other.rate != trial.rate);
        points.push((trial, figures));
    }
    points.sort_by(|(one, _), (other, _)| one.rate.total_cmp(&other.rate));
    points
}

fn curve(out: &mut String, search: &Search, points: &[(&Trial, &Figures)]) {
    section(out, "knee", "Latency over rate");
    let at: Vec<f64> = points.iter().map(|(trial, _)| trial.rate).collect();
    let line = |name: &'static str, of: &dyn Fn(&Figures) -> Option<f64>| Line {
        name,
        values: points.iter().map(|(_, figures)| of(figures)).collect(),
        steps: false,
    };
    let mut lines = vec![
        line("p50", &|figures| Some(figures.response_p50_us as f64)),
        line("p99", &|figures| Some(figures.response_p99_us as f64)),
        line("max", &|figures| Some(figures.response_max_us as f64)),
    ];
    let is_time = search.unit == Unit::Time;
    let metric: String = search.metric.chars().filter(|c| !" ()".contains(*c)).collect();
    let is_drawn = ["response_timep50", "response_timep99", "response_timemax"].contains(&metric.as_str());
    if is_time && !is_drawn {
        lines.push(line("measured", &|figures| figures.measured));
    }
    if is_time {
        lines.push(line("limit", &|_| Some(search.limit / 1e3)));
    }
    let note = "response_time in trials of this planned rate, warm-up left out; logarithmic. A rate that was tried twice \
                is shown as it was the second time."
        .to_string();
    let chart = |id, title, note, of, lines| Chart {
        id,
        title,
        note,
        along: Along::Rate,
        at: at.clone(),
        end: None,
        of,
        lines,
        band: None,
    };
    chart("curve", "Response time over rate", note, Of::Micros, lines).html(out);
    if !is_time {
        let of = if search.unit == Unit::Share { Of::Percent } else { Of::Rate };
        let scale = if search.unit == Unit::Share { 100.0 } else { 1.0 };
        let lines = vec![
            line("measured", &|figures| figures.measured.map(|value| value * scale)),
            line("limit", &|_| Some(search.limit * scale)),
        ];
        let note = format!("{} against its limit.", search.metric);
        chart("metric", "What is searched for, over rate", note, of, lines).html(out);
    }
    let lines = vec![
        Line { name: "planned", values: at.iter().map(|rate| Some(*rate)).collect(), steps: false },
        line("sent", &|figures| Some(figures.rate_actual)),
    ];
    let note = "Requests per second that were sent, against those that were planned.".to_string();
    chart("rates", "Sent over planned", note, Of::Rate, lines).html(out);
    end(out);
}

fn trials(out: &mut String, search: &Search) {
    section(out, "trials", "Trials");
    let rows = search.trials.iter().map(|trial| {
        let tone = if trial.verdict == "holds" { "good" } else { "bad" };
        // A number and its unit stay together.
        let together = |cell: &String| foreign(cell).replace(' ', "\u{a0}");
        let mut row: Vec<String> = search.cells(trial).iter().map(together).collect();
        row[2] = format!("<span class=\"{tone}\">{}</span>", row[2]);
        let folder = foreign(&trial.folder);
        row.extend([folder, foreign(&trial.reason)]);
        row
    });
    let limit = measure(search.limit, search.unit);
    let head = [
        "trial", "rate", "verdict", "measured", "p50", "p99", "sent", "errors", "lag p99", "cpu", "folder",
        "why",
    ];
    table(out, &format!("In their order; the limit is {}", foreign(&limit)), &head, 0, rows);
    end(out);
}

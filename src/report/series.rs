//! A series of runs side by side: the rows of a matrix, and two targets in turns. A table, two CSV files
//! and a picture.

use std::fmt::Write;

use crate::recorder::histogram::percentile_us;
use crate::recorder::summary::Summary;
use crate::report::csv::{decimal, table};
use crate::report::figures::{Tone, columns, grouped, micros, paint, percent, plain, rate};

/// Characters of a value that are shown.
const SHOWN: usize = 40;

/// What one run of a series came to.
#[derive(Debug, Clone)]
pub struct Pass {
    /// Which row of the matrix, from 1.
    pub row: usize,
    /// The paths of the matrix and their values.
    pub values: Vec<(String, String)>,
    /// Who was loaded, where there are two.
    pub target: Option<Target>,
    /// Which round of the two targets, from 1.
    pub round: u32,
    /// One word: how it ended.
    pub outcome: String,
    /// Its exit code.
    pub exit_code: u8,
    /// Connections of the plan.
    pub connections: u64,
    /// What was measured; `None` where the run could not begin.
    pub measured: Option<Measured>,
}

/// Which of two targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// That of the scenario.
    First,
    /// That of `compare_with`.
    Second,
}

/// One of two targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its addresses in words.
    pub name: String,
    /// Which one it is; two rows may have different targets on the same side.
    pub side: Side,
}

/// The figures of one run.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// Requests that came due or were begun.
    pub operations: u64,
    /// Of these, without the answer they wanted.
    pub errors: u64,
    /// Errors as a share of the operations, from 0 to 1.
    pub error_rate: f64,
    /// Requests sent per second.
    pub per_second: f64,
    /// Median response time.
    pub p50_us: u64,
    /// 99th percentile of the response time.
    pub p99_us: u64,
    /// The same by kind of request: name, requests per second, 99th percentile.
    pub kinds: Vec<(String, f64, u64)>,
}

impl Measured {
    /// The figures of a summary.
    pub fn of(summary: &Summary) -> Measured {
        let response = &summary.latencies.response;
        let kinds = summary.kinds.iter().map(|kind| {
            let p99_us = percentile_us(&kind.tally.latencies.response, 99.0);
            (kind.name.clone(), summary.rate_of(kind), p99_us)
        });
        Measured {
            operations: summary.operations(),
            errors: summary.errors(),
            error_rate: summary.error_rate(),
            per_second: summary.rate_actual(),
            p50_us: percentile_us(response, 50.0),
            p99_us: percentile_us(response, 99.0),
            kinds: kinds.collect(),
        }
    }
}

impl Pass {
    /// The values of its row in a few words: `connections.count=500`.
    pub fn label(&self) -> String {
        let values = self.values.iter().map(|(path, value)| format!("{path}={}", plain(value, SHOWN)));
        values.collect::<Vec<_>>().join(" ")
    }

    /// The name of its target.
    fn target_name(&self) -> &str {
        self.target.as_ref().map_or("", |target| &target.name)
    }

    fn is_second(&self) -> bool {
        self.target.as_ref().is_some_and(|target| target.side == Side::Second)
    }

    /// The values alone, for a picture.
    fn short(&self) -> String {
        let values: Vec<String> = self.values.iter().map(|(_, value)| plain(value, 16)).collect();
        if values.is_empty() { format!("round {}", self.round) } else { values.join(" ") }
    }
}

/// The paths of the matrix, those of the first pass.
fn paths(passes: &[Pass]) -> Vec<&str> {
    let first = passes.first();
    first.map_or_else(Vec::new, |pass| pass.values.iter().map(|(path, _)| path.as_str()).collect())
}

/// The names of all kinds in the order in which they come.
fn kinds(passes: &[Pass]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for (name, ..) in passes.iter().filter_map(|pass| pass.measured.as_ref()).flat_map(|m| &m.kinds) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    names
}

/// `matrix.csv`: a row for each run.
pub fn csv(passes: &[Pass]) -> Vec<u8> {
    let mut head = vec!["row".to_string()];
    head.extend(paths(passes).iter().map(|path| path.to_string()));
    head.extend(
        "target,round,outcome,exit_code,operations,connections,errors,error_rate,operations_per_second,\
         response_p50_us,response_p99_us"
            .split(',')
            .map(str::to_string),
    );
    let kinds = kinds(passes);
    for kind in &kinds {
        head.extend([format!("{kind}_per_second"), format!("{kind}_p99_us")]);
    }
    let rows = passes.iter().map(|pass| {
        let mut row = vec![pass.row.to_string()];
        row.extend(pass.values.iter().map(|(_, value)| value.clone()));
        row.extend([
            pass.target_name().to_string(),
            pass.round.to_string(),
            pass.outcome.clone(),
            pass.exit_code.to_string(),
        ]);
        let Some(measured) = &pass.measured else {
            row.extend([String::new(), pass.connections.to_string()]);
            row.resize(head.len(), String::new());
            return row;
        };
        row.extend([
            measured.operations.to_string(),
            pass.connections.to_string(),
            measured.errors.to_string(),
            format!("{:.6}", measured.error_rate),
            decimal(measured.per_second),
            measured.p50_us.to_string(),
            measured.p99_us.to_string(),
        ]);
        for kind in &kinds {
            match measured.kinds.iter().find(|(name, ..)| name == kind) {
                Some((_, per_second, p99_us)) => row.extend([decimal(*per_second), p99_us.to_string()]),
                None => row.extend([String::new(), String::new()]),
            }
        }
        row
    });
    let rows: Vec<Vec<String>> = rows.collect();
    table(&head, rows)
}

/// The runs as a table for people.
pub fn text(passes: &[Pass], colour: bool) -> String {
    let mut head: Vec<String> = paths(passes).iter().map(|path| plain(path, SHOWN)).collect();
    let two = passes.iter().any(|pass| pass.target.is_some());
    if two {
        head.extend(["target".to_string(), "round".to_string()]);
    }
    let left = head.len();
    let figures = ["operations", "connections", "errors", "error rate", "ops per second", "p50", "p99", ""];
    head.extend(figures.map(str::to_string));
    let mut rows = vec![head];
    for pass in passes {
        let mut row: Vec<String> = pass.values.iter().map(|(_, value)| plain(value, SHOWN)).collect();
        if two {
            row.extend([pass.target_name().to_string(), pass.round.to_string()]);
        }
        match &pass.measured {
            None => row.extend(["-", "-", "-", "-", "-", "-", "-"].map(str::to_string)),
            Some(measured) => row.extend([
                grouped(measured.operations),
                grouped(pass.connections),
                grouped(measured.errors),
                percent(measured.error_rate, 1.0),
                rate(measured.per_second),
                micros(measured.p50_us),
                micros(measured.p99_us),
            ]),
        }
        row.push(if pass.exit_code == 0 { String::new() } else { pass.outcome.to_uppercase() });
        rows.push(row);
    }
    let title = if paths(passes).is_empty() { "RUNS" } else { "MATRIX" };
    format!("{}\n{}", paint(title, Tone::Head, colour), columns(2, left, rows))
}

/// One line of the comparison of two targets: medians over the rounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// What is compared: `SET requests per second`, behind the values of its row.
    pub metric: String,
    /// The names of the two targets of its row.
    pub targets: [String; 2],
    /// The first target.
    pub first: f64,
    /// The second.
    pub second: f64,
    /// Whether it is a time.
    is_time: bool,
}

impl Comparison {
    /// First by second; 0 where the second is nothing.
    pub fn ratio(&self) -> f64 {
        if self.second > 0.0 { self.first / self.second } else { 0.0 }
    }
}

/// Requests per second and p99 of the first target against the second, by row and kind.
pub fn comparisons(passes: &[Pass]) -> Vec<Comparison> {
    let mut found = Vec::new();
    let last = passes.iter().map(|pass| pass.row).max().unwrap_or(0);
    for row in 1..=last {
        let of_row: Vec<&Pass> = passes.iter().filter(|pass| pass.row == row).collect();
        let label = of_row.first().map(|pass| pass.label()).filter(|_| last > 1).unwrap_or_default();
        let on = |side: Side| {
            of_row.iter().filter(move |pass| pass.target.as_ref().is_some_and(|target| target.side == side))
        };
        let of = |side: Side, figure: &dyn Fn(&Measured) -> Option<f64>| {
            median(on(side).filter_map(|pass| pass.measured.as_ref()).filter_map(figure).collect())
        };
        let targets = [Side::First, Side::Second]
            .map(|side| on(side).next().map_or_else(String::new, |pass| pass.target_name().to_string()));
        let mut add = |name: &str, is_time: bool, figure: &dyn Fn(&Measured) -> Option<f64>| {
            let (Some(first), Some(second)) = (of(Side::First, figure), of(Side::Second, figure)) else {
                return;
            };
            // The name of the one kind of a row says it all.
            let metric = if label.is_empty() || label.ends_with(name) {
                name.to_string()
            } else {
                format!("{label}: {name}")
            };
            found.push(Comparison { metric, targets: targets.clone(), first, second, is_time });
        };
        let owned: Vec<Pass> = of_row.iter().map(|pass| (*pass).clone()).collect();
        let names = kinds(&owned);
        if names.is_empty() {
            add("requests per second", false, &|m| Some(m.per_second));
            add("p99", true, &|m| Some(m.p99_us as f64));
        }
        for name in names {
            let kind = |m: &Measured| m.kinds.iter().find(|(of, ..)| of == name).cloned();
            add(&format!("{name} requests per second"), false, &|m| kind(m).map(|(_, rate, _)| rate));
            add(&format!("{name} p99"), true, &|m| kind(m).map(|(.., p99_us)| p99_us as f64));
        }
    }
    found
}

fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(figures[middle]),
        _ => Some((figures[middle - 1] + figures[middle]) / 2.0),
    }
}

/// The comparison as a table for people.
pub fn comparison_text(found: &[Comparison], colour: bool) -> String {
    let Some(line) = found.first() else { return String::new() };
    let [first, second] = &line.targets;
    // Rows with targets of their own have them among their values, or below.
    let same = found.iter().all(|other| other.targets == line.targets);
    let (first, second) = if same { (first.as_str(), second.as_str()) } else { ("first", "second") };
    let mut rows = vec![["", first, second, "ratio"].map(str::to_string).to_vec()];
    for line in found {
        let show = |figure: f64| if line.is_time { micros(figure.round() as u64) } else { rate(figure) };
        let ratio = format!("{:.2}", line.ratio());
        let of = if same { String::new() } else { format!(" ({} and {})", line.targets[0], line.targets[1]) };
        rows.push(vec![
            plain(&format!("{}{of}", line.metric), 160),
            show(line.first),
            show(line.second),
            ratio,
        ]);
    }
    format!("{}\n{}", paint("COMPARED", Tone::Head, colour), columns(2, 1, rows))
}

/// `compare.csv`: a row for each figure; times in µs.
pub fn comparison_csv(found: &[Comparison]) -> Vec<u8> {
    let head = ["metric", "first_target", "first", "second_target", "second", "ratio"].map(str::to_string);
    let rows = found.iter().map(|line| {
        let unit = if line.is_time { " µs" } else { "" };
        vec![
            format!("{}{unit}", line.metric),
            line.targets[0].clone(),
            decimal(line.first),
            line.targets[1].clone(),
            decimal(line.second),
            decimal(line.ratio()),
        ]
    });
    table(&head, rows.collect::<Vec<_>>())
}

// ---------------------------------------------------------------------------------------------
// The picture

const WIDTH: f64 = 760.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 20.0;
const PANEL: f64 = 190.0;
const TOP: f64 = 56.0;
const GAP: f64 = 52.0;
/// Lines across a panel above its ground.
const TICKS: u32 = 4;

/// `matrix.svg`: operations per second and error rate over the rows, one above the other. It needs no
/// script, no font and no network, and follows a dark page.
pub fn svg(name: &str, passes: &[Pass]) -> String {
    let height = TOP + 2.0 * PANEL + GAP + 56.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" font-family=\"system-ui, sans-serif\" font-size=\"12\" role=\"img\">\n<style>\n\
         .back {{ fill: #fff }} text {{ fill: #24292f }} .faint {{ fill: #57606a }} .line {{ stroke: #d0d7de }}\n\
         .a {{ fill: #0969da }} .b {{ fill: #8250df }} .bad {{ fill: #cf222e }}\n\
         .figure {{ paint-order: stroke; stroke: #fff; stroke-width: 4px }}\n\
         @media (prefers-color-scheme: dark) {{ .back {{ fill: #0d1117 }} text {{ fill: #e6edf3 }}\n\
         .faint {{ fill: #8d96a0 }} .line {{ stroke: #30363d }} .a {{ fill: #4493f8 }} .b {{ fill: #ab7df8 }}\n\
         .bad {{ fill: #f85149 }} .figure {{ stroke: #0d1117 }} }}\n</style>\n<rect class=\"back\" width=\"100%\" height=\"100%\"/>\n"
    );
    let paths = paths(passes);
    let title = if paths.is_empty() { name.to_string() } else { format!("{name}: {}", paths.join(", ")) };
    let _ = writeln!(out, "<title>{}</title>", escaped(&title));
    let _ =
        writeln!(out, "<text x=\"{LEFT}\" y=\"24\" font-size=\"15\">{}</text>", escaped(&plain(&title, 80)));
    legend(&mut out, passes);
    // One that could not begin has no figures, and no error rate of nothing.
    let of = |figure: fn(&Measured) -> f64| -> Vec<Option<f64>> {
        passes.iter().map(|pass| pass.measured.as_ref().map(figure)).collect()
    };
    let speeds = of(|measured| measured.per_second);
    let errors = of(|measured| 100.0 * measured.error_rate);
    panel(&mut out, TOP, "operations per second", &speeds, passes, rate, None);
    let second = TOP + PANEL + GAP;
    let share = |v: f64| format!("{} %", (v * 1000.0).round() / 1000.0);
    panel(&mut out, second, "error rate", &errors, passes, share, Some("bad"));
    out.push_str("</svg>\n");
    out
}

/// Which colour is whose, where there are two targets.
fn legend(out: &mut String, passes: &[Pass]) {
    let name = |side: Side| {
        let mut names: Vec<&str> = Vec::new();
        for target in
            passes.iter().filter_map(|pass| pass.target.as_ref()).filter(|target| target.side == side)
        {
            if !names.contains(&target.name.as_str()) {
                names.push(&target.name);
            }
        }
        names.join(", ")
    };
    if passes.iter().all(|pass| pass.target.is_none()) {
        return;
    }
    let mut x = WIDTH - RIGHT;
    for (target, class) in [(name(Side::Second), "b"), (name(Side::First), "a")] {
        let target = plain(&target, SHOWN);
        // Letters are about this wide; a little too much room does no harm.
        x -= 7.0 * target.chars().count() as f64 + 26.0;
        let _ = writeln!(
            out,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"36\" width=\"10\" height=\"10\" rx=\"2\"/>\
             <text x=\"{:.1}\" y=\"45\">{}</text>",
            x + 15.0,
            escaped(&target)
        );
    }
}

fn panel(
    out: &mut String,
    top: f64,
    title: &str,
    values: &[Option<f64>],
    passes: &[Pass],
    show: impl Fn(f64) -> String,
    class: Option<&str>,
) {
    // Some room above the highest bar, for its figure.
    let highest = ceiling(values.iter().flatten().copied().fold(0.0, f64::max) * 1.08);
    let ground = top + PANEL;
    let _ = writeln!(out, "<text class=\"faint\" x=\"{LEFT}\" y=\"{}\">{title}</text>", top - 10.0);
    for tick in 0..=TICKS {
        let y = ground - PANEL * f64::from(tick) / f64::from(TICKS);
        let value = show(highest * f64::from(tick) / f64::from(TICKS));
        let _ = writeln!(
            out,
            "<line class=\"line\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{y}\" y2=\"{y}\"/>\
             <text class=\"faint\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{value}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            y + 4.0
        );
    }
    let step = (WIDTH - LEFT - RIGHT) / values.len().max(1) as f64;
    let width = (step * 0.62).min(90.0);
    for (index, (value, pass)) in values.iter().zip(passes).enumerate() {
        let middle = LEFT + step * (index as f64 + 0.5);
        let bar = value.filter(|_| highest > 0.0).map_or(0.0, |value| PANEL * value / highest);
        let colour = class.unwrap_or(if pass.is_second() { "b" } else { "a" });
        let target = pass.target.as_ref().map_or_else(String::new, |target| format!(" {}", target.name));
        let figure = value.map_or_else(|| escaped(&pass.outcome), &show);
        let label = format!("{}: {figure}", escaped(&format!("{}{target}", pass.label())));
        let _ = writeln!(
            out,
            "<g><title>{label}</title><rect class=\"{colour}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{width:.1}\" \
             height=\"{bar:.1}\" rx=\"2\"/></g>",
            middle - width / 2.0,
            ground - bar
        );
        // Where there is no room for a text, the bar still tells it to the pointer.
        if step >= 46.0 {
            let (above, under) = (ground - bar - 6.0, ground + 18.0);
            let shown = escaped(&pass.short());
            let _ = writeln!(
                out,
                "<text class=\"figure\" x=\"{middle:.1}\" y=\"{above:.1}\" text-anchor=\"middle\">{}</text>\
                 <text x=\"{middle:.1}\" y=\"{under:.1}\" text-anchor=\"middle\">{shown}</text>",
                figure
            );
        }
    }
}

/// The next number of the form 1, 2 or 5 times a power of ten that is not below; 1 for nothing.
fn ceiling(value: f64) -> f64 {
    if !value.is_finite() || value <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    let steps = [1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    steps.into_iter().map(|step| step * power).find(|step| *step >= value).unwrap_or(10.0 * power)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(row: usize, value: &str, target: Option<&str>, per_second: f64) -> Pass {
        let kinds = vec![("SET".to_string(), per_second / 4.0, 300), ("GET".to_string(), per_second, 200)];
        Pass {
            row,
            values: vec![("connections.count".to_string(), value.to_string())],
            target: target.map(|name| Target {
                name: name.to_string(),
                side: if name == "theirs" { Side::Second } else { Side::First },
            }),
            round: 1,
            outcome: "passed".to_string(),
            exit_code: 0,
            connections: 500,
            measured: Some(Measured {
                operations: 156_819,
                errors: 232,
                error_rate: 232.0 / 156_819.0,
                per_second,
                p50_us: 100,
                p99_us: 250,
                kinds,
            }),
        }
    }

    #[test]
    fn every_row_has_its_values_and_figures_and_one_that_failed_is_named() {
        let mut failed = pass(2, "<800>", None, 0.0);
        (failed.measured, failed.outcome, failed.exit_code) = (None, "unreachable".to_string(), 100);
        let passes = [pass(1, "500", None, 1665.35), failed];
        let shown = text(&passes, false);
        assert!(
            shown.contains("156 819") && shown.contains("0.1 %") && shown.contains("UNREACHABLE"),
            "{shown}"
        );
        let csv = String::from_utf8(csv(&passes)).expect("text");
        let mut reader = ::csv::Reader::from_reader(csv.as_bytes());
        let head = reader.headers().expect("a header").clone();
        let rows: Vec<_> = reader.records().map(|row| row.expect("as wide as the header")).collect();
        let at = |name: &str| head.iter().position(|column| column == name).expect("a column");
        assert_eq!((&rows[0][at("connections.count")], &rows[0][at("operations")]), ("500", "156819"));
        assert_eq!((&rows[0][at("GET_p99_us")], &rows[1][at("GET_p99_us")]), ("200", ""));
        assert_eq!(&rows[1][at("exit_code")], "100");
        let picture = svg("a<b", &passes);
        assert!(picture.contains("&lt;800&gt;") && !picture.contains("a<b") && !picture.contains("NaN"));
        assert!(picture.contains("&lt;800&gt;: unreachable"), "no rate of what never began: {picture}");
    }

    #[test]
    fn two_targets_are_compared_by_the_medians_of_their_rounds() {
        let rates = [
            (Some("ours"), 10.0),
            (Some("theirs"), 5.0),
            (Some("ours"), 30.0),
            (Some("theirs"), 5.0),
            (Some("ours"), 20.0),
        ];
        let passes: Vec<Pass> = rates.map(|(target, rate)| pass(1, "1", target, rate)).into();
        let found = comparisons(&passes);
        let names: Vec<&str> = found.iter().map(|line| line.metric.as_str()).collect();
        assert_eq!(names, ["SET requests per second", "SET p99", "GET requests per second", "GET p99"]);
        assert_eq!((found[2].first, found[2].second, found[2].ratio()), (20.0, 5.0, 4.0));
        let shown = comparison_text(&found, false);
        assert!(shown.contains("4.00") && shown.contains("200 µs") && shown.contains("theirs"), "{shown}");
        assert!(comparisons(&passes[..1]).is_empty(), "nothing to compare with");
    }

    #[test]
    fn rows_may_have_targets_of_their_own() {
        let mut passes = vec![pass(1, "a", Some("a"), 10.0), pass(1, "a", Some("theirs"), 5.0)];
        passes.extend([pass(2, "b", Some("b"), 30.0), pass(2, "b", Some("theirs"), 5.0)]);
        let found = comparisons(&passes);
        let of = |metric: &str| {
            found.iter().find(|line| line.metric == metric).map(|line| (line.first, line.targets.clone()))
        };
        let targets = |first: &str| [first.to_string(), "theirs".to_string()];
        assert_eq!(of("connections.count=a: GET requests per second"), Some((10.0, targets("a"))));
        assert_eq!(of("connections.count=b: GET requests per second"), Some((30.0, targets("b"))));
        let shown = comparison_text(&found, false);
        assert!(shown.contains("first") && shown.contains("b and theirs"), "{shown}");
        let csv = String::from_utf8(comparison_csv(&found)).expect("text");
        assert!(csv.starts_with("metric,first_target,first,second_target,second,ratio\n"), "{csv}");
    }

    #[test]
    fn the_axis_ends_at_a_round_number() {
        assert_eq!([0.0, 0.07, 1.0, 1665.0, 52_000.0].map(ceiling), [1.0, 0.08, 1.0, 2000.0, 60_000.0]);
    }
}

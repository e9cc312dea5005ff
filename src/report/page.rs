//! `report.html`: a run on one page, in one file, without a network. What it shows is in `summary.json`.
//!
//! 1. The verdict comes first, and what is to be doubted stands next to it.
//! 2. Every chart has a table of its numbers beside it; tables of any length end at [`MAX_ROWS`].
//! 3. Every text of the run is escaped, and the page forbids itself to load anything.

mod charts;
mod compare;
pub(super) mod search;

use std::fmt::Write;

use crate::report::figures::{count, grouped, instant, micros, percent, plain, rate};
use crate::report::json::{Account, Times, Whole};
use crate::report::page::charts::{Along, Chart, Line, Of};
use crate::report::saved::{Drawn, Machine};
use crate::report::timeline::{Point, Spread, Timeline};
use crate::units::Nanos;

pub(super) use compare::html as compare_html;

/// The most rows of a table; what is left out is in the CSV files.
const MAX_ROWS: usize = 500;

/// The most characters of a text from outside.
const MAX_TEXT: usize = 300;

/// The style of a page of figures.
pub const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// The page of a run.
pub(super) fn html(whole: &Whole) -> String {
    let nothing = Drawn::default();
    let drawn = whole.drawn.as_ref().unwrap_or(&nothing);
    let name = escaped(&plain(&whole.scenario, MAX_TEXT));
    let word = if whole.passed { "PASSED" } else { "FAILED" };
    let mut out = opening(&format!("{word} {name}"));
    head(&mut out, whole, word, &name);
    out.push_str("<main>");
    thresholds(&mut out, whole);
    baseline(&mut out, whole);
    latency(&mut out, whole);
    load(&mut out, whole, &drawn.timeline);
    over_time(&mut out, &drawn.timeline);
    distribution(&mut out, drawn);
    connections(&mut out, whole, &drawn.timeline);
    errors(&mut out, whole, &drawn.timeline);
    ledger(&mut out, whole);
    stages(&mut out, whole);
    health(&mut out, whole);
    origin(&mut out, whole, drawn);
    close(&mut out);
    out
}

/// The beginning of a page, up to its body. The title is HTML.
fn opening(title: &str) -> String {
    let mut out = String::with_capacity(1 << 19);
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'unsafe-inline'; script-src 'unsafe-inline'\"><meta name=\"color-scheme\" content=\"light \
         dark\"><title>{title}</title><style>{STYLE}</style></head><body>\n"
    );
    out
}

/// The end of a page.
fn close(out: &mut String) {
    let _ = writeln!(out, "</main><script>{SCRIPT}</script></body></html>");
}

/// A text as it may stand in HTML, also within quotes.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// A text from outside: one line, bounded, escaped.
fn foreign(text: &str) -> String {
    escaped(&plain(text, MAX_TEXT))
}

fn seconds(seconds: f64) -> Nanos {
    // A float that is no number becomes 0, and one beyond the largest time that time.
    Nanos((seconds * 1e9).round() as u64)
}

fn head(out: &mut String, whole: &Whole, word: &str, name: &str) {
    let account = &whole.ledger;
    let tone = if whole.passed { "good" } else { "bad" };
    let simulated = if whole.simulated { " (SIMULATED)" } else { "" };
    let _ = write!(out, "<header><p class=\"verdict {tone}\">{word}{simulated}</p><h1>{name}</h1>");
    if whole.simulated {
        out.push_str("<p class=\"reason\">SIMULATED: nothing was sent, and a model answered.</p>");
    }
    if !whole.passed {
        let reason = if whole.reason.is_empty() { &whole.outcome } else { &whole.reason };
        let _ = write!(out, "<p class=\"reason\">{} (exit {})</p>", foreign(reason), whole.exit_code);
    }
    if let Some(ended) = whole.ended.as_ref().filter(|_| whole.is_cut_short()) {
        let _ = write!(out, "<p class=\"facts\">not all of the plan: {}</p>", foreign(&ended.words()));
    }
    let part = match whole.segment.as_str() {
        "0/1" => String::new(),
        segment => format!(" · segment {}", foreign(segment)),
    };
    let _ = write!(
        out,
        "<p class=\"facts\">run {} · {} · plan {} · seed {}{part}</p>",
        foreign(&whole.run_id),
        foreign(&whole.started_at),
        foreign(&whole.plan),
        whole.seed
    );
    out.push_str("<dl class=\"tiles\">");
    let mut tile = |name: &str, value: String, more: String| {
        let _ = write!(out, "<div><dt>{name}<dd><b>{value}</b><span>{more}</span></div>");
    };
    tile("sent", grouped(account.sent), format!("of {} scheduled", grouped(account.scheduled)));
    tile("answered", grouped(account.matched), format!("{} without an answer", grouped(whole.errors_total)));
    let planned = match whole.model.as_str() {
        "closed" => "users, no plan".to_string(),
        _ => format!("planned {}/s", rate(whole.rate_planned)),
    };
    tile("rate", format!("{}/s", rate(whole.rate_actual)), planned);
    let response = &whole.response_time;
    tile("response_time p50", micros(response.p50_us), format!("p99 {}", micros(response.p99_us)));
    tile("lag p99", micros(whole.lag.p99_us), format!("max {}", micros(whole.lag.max_us)));
    let took = crate::report::figures::time(seconds(whole.duration_s));
    let planned = crate::report::figures::time(seconds(whole.scheduled_duration_s));
    tile("duration", took, format!("scheduled {planned}"));
    out.push_str("</dl>");
    if !whole.warnings.is_empty() {
        out.push_str("<ul class=\"doubts\" aria-label=\"To be doubted\">");
        for warning in whole.warnings.iter().take(MAX_ROWS) {
            let _ = write!(out, "<li>{}", foreign(warning));
        }
        out.push_str("</ul>");
    }
    out.push_str("</header>\n");
}

/// A table: its head, and rows whose cells are HTML. The first column names the row, the first `left` are words.
fn table(
    out: &mut String,
    caption: &str,
    head: &[&str],
    left: usize,
    rows: impl IntoIterator<Item = Vec<String>>,
) {
    let _ = write!(out, "<div class=\"wide\"><table><caption>{caption}</caption><thead><tr>");
    for (index, name) in head.iter().enumerate() {
        let _ = write!(out, "<th scope=\"col\"{}>{name}", class(index < left));
    }
    out.push_str("</thead><tbody>");
    let mut hidden = 0u64;
    for (number, row) in rows.into_iter().enumerate() {
        if number >= MAX_ROWS {
            hidden += 1;
            continue;
        }
        out.push_str("<tr>");
        for (index, cell) in row.iter().enumerate() {
            let tag = if index == 0 { "th scope=\"row\"" } else { "td" };
            let _ = write!(out, "<{tag}{}>{cell}", class(index < left));
        }
    }
    out.push_str("</table></div>");
    if hidden > 0 {
        let _ = write!(out, "<p>{} in the CSV files.</p>", count(hidden, "more row"));
    }
}

fn class(is_text: bool) -> &'static str {
    if is_text { " class=\"text\"" } else { "" }
}

fn section(out: &mut String, id: &str, title: &str) {
    let _ = write!(out, "<section id=\"{id}\"><h2>{title}</h2>");
}

fn end(out: &mut String) {
    out.push_str("</section>\n");
}

fn thresholds(out: &mut String, whole: &Whole) {
    if whole.thresholds.is_empty() {
        return;
    }
    section(out, "thresholds", "Thresholds");
    let rows = whole.thresholds.iter().map(|threshold| {
        let (mark, word) = if threshold.passed { ("good", "passed") } else { ("bad", "FAILED") };
        vec![
            foreign(&threshold.check),
            foreign(&threshold.terms),
            format!("<span class=\"{mark}\">{word}</span>"),
            foreign(&threshold.found),
        ]
    });
    table(out, "What had to hold", &["check", "terms", "verdict", "measured"], 4, rows);
    end(out);
}

fn baseline(out: &mut String, whole: &Whole) {
    if let Some(compared) = &whole.baseline {
        compare::verdict(out, compared, 0, 1);
    }
}

fn latency(out: &mut String, whole: &Whole) {
    section(out, "latency", "Latency");
    let row = |name: &str, meaning: &str, times: &Times| {
        let mut row = vec![name.to_string(), meaning.to_string(), grouped(times.count)];
        row.extend(spread_of(times));
        row
    };
    let rows = [
        row("response_time", "received − intended", &whole.response_time),
        row("service_time", "received − sent", &whole.service_time),
        row("lag", "sent − intended", &whole.lag),
    ];
    let head = ["", "", "count", "min", "mean", "p50", "p90", "p99", "p99.9", "max"];
    table(out, "Three latencies, warm-up stages left out", &head, 2, rows);
    end(out);
}

fn spread_of(times: &Times) -> Vec<String> {
    let all =
        [times.min_us, times.mean_us, times.p50_us, times.p90_us, times.p99_us, times.p99_9_us, times.max_us];
    match times.count {
        0 => vec!["–".to_string(); all.len()],
        _ => all.map(micros).to_vec(),
    }
}

/// One line over the timeline: what of a point, as it is.
fn line(name: &'static str, timeline: &Timeline, of: impl Fn(&Point) -> Option<f64>) -> Line {
    Line { name, values: timeline.points.iter().map(of).collect(), steps: false }
}

/// One line over the timeline, for each second.
fn per_second(name: &'static str, timeline: &Timeline, of: impl Fn(&Point) -> u64) -> Line {
    let of = |point: &Point| Some(of(point) as f64 / point.seconds.max(1) as f64);
    Line { steps: true, ..line(name, timeline, of) }
}

fn at(timeline: &Timeline) -> Vec<f64> {
    timeline.points.iter().map(|point| point.second as f64).collect()
}

fn end_of(timeline: &Timeline) -> Option<f64> {
    timeline.points.last().map(|point| (point.second + point.seconds.max(1)) as f64)
}

/// How much time a point stands for, where that is not one second.
fn joined(timeline: &Timeline) -> String {
    match timeline.step_s {
        0 | 1 => String::new(),
        step => format!(" Each point is {step} seconds."),
    }
}

fn load(out: &mut String, whole: &Whole, timeline: &Timeline) {
    section(out, "load", "The plan and what happened");
    let mut lines = Vec::new();
    if whole.model != "closed" {
        lines.push(per_second("planned", timeline, |point| point.planned));
    }
    lines.push(per_second("sent", timeline, |point| point.sent));
    lines.push(per_second("answered", timeline, |point| point.matched));
    let note = format!(
        "Requests per second, counted in the second in which they were due, whenever they were sent.{}",
        joined(timeline)
    );
    let (along, of) = (Along::Seconds, Of::Rate);
    let title = "Requests per second";
    Chart { id: "rate", title, note, along, at: at(timeline), end: end_of(timeline), of, lines, band: None }
        .html(out);
    end(out);
}

/// Its name in the page, its title, what it is, and where it stands.
type Latency = (&'static str, &'static str, &'static str, fn(&Point) -> Spread);

fn over_time(out: &mut String, timeline: &Timeline) {
    section(out, "time", "Latency over time");
    let parts: [Latency; 3] = [
        (
            "response",
            "response_time",
            "received − intended: what a user waits, lateness included",
            |point| point.response_time,
        ),
        ("service", "service_time", "received − sent: what the target takes", |point| point.service_time),
        ("lag", "lag", "sent − intended: what the generator and full connections cost", |point| point.lag),
    ];
    for (id, title, meaning, of_point) in parts {
        let of = |name, value: fn(&Spread) -> u64| {
            line(name, timeline, move |point| {
                let spread = of_point(point);
                (spread.count > 0).then(|| value(&spread) as f64)
            })
        };
        let lines = vec![
            of("p50", |spread| spread.p50_us),
            of("p90", |spread| spread.p90_us),
            of("p99", |spread| spread.p99_us),
            of("max", |spread| spread.max_us),
        ];
        let note = format!("{meaning}. Shaded from p50 to p99; logarithmic.{}", joined(timeline));
        let (along, of) = (Along::Seconds, Of::Micros);
        Chart {
            id,
            title,
            note,
            along,
            at: at(timeline),
            end: end_of(timeline),
            of,
            lines,
            band: Some((0, 2)),
        }
        .html(out);
    }
    end(out);
}

fn distribution(out: &mut String, drawn: &Drawn) {
    section(out, "distribution", "Distribution");
    let bars = &drawn.histogram;
    let places = bars.iter().map(|bar| bar.from_us.log10()).collect();
    let last = bars.last().map(|bar| bar.to_us.log10());
    let of = |name, value: fn(&crate::report::saved::Bar) -> u64| Line {
        name,
        values: bars.iter().map(|bar| Some(value(bar) as f64)).collect(),
        steps: true,
    };
    let lines = vec![
        of("response_time", |bar| bar.response_time),
        of("service_time", |bar| bar.service_time),
        of("lag", |bar| bar.lag),
    ];
    let note =
        "How many requests took so long. Ten bars for each power of ten, warm-up left out.".to_string();
    let title = "Histogram";
    let (along, counts) = (Along::Micros, Of::Count);
    Chart { id: "histogram", title, note, along, at: places, end: last, of: counts, lines, band: None }
        .html(out);

    // 100 % is beyond any number of nines; it is the maximum in the table above.
    let points: Vec<_> = drawn.spectrum.iter().filter(|point| point.percentile < 100.0).collect();
    let at = points.iter().map(|point| -(1.0 - point.percentile / 100.0).log10()).collect();
    let of = |name, value: fn(&crate::report::saved::Percentile) -> u64| Line {
        name,
        values: points.iter().map(|point| Some(value(point) as f64)).collect(),
        steps: false,
    };
    let lines = vec![
        of("response_time", |point| point.response_time_us),
        of("service_time", |point| point.service_time_us),
        of("lag", |point| point.lag_us),
    ];
    let note = "The time within which that share of the requests was done, up to the last percentile that \
                has a sample beyond it."
        .to_string();
    let title = "Percentile spectrum";
    let (along, of) = (Along::Nines, Of::Micros);
    Chart { id: "spectrum", title, note, along, at, end: None, of, lines, band: None }.html(out);
    end(out);
}

fn connections(out: &mut String, whole: &Whole, timeline: &Timeline) {
    section(out, "connections", "Connections");
    let connections = &whole.connections;
    let ends: Vec<String> = connections
        .ends
        .iter()
        .map(|(end, number)| format!("{} {}", foreign(end), grouped(*number)))
        .collect();
    let opened = grouped(connections.opened);
    let ends = if ends.is_empty() { String::new() } else { format!("; ended: {}", ends.join(", ")) };
    let _ = write!(out, "<p>{opened} opened, {}{ends}.</p>", count(connections.reconnects, "reconnect"));
    let along = Along::Seconds;
    Chart {
        id: "open",
        title: "Open connections and requests in flight",
        note: format!("At the end of each second.{}", joined(timeline)),
        along,
        at: at(timeline),
        end: end_of(timeline),
        of: Of::Count,
        lines: vec![
            line("connections", timeline, |point| Some(point.connections as f64)),
            line("in flight", timeline, |point| Some(point.in_flight as f64)),
        ],
        band: None,
    }
    .html(out);
    Chart {
        id: "opened",
        title: "Connections opened per second",
        note: format!("Reconnects are those opened in place of another.{}", joined(timeline)),
        along,
        at: at(timeline),
        end: end_of(timeline),
        of: Of::Rate,
        lines: vec![
            per_second("opened", timeline, |point| point.opened),
            per_second("reconnects", timeline, |point| point.reconnects),
        ],
        band: None,
    }
    .html(out);
    end(out);
}

fn errors(out: &mut String, whole: &Whole, timeline: &Timeline) {
    section(out, "errors", "Errors");
    let any = |point: &Point| point.failed + point.timed_out + point.dropped + point.error_replies > 0;
    if timeline.points.iter().any(any) {
        Chart {
            id: "trouble",
            title: "Requests per second without the answer they wanted",
            note: format!("Counted in the second in which they were due.{}", joined(timeline)),
            along: Along::Seconds,
            at: at(timeline),
            end: end_of(timeline),
            of: Of::Rate,
            lines: vec![
                per_second("failed", timeline, |point| point.failed),
                per_second("timed out", timeline, |point| point.timed_out),
                per_second("dropped", timeline, |point| point.dropped),
                per_second("error replies", timeline, |point| point.error_replies),
            ],
            band: None,
        }
        .html(out);
    }
    if whole.errors.is_empty() {
        out.push_str("<p>None.</p>");
    } else {
        let rows = whole.errors.iter().map(|error| {
            vec![
                foreign(&error.kind),
                error.address.as_deref().map_or_else(String::new, foreign),
                foreign(&error.detail),
                grouped(error.count),
                micros(error.first_us),
                micros(error.last_us),
            ]
        });
        table(
            out,
            "By kind and address",
            &["kind", "address", "first words", "count", "first", "last"],
            3,
            rows,
        );
    }
    end(out);
}

/// `dropped 5 (late 3, overload 2)`.
fn kinds(name: &str, total: u64, by: &std::collections::BTreeMap<String, u64>) -> String {
    let parts: Vec<String> = by
        .iter()
        .filter(|(_, number)| **number > 0)
        .map(|(kind, number)| format!("{} {}", foreign(kind), grouped(*number)))
        .collect();
    let detail = if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) };
    format!("{name} {}{detail}", grouped(total))
}

fn ledger(out: &mut String, whole: &Whole) {
    section(out, "ledger", "Ledger");
    let word = if whole.balanced {
        "<span class=\"good\">It balances.</span>"
    } else {
        "<span class=\"bad\">It does \
        NOT balance.</span>"
    };
    let _ = write!(out, "<p>Every scheduled request ends in exactly one place. {word}</p>");
    table(out, "The equations", &["", "number", "is"], 0, equations(&whole.ledger));
    if !whole.imbalances.is_empty() {
        let rows = whole
            .imbalances
            .iter()
            .map(|side| vec![foreign(&side.equation), grouped(side.left), grouped(side.right)]);
        table(out, "What does not hold", &["equation", "left", "right"], 1, rows);
    }
    let word = |agrees: bool| if agrees { "agrees" } else { "<span class=\"bad\">DISAGREES</span>" };
    let mut parties = Vec::new();
    if let Some(responder) = &whole.responder {
        let facts = format!(
            "issued {}, received {}, {} unanswered",
            grouped(responder.issued),
            grouped(responder.received),
            count(responder.unanswered, "request")
        );
        parties.push(vec!["responder".to_string(), facts, word(responder.agrees).to_string()]);
    }
    if let Some(back) = &whole.read_back {
        let sample = if back.sample { " (a sample)" } else { "" };
        let facts = format!(
            "{} of {}{sample}, {} missing, {} different",
            grouped(back.found),
            count(back.expected, "mapping"),
            grouped(back.missing),
            grouped(back.different)
        );
        let agrees = back.found == back.expected && back.missing + back.different == 0;
        parties.push(vec!["read back".to_string(), facts, word(agrees).to_string()]);
    }
    if whole.journaled > 0 {
        let facts = format!("{} still to be written", count(whole.journaled, "response"));
        parties.push(vec!["journal".to_string(), facts, word(false).to_string()]);
    }
    if !parties.is_empty() {
        table(out, "The other parties", &["party", "its account", ""], 3, parties);
    }
    end(out);
}

fn equations(account: &Account) -> Vec<Vec<String>> {
    let matched = grouped(account.matched);
    let mut rows = vec![
        vec![
            "scheduled".to_string(),
            grouped(account.scheduled),
            format!(
                "sent {} + {} + not_reached {}",
                grouped(account.sent),
                kinds("dropped", account.dropped, &account.dropped_by),
                grouped(account.not_reached)
            ),
        ],
        vec![
            "sent".to_string(),
            grouped(account.sent),
            format!(
                "matched {matched} + {} + timed_out {}",
                kinds("failed", account.failed, &account.failed_by),
                grouped(account.timed_out)
            ),
        ],
        vec![
            "received".to_string(),
            grouped(account.received),
            format!(
                "matched {matched} + duplicate {} + late {} + unknown {} + malformed {}",
                grouped(account.duplicate),
                grouped(account.late),
                grouped(account.unknown),
                grouped(account.malformed)
            ),
        ],
    ];
    if let (Some(mapped), Some(failed)) = (account.mapped, account.map_failed) {
        let parts = format!("mapped {} + map_failed {}", grouped(mapped), grouped(failed));
        rows.push(vec!["matched".to_string(), matched, parts]);
    }
    rows
}

fn stages(out: &mut String, whole: &Whole) {
    section(out, "stages", "Stages");
    let rows = whole.stages.iter().map(|stage| {
        let warm = if stage.warmup { " (warm-up)" } else { "" };
        let errors = stage.failed + stage.timed_out + stage.dropped + stage.error_replies;
        let mut row = vec![
            format!("{}{warm}", foreign(&stage.stage)),
            foreign(&stage.kind),
            crate::report::figures::time(seconds(stage.duration_s)),
            grouped(stage.scheduled),
            grouped(stage.sent),
            grouped(stage.matched),
            grouped(errors),
            format!("{}/s", rate(stage.rate_planned)),
            format!("{}/s", rate(stage.rate_actual)),
        ];
        row.extend(percentiles(&stage.response_time));
        row
    });
    let head = [
        "stage",
        "kind",
        "duration",
        "scheduled",
        "sent",
        "matched",
        "errors",
        "planned",
        "sent",
        "p50",
        "p99",
        "max",
    ];
    table(out, "Response times by stage", &head, 2, rows);
    if !whole.events.is_empty() {
        let rows = whole.events.iter().map(|event| {
            let rate = event.rate.map_or_else(String::new, |new| format!("{}/s", rate(new)));
            let at = instant(Nanos(event.at_us.saturating_mul(1000)));
            vec![foreign(&event.event), foreign(&event.stage), at, grouped(event.n), rate]
        });
        let head = ["change", "stage", "from", "first request", "rate"];
        table(out, "Changes while it ran", &head, 2, rows);
    }
    if !whole.mix.is_empty() {
        let rows = whole.mix.iter().map(|kind| {
            let errors = kind.failed + kind.timed_out + kind.dropped + kind.error_replies;
            let mut row = vec![
                foreign(&kind.kind),
                grouped(kind.weight),
                grouped(kind.sent),
                grouped(kind.matched),
                grouped(errors),
                format!("{}/s", rate(kind.rate_actual)),
            ];
            row.extend(percentiles(&kind.response_time));
            row
        });
        let head = ["kind", "weight", "sent", "matched", "errors", "sent", "p50", "p99", "max"];
        table(out, "Response times by kind of request, warm-up left out", &head, 1, rows);
    }
    end(out);
}

fn percentiles(times: &Times) -> Vec<String> {
    match times.count {
        0 => vec!["–".to_string(); 3],
        _ => [times.p50_us, times.p99_us, times.max_us].map(micros).to_vec(),
    }
}

fn health(out: &mut String, whole: &Whole) {
    section(out, "health", "Generator");
    let generator = &whole.generator;
    let share = |cpu: &f64| percent(*cpu, whole.duration_s);
    let workers: Vec<String> = generator.worker_cpu_s.iter().map(share).collect();
    let lua = match generator.script_calls {
        0 => "none".to_string(),
        calls => format!(
            "{}, {}, {} each, the longest {}",
            count(calls, "call"),
            micros(generator.script_us),
            micros(generator.script_us / calls),
            micros(generator.script_max_us)
        ),
    };
    let blame = &whole.bottleneck;
    let known = [
        ("bottleneck", format!("<b>{}</b>: {}", foreign(&blame.party), foreign(&blame.because))),
        ("workers", format!("{} of one processor each", workers.join(", "))),
        ("whole process", format!("{} of one processor", share(&generator.process_cpu_s))),
        ("waited for payloads", count(generator.starved, "time")),
        ("waited for room on their connection", count(generator.waited_for_room, "request")),
        ("Lua", lua),
        ("slowest fetch of records", micros(generator.slowest_fetch_us)),
        ("slowest write of mappings", micros(generator.slowest_write_us)),
        ("store away", count(generator.outages, "time")),
        ("records made because they were missing", grouped(generator.generated)),
    ];
    let mut rows: Vec<Vec<String>> =
        known.into_iter().map(|(name, text)| vec![name.to_string(), text]).collect();
    for (name, check) in &whole.script.checks {
        let all = check.passed + check.failed;
        let passed = percent(check.passed as f64, all as f64);
        rows.push(vec![
            format!("check {}", foreign(name)),
            format!("{passed} passed ({} of {})", grouped(check.passed), grouped(all)),
        ]);
    }
    for (name, value) in &whole.script.counters {
        let value = value.map_or_else(|| "no number".to_string(), |value| value.to_string());
        rows.push(vec![format!("counter {}", foreign(name)), value]);
    }
    table(out, "How the generator did", &["", ""], 2, rows);
    end(out);
}

fn origin(out: &mut String, whole: &Whole, drawn: &Drawn) {
    section(out, "origin", "Scenario and machine");
    if drawn.parts.is_empty() {
        table(out, "The machine", &["", ""], 2, facts(&drawn.machine));
    } else {
        let rows = drawn.parts.iter().map(|part| {
            vec![
                foreign(&part.run_id),
                foreign(&part.segment),
                foreign(&part.started_at),
                foreign(&part.outcome),
                part.ended.as_ref().map_or_else(|| "–".to_string(), |ended| foreign(&ended.words())),
                foreign(&part.machine.processor),
                grouped(part.machine.cores as u64),
                grouped(part.sent),
            ]
        });
        let head = ["run", "segment", "started", "outcome", "plan", "processor", "cores", "sent"];
        table(out, "Merged from these runs", &head, 6, rows);
    }
    let _ = write!(
        out,
        "<details><summary>Scenario {}, with every default</summary><pre>{}</pre></details>",
        foreign(&whole.scenario),
        escaped(&drawn.scenario)
    );
    end(out);
}

fn facts(machine: &Machine) -> Vec<Vec<String>> {
    let memory = match machine.memory {
        0 => String::new(),
        bytes => format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
    };
    let rows = [
        ("processor", foreign(&machine.processor)),
        ("cores", grouped(machine.cores as u64)),
        ("memory", memory),
        ("system", foreign(&machine.system)),
        ("runner", foreign(&machine.runner)),
    ];
    rows.into_iter().map(|(name, value)| vec![name.to_string(), value]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::json::{Event, Threshold, whole};
    use crate::report::saved::{histogram, spectrum};
    use crate::report::tests::typical;

    /// A run of ten minutes, with a point for each second.
    fn long() -> Whole {
        let summary = typical();
        let mut whole = whole(&summary);
        let spread = |us| Spread {
            count: 9,
            p50_us: us,
            p90_us: us * 2,
            p99_us: us * 5,
            p99_9_us: us * 7,
            max_us: us * 9,
        };
        let points = (0..600).map(|second| Point {
            second,
            planned: 1000 + second,
            sent: 1000 + second,
            matched: 999,
            failed: second % 2,
            in_flight: second % 7,
            connections: 10,
            response_time: spread(400 + second),
            service_time: spread(300 + second),
            lag: spread(20),
            ..Point::default()
        });
        whole.drawn = Some(Drawn {
            timeline: Timeline { step_s: 1, points: points.collect() },
            spectrum: spectrum(&summary.latencies),
            histogram: histogram(&summary.latencies),
            scenario: "name: <ramp>\n".to_string(),
            ..Drawn::default()
        });
        whole
    }

    #[test]
    fn a_page_has_every_section_stays_small_and_loads_nothing() {
        let page = html(&long());
        for id in [
            "latency",
            "load",
            "rate",
            "time",
            "response",
            "service",
            "lag",
            "distribution",
            "histogram",
            "spectrum",
            "connections",
            "open",
            "opened",
            "errors",
            "trouble",
            "ledger",
            "stages",
            "health",
            "origin",
        ] {
            assert_eq!(page.matches(&format!("id=\"{id}\"")).count(), 1, "{id}");
        }
        assert!(page.len() < 2_000_000, "{}", page.len());
        // A picture names its own parts, and nothing else.
        let page = page.replace("url(#clip-", "");
        for way_out in ["src=", "href=", "url(", "@import", "fetch(", "XMLHttp"] {
            assert!(!page.contains(way_out), "{way_out}");
        }
        assert!(page.contains("name: &lt;ramp&gt;"));
        assert!(!page.contains("id=\"thresholds\"") && page.contains("class=\"verdict good\">PASSED"));
    }

    #[test]
    fn what_comes_from_outside_is_text() {
        let mut whole = long();
        let evil = "\"><script>alert(1)</script>";
        whole.scenario = evil.to_string();
        (whole.passed, whole.reason) = (false, evil.to_string());
        whole.warnings = vec![evil.to_string()];
        whole.stages[0].stage = evil.to_string();
        let (event, stage) = (evil.to_string(), evil.to_string());
        whole.events = vec![Event { n: 7, at_us: 3_002_000, event, rate: Some(250.0), stage }];
        whole.thresholds = vec![Threshold {
            check: evil.to_string(),
            terms: evil.to_string(),
            passed: false,
            measured: None,
            unit: "us".to_string(),
            note: evil.to_string(),
            found: evil.to_string(),
        }];
        let page = html(&whole);
        assert_eq!(page.matches("<script>").count(), 1, "our own");
        assert!(page.contains("&lt;script&gt;alert(1)") && page.contains("id=\"thresholds\""));
        assert!(page.contains("class=\"verdict bad\">FAILED"));
        assert!(
            page.contains("Changes while it ran") && page.contains("<td>3.002 s<td>7<td>250/s"),
            "{page}"
        );
    }

    #[test]
    fn a_run_of_which_nothing_is_known_has_a_page_all_the_same() {
        let page = html(&whole(&crate::report::tests::blank()));
        assert!(
            page.contains("Nothing was measured") && !page.contains("NaN") && page.ends_with("</html>\n")
        );
    }

    #[test]
    fn a_table_ends_and_says_what_it_leaves_out() {
        let mut whole = long();
        let stage = whole.stages[0].clone();
        whole.stages = vec![stage; MAX_ROWS + 7];
        assert!(html(&whole).contains("7 more rows in the CSV files"));
    }
}

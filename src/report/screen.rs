//! Screen: what is said when a run is over, the verdict first.

use std::fmt::Write;
use std::path::Path;

use hdrhistogram::Histogram;

use crate::ledger::{Outcome, Outcomes};
use crate::recorder::histogram::percentile_ns;
use crate::recorder::summary::{Summary, per_second};
use crate::report::csv::{DROPPED, FAILED};
use crate::report::figures::{
    Tone, columns, count, duration, grouped, instant, measure, paint, percent, plain, rate, time,
};
use crate::report::health::{Party, bottleneck, warnings};
use crate::units::Nanos;

pub use crate::report::json::{summary_json, summary_json_against};

/// Kinds of errors that are shown; the others are in `errors.csv`.
const SHOWN_ERRORS: usize = 5;

/// Counters and checks of a script that are shown; the others are in `summary.json`.
const SHOWN_COUNTERS: usize = 20;

/// Changes that are shown; the others are in `events.csv`.
const SHOWN_CHANGES: usize = 20;

/// Characters of a foreign text that are shown.
const SHOWN_TEXT: usize = 120;

/// Everything a person wants to know when a run is over. `files` are the names in `folder`.
pub fn final_screen(summary: &Summary, folder: &Path, files: &[String], colour: bool) -> String {
    let mut out = String::new();
    verdict(summary, colour, &mut out);
    let mut part = |name: &str, text: String| {
        if !text.is_empty() {
            let _ = write!(out, "\n{}\n{text}", paint(name, Tone::Head, colour));
        }
    };
    part("THRESHOLDS", thresholds(summary, colour));
    part("LATENCY", latencies(summary));
    part("LEDGER", ledger(summary, colour));
    part("PARTIES", parties(summary, colour));
    part("STAGES", stages(summary));
    part("CHANGES", changes(summary));
    part("MIX", mix(summary));
    part("CONNECTIONS", connections(summary));
    part("GENERATOR", generator(summary, colour));
    part("SCRIPT", script(summary));
    part("ERRORS", errors(summary));
    part("WARNINGS", doubts(summary, colour));
    part("FILES", places(folder, files));
    out
}

/// What was done to the run while it went.
fn changes(summary: &Summary) -> String {
    if summary.events.is_empty() {
        return String::new();
    }
    let rows = summary.events.iter().take(SHOWN_CHANGES).map(|row| {
        let new = row.rate.map_or_else(String::new, |new| format!("{}/s", rate(new.as_f64())));
        let first = format!("from request {}", grouped(row.n));
        let stage = format!("in {}", plain(&row.stage, SHOWN_TEXT));
        vec![row.event.to_string(), new, format!("at {}", instant(row.at)), first, stage]
    });
    let mut out = columns(2, 5, rows.collect());
    let more = summary.events.len().saturating_sub(SHOWN_CHANGES);
    if more > 0 {
        let _ = writeln!(out, "  {} in events.csv", count(more as u64, "more change"));
    }
    out
}

fn verdict(summary: &Summary, colour: bool, out: &mut String) {
    let verdict = &summary.verdict;
    let (word, tone) = if verdict.passed { ("PASSED", Tone::Good) } else { ("FAILED", Tone::Bad) };
    let ledger = &summary.ledger;
    let sent = if ledger.sent == ledger.scheduled {
        format!("{} sent", count(ledger.sent, "request"))
    } else {
        format!("{} of {} sent", grouped(ledger.sent), count(ledger.scheduled, "request"))
    };
    let matched = grouped(ledger.outcomes.of(Outcome::Matched));
    let name = plain(&summary.scenario, SHOWN_TEXT);
    let took = time(summary.duration);
    if summary.simulated {
        let _ = writeln!(
            out,
            "{}",
            paint("SIMULATED: nothing was sent, and a model answered", Tone::Doubt, colour)
        );
    }
    let _ = writeln!(out, "{}  {name}: {sent}, {matched} answered, in {took}", paint(word, tone, colour));
    if !verdict.passed {
        let reason = if verdict.reason.is_empty() { &*verdict.word } else { &verdict.reason };
        let _ = writeln!(out, "        {} (exit {})", plain(reason, 400), verdict.exit_code);
    }
    let planned =
        if summary.closed { String::new() } else { format!("planned {}/s  ", rate(summary.rate_planned())) };
    let facts = format!(
        "run {}  plan {}  seed {}  {planned}sent {}/s",
        plain(&summary.run_id, SHOWN_TEXT),
        plain(&summary.plan, SHOWN_TEXT),
        summary.seed,
        rate(summary.rate_actual())
    );
    let _ = writeln!(out, "        {}", paint(&facts, Tone::Faint, colour));
}

/// What must hold, what was measured, and whether that keeps to it.
fn thresholds(summary: &Summary, colour: bool) -> String {
    let rows: Vec<Vec<String>> = summary
        .thresholds
        .iter()
        .map(|row| {
            let terms = if row.terms.is_empty() { String::new() } else { format!(" ({})", row.terms) };
            let measured = row.measured.map_or("-".to_string(), |value| measure(value, row.unit));
            let word = if row.passed { "pass" } else { "FAIL" };
            let check = format!("{}{terms}", plain(&row.check, SHOWN_TEXT));
            vec![word.to_string(), check, measured, row.note.clone()]
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    // Painted when the columns stand, which would count the colour as characters.
    let mut out = String::new();
    for line in columns(2, 4, rows).lines() {
        let (word, tone) =
            if line.starts_with("  pass") { ("pass", Tone::Good) } else { ("FAIL", Tone::Bad) };
        let _ = writeln!(out, "{}", line.replacen(word, &paint(word, tone, colour), 1));
    }
    out
}

fn latencies(summary: &Summary) -> String {
    let row = |name: &str, histogram: &Histogram<u64>, meaning: &str| {
        let mut row = vec![name.to_string(), meaning.to_string()];
        row.extend([50.0, 90.0, 99.0, 99.9].map(|p| time(Nanos(percentile_ns(histogram, p)))));
        row.push(time(Nanos(if histogram.is_empty() { 0 } else { histogram.max() })));
        row
    };
    let head = ["", "", "p50", "p90", "p99", "p99.9", "max"].map(str::to_string).to_vec();
    let latencies = &summary.latencies;
    let rows = vec![
        head,
        row("response_time", &latencies.response, "received − intended"),
        row("service_time", &latencies.service, "received − sent"),
        row("lag", &latencies.lag, "sent − intended"),
    ];
    columns(2, 2, rows)
}

/// `dropped 5 (late 3, overload 2)`.
fn kinds(name: &str, total: u64, outcomes: &Outcomes, of: &[Outcome]) -> String {
    let parts: Vec<String> = of
        .iter()
        .filter(|&&outcome| outcomes.of(outcome) > 0)
        .map(|&outcome| format!("{outcome} {}", grouped(outcomes.of(outcome))))
        .collect();
    let detail = if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) };
    format!("{name} {}{detail}", grouped(total))
}

fn ledger(summary: &Summary, colour: bool) -> String {
    let ledger = &summary.ledger;
    let outcomes = &ledger.outcomes;
    let receipts = &ledger.receipts;
    let matched = grouped(outcomes.of(Outcome::Matched));
    let line =
        |name: &str, number: String, parts: String| vec![name.to_string(), number, format!("= {parts}")];
    let mut rows = vec![
        line(
            "scheduled",
            grouped(ledger.scheduled),
            format!(
                "sent {} + {} + not_reached {}",
                grouped(ledger.sent),
                kinds("dropped", outcomes.dropped(), outcomes, &DROPPED),
                grouped(outcomes.of(Outcome::NotReached))
            ),
        ),
        line(
            "sent",
            grouped(ledger.sent),
            format!(
                "matched {matched} + {} + timed_out {}",
                kinds("failed", outcomes.failed(), outcomes, &FAILED),
                grouped(outcomes.of(Outcome::TimedOut))
            ),
        ),
        line(
            "received",
            grouped(receipts.received),
            format!(
                "matched {matched} + duplicate {} + late {} + unknown {} + malformed {}",
                grouped(receipts.duplicate),
                grouped(receipts.late),
                grouped(receipts.unknown),
                grouped(receipts.malformed)
            ),
        ),
    ];
    if receipts.error_replies > 0 {
        let good = outcomes.of(Outcome::Matched) - receipts.error_replies;
        let parts = format!("answers {} + error replies {}", grouped(good), grouped(receipts.error_replies));
        rows.push(line("matched", matched.clone(), parts));
    }
    if let Some(mapping) = ledger.mapping {
        let parts =
            format!("mapped {} + map_failed {}", grouped(mapping.mapped), grouped(mapping.map_failed));
        rows.push(line("matched", matched, parts));
    }
    let mut out = equations(rows);
    if summary.imbalances.is_empty() {
        let _ = writeln!(out, "  {}", paint("balanced", Tone::Good, colour));
    }
    for imbalance in &summary.imbalances {
        let _ = writeln!(out, "  {}  {imbalance}", paint("NOT BALANCED", Tone::Bad, colour));
    }
    out
}

/// Name to the left, number to the right, the rest as it comes.
fn equations(rows: Vec<Vec<String>>) -> String {
    let widest = rows.iter().map(|row| row[1].chars().count()).max().unwrap_or(0);
    let padded =
        rows.into_iter().map(|row| vec![row[0].clone(), format!("{:>widest$} {}", row[1], row[2])]).collect();
    columns(2, 2, padded)
}

fn parties(summary: &Summary, colour: bool) -> String {
    let mut out = String::new();
    let word = |agrees| {
        if agrees { paint("agrees", Tone::Good, colour) } else { paint("DISAGREES", Tone::Bad, colour) }
    };
    if let Some(responder) = summary.responder {
        let unanswered = match responder.unanswered {
            0 => String::new(),
            number => format!(" ({} unanswered)", count(number, "request")),
        };
        let (issued, received) = (grouped(responder.issued), grouped(responder.received));
        let _ = writeln!(
            out,
            "  responder   issued {issued}, received {received}{unanswered}: {}",
            word(responder.agrees())
        );
    }
    if let Some(back) = summary.read_back {
        let sample = if back.sample { " (a sample)" } else { "" };
        let wrong = match (back.missing, back.different) {
            (0, 0) => String::new(),
            (missing, different) => {
                format!(", missing {}, different {}", grouped(missing), grouped(different))
            }
        };
        let (found, expected) = (grouped(back.found), count(back.expected, "mapping"));
        let agrees = back.found == back.expected && wrong.is_empty();
        let _ = writeln!(out, "  read back   {found} of {expected}{sample}{wrong}: {}", word(agrees));
    }
    if summary.journaled > 0 {
        let _ = writeln!(out, "  journal     {} still to be written", count(summary.journaled, "response"));
    }
    out
}

fn stages(summary: &Summary) -> String {
    if summary.stages.len() < 2 {
        return String::new();
    }
    let head =
        ["stage", "kind", "duration", "scheduled", "sent", "matched", "planned", "sent", "p50", "p99", "max"];
    let mut rows = vec![head.map(str::to_string).to_vec()];
    for stage in &summary.stages {
        let window = &stage.window;
        let times = window.latencies.as_deref().filter(|l| !l.response.is_empty()).map_or([0; 3], |l| {
            [percentile_ns(&l.response, 50.0), percentile_ns(&l.response, 99.0), l.response.max()]
        });
        let warm = if stage.warmup { " (warm-up)" } else { "" };
        let mut row = vec![
            format!("{}{warm}", plain(&stage.name, 40)),
            stage.kind.to_string(),
            time(stage.duration),
            grouped(stage.planned),
            grouped(window.sent),
            grouped(window.outcomes.of(Outcome::Matched)),
            format!("{}/s", rate(stage.rate_planned())),
            format!("{}/s", rate(stage.rate_actual())),
        ];
        row.extend(times.map(|ns| time(Nanos(ns))));
        rows.push(row);
    }
    columns(2, 2, rows)
}

fn mix(summary: &Summary) -> String {
    if summary.kinds.is_empty() {
        return String::new();
    }
    let head = ["kind", "sent", "matched", "errors", "sent", "p50", "p99", "p99.9", "max"];
    let mut rows = vec![head.map(str::to_string).to_vec()];
    for kind in &summary.kinds {
        let response = &kind.tally.latencies.response;
        let at = |p| percentile_ns(response, p);
        let mut row = vec![
            plain(&kind.name, 40),
            grouped(kind.tally.sent),
            grouped(kind.tally.outcomes.of(Outcome::Matched)),
            grouped(kind.errors()),
            format!("{}/s", rate(summary.rate_of(kind))),
        ];
        row.extend([50.0, 99.0, 99.9, 100.0].map(|p| time(Nanos(at(p)))));
        rows.push(row);
    }
    columns(2, 1, rows)
}

fn connections(summary: &Summary) -> String {
    let ends: Vec<String> =
        summary.connection_ends.iter().map(|(end, number)| format!("{end} {}", grouped(*number))).collect();
    let ends = if ends.is_empty() { String::new() } else { format!("; ended: {}", ends.join(", ")) };
    let opened = grouped(summary.connections_opened);
    format!("  {opened} opened, {}{ends}\n", count(summary.reconnects, "reconnect"))
}

fn generator(summary: &Summary, colour: bool) -> String {
    let health = &summary.health;
    let seconds = summary.duration.as_secs_f64();
    let workers: Vec<String> =
        health.worker_cpu.iter().map(|cpu| percent(cpu.as_secs_f64(), seconds)).collect();
    let cpu = if workers.is_empty() { "no workers".to_string() } else { workers.join(", ") };
    let process = percent(health.process_cpu.as_secs_f64(), seconds);
    let lag = time(Nanos(percentile_ns(&summary.latencies.lag, 99.0)));
    let lua = match health.script_calls {
        0 => "none".to_string(),
        calls => {
            let mean = Nanos((health.script_time.as_nanos() / u128::from(calls)) as u64);
            let total = duration(health.script_time);
            let longest = duration(health.script_slowest);
            format!("{}, {total}, {} each, the longest {longest}", count(calls, "call"), time(mean))
        }
    };
    let blame = bottleneck(summary);
    let party = match blame.party {
        Party::None => blame.party.word().to_string(),
        party => paint(party.word(), Tone::Doubt, colour),
    };
    let facts = [
        ("CPU", format!("workers {cpu} of one processor each; whole process {process}")),
        ("lag p99", lag),
        ("Lua", lua),
        ("store", store(summary)),
        ("starved", count(health.starved, "time")),
        ("waited", format!("{} for room on their connection", count(health.waited, "request"))),
        ("bottleneck", format!("{party}: {}", blame.because)),
    ];
    facts.iter().map(|(name, text)| format!("  {name:<10}  {text}\n")).collect()
}

fn store(summary: &Summary) -> String {
    let health = &summary.health;
    let mut text = format!(
        "slowest fetch {}, slowest write {}",
        duration(health.slowest_fetch),
        duration(health.slowest_write)
    );
    if health.outages > 0 {
        let _ = write!(text, ", away {}", count(health.outages, "time"));
    }
    if health.generated > 0 {
        let _ = write!(text, ", {} generated", count(health.generated, "missing record"));
    }
    text
}

fn script(summary: &Summary) -> String {
    let script = &summary.script;
    let mut rows = Vec::new();
    for (name, &(passed, failed)) in &script.checks {
        let share = percent(passed as f64, passed.saturating_add(failed) as f64);
        let result =
            format!("{share} passed ({} of {})", grouped(passed), grouped(passed.saturating_add(failed)));
        rows.push(vec!["check".to_string(), plain(name, 60), result]);
    }
    for (name, value) in &script.counters {
        rows.push(vec!["counter".to_string(), plain(name, 60), value.to_string()]);
    }
    let hidden = rows.len().saturating_sub(SHOWN_COUNTERS);
    rows.truncate(SHOWN_COUNTERS);
    let mut text = if rows.is_empty() { String::new() } else { columns(2, 3, rows) };
    if hidden > 0 {
        let _ = writeln!(text, "  and {} in summary.json", grouped(hidden as u64));
    }
    text
}

fn errors(summary: &Summary) -> String {
    let mut errors: Vec<_> = summary.errors.iter().collect();
    errors.sort_by_key(|error| std::cmp::Reverse(error.count));
    let hidden = errors.len().saturating_sub(SHOWN_ERRORS);
    let rows: Vec<Vec<String>> = errors
        .into_iter()
        .take(SHOWN_ERRORS)
        .map(|error| {
            let address = error.address.map_or_else(String::new, |address| address.to_string());
            let detail = plain(&error.detail, SHOWN_TEXT);
            vec![format!("{} ×", grouped(error.count)), plain(&error.kind, 40), address, detail]
        })
        .collect();
    let mut text = if rows.is_empty() { String::new() } else { columns(2, 4, rows) };
    if hidden > 0 {
        let _ = writeln!(text, "  and {} in errors.csv", count(hidden as u64, "more kind"));
    }
    text
}

fn doubts(summary: &Summary, colour: bool) -> String {
    let mut text = String::new();
    for warning in warnings(summary) {
        let _ = writeln!(text, "  {} {warning}", paint("!", Tone::Doubt, colour));
    }
    text
}

fn places(folder: &Path, files: &[String]) -> String {
    let mut text = format!("  {}\n", folder.display());
    if !files.is_empty() {
        let _ = writeln!(text, "  {}", files.join(", "));
    }
    text
}

/// The only line of a quiet run: `PASSED ramp: 13 500 of 13 500 answered`, or why it failed.
pub fn last_line(summary: &Summary) -> String {
    let verdict = &summary.verdict;
    let name = plain(&summary.scenario, SHOWN_TEXT);
    if !verdict.passed {
        let reason = if verdict.reason.is_empty() { &*verdict.word } else { &verdict.reason };
        return format!("FAILED {name}: {} (exit {})", plain(reason, 400), verdict.exit_code);
    }
    let answered = grouped(summary.ledger.outcomes.of(Outcome::Matched));
    let per_second = rate(per_second(summary.ledger.sent, summary.scheduled_duration));
    format!(
        "PASSED{} {name}: {answered} of {} answered, {per_second}/s",
        if summary.simulated { " (SIMULATED)" } else { "" },
        count(summary.ledger.scheduled, "request")
    )
}

#[cfg(test)]
mod tests;

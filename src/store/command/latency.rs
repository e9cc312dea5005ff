//! LATENCY: what took long, and how long commands take.

use super::{ADMIN, Call, Command, Failure, LOADING, NOSCRIPT, Row, STALE, help, shown};
use crate::clock::TickRate;
use crate::store::latency::{Event, Histogram};

const NONE: (i16, i16, i16) = (0, 0, 0);
const G: &str = "server";
const ADM: u32 = ADMIN | NOSCRIPT | LOADING | STALE;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[Command::container("latency", G, "Looks at what took long", SUBCOMMANDS)];

const SUBCOMMANDS: &[Command] = &[
    Command::new("latency|doctor", 2, ADM, NONE, G, "Tells people what took long", latency_doctor),
    Command::new("latency|graph", 3, ADM, NONE, G, "Draws how long an event took", latency_graph),
    Command::new("latency|help", 2, LOADING | STALE, NONE, G, "Shows the sub-commands", latency_help),
    Command::new("latency|histogram", -2, ADM, NONE, G, "Returns how long commands take", latency_histogram),
    Command::new("latency|history", 3, ADM, NONE, G, "Returns how long an event took", latency_history),
    Command::new("latency|latest", 2, ADM, NONE, G, "Returns the last of each event", latency_latest),
    Command::new("latency|reset", -2, ADM, NONE, G, "Forgets events", latency_reset),
];

fn latency_latest(call: &mut Call<'_>) -> Result<(), Failure> {
    let (latency, out) = (&call.engine.latency, &mut call.session.out);
    out.array(latency.events().len());
    for (name, event) in latency.events() {
        let latest = event.latest();
        out.array(4);
        out.text(name);
        out.integer(latest.map_or(0, |sample| sample.at_s as i64));
        out.integer(latest.map_or(0, |sample| sample.millis as i64));
        out.integer(event.longest_ms as i64);
    }
    Ok(())
}

fn latency_history(call: &mut Call<'_>) -> Result<(), Failure> {
    let (latency, out) = (&call.engine.latency, &mut call.session.out);
    let Some(event) = latency.event(&call.args[2]) else {
        out.array(0);
        return Ok(());
    };
    out.array(event.samples().len());
    for sample in event.samples() {
        out.array(2);
        out.integer(sample.at_s as i64);
        out.integer(sample.millis as i64);
    }
    Ok(())
}

fn latency_reset(call: &mut Call<'_>) -> Result<(), Failure> {
    let names = call.args.from(2);
    let latency = &mut call.engine.latency;
    let forgotten = match names.is_empty() {
        true => latency.clear(),
        false => names.iter().filter(|name| latency.forget(name)).count(),
    };
    call.session.out.count(forgotten);
    Ok(())
}

fn latency_graph(call: &mut Call<'_>) -> Result<(), Failure> {
    let Some(event) = call.engine.latency.event(&call.args[2]) else {
        let name = shown(&call.args[2], usize::MAX);
        return Err(Failure(format!("ERR No samples available for event '{name}'").into()));
    };
    let now_s = call.engine.now_us() / 1_000_000;
    let text = draw(&String::from_utf8_lossy(&call.args[2]), event, now_s);
    call.session.out.verbatim(&text);
    Ok(())
}

/// A column for each sample, with its age below, read from top to bottom.
fn draw(name: &str, event: &Event, now_s: u64) -> String {
    const ROWS: u64 = 4;
    let highest = event.samples().map(|sample| sample.millis).max().unwrap_or(0);
    let lowest = event.samples().map(|sample| sample.millis).min().unwrap_or(0);
    let longest = event.longest_ms;
    let mut text = format!("{name} - high {highest} ms, low {lowest} ms (all time high {longest} ms)\n");
    text.push_str(&"-".repeat(80));
    text.push('\n');
    let span = (highest - lowest).max(1);
    for row in (0..ROWS).rev() {
        for sample in event.samples() {
            let level = (sample.millis - lowest) * (ROWS * 2 - 1) / span;
            text.push(match level {
                level if level > row * 2 => '#',
                level if level == row * 2 => '_',
                _ => ' ',
            });
        }
        text.push('\n');
    }
    text.push('\n');
    let ages: Vec<String> = event.samples().map(|sample| age(now_s.saturating_sub(sample.at_s))).collect();
    for row in 0..ages.iter().map(String::len).max().unwrap_or(0) {
        text.extend(ages.iter().map(|age| age.as_bytes().get(row).map_or(' ', |byte| char::from(*byte))));
        text.push('\n');
    }
    text
}

fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn latency_doctor(call: &mut Call<'_>) -> Result<(), Failure> {
    let latency = &call.engine.latency;
    let mut text = String::new();
    if call.engine.settings.number("latency-monitor-threshold") == 0 {
        text.push_str(
            "Nothing is watched: CONFIG SET latency-monitor-threshold <milliseconds> begins to keep what takes \
             longer.\n",
        );
    } else if latency.events().len() == 0 {
        text.push_str("Nothing has taken longer than latency-monitor-threshold so far.\n");
    }
    for (position, (name, event)) in latency.events().enumerate() {
        let samples = event.samples().len() as u64;
        let mean = event.samples().map(|sample| sample.millis).sum::<u64>() / samples.max(1);
        text.push_str(&format!(
            "{}. {name}: {samples} samples, {mean} ms on average, {} ms at most.\n",
            position + 1,
            event.longest_ms
        ));
    }
    if latency.event(b"command").is_some() {
        text.push_str("SLOWLOG GET shows which commands were slow.\n");
    }
    call.session.out.verbatim(&text);
    Ok(())
}

/// The commands that are named, those of a container too; all without a name.
fn latency_histogram(call: &mut Call<'_>) -> Result<(), Failure> {
    let names = call.args.from(2);
    let index = call.engine.index;
    let meant = |row: &Row| {
        let own = row.command.name.as_bytes();
        let container = memchr::memchr(b'|', own).map_or(own, |bar| &own[..bar]);
        names.is_empty()
            || names.iter().any(|name| name.eq_ignore_ascii_case(own) || name.eq_ignore_ascii_case(container))
    };
    let stats = &call.engine.command_stats;
    let rows = index.rows().iter().filter(|row| meant(row));
    let found: Vec<(&str, &Histogram)> =
        rows.filter_map(|row| Some((row.command.name, stats[row.id].histogram.as_ref()?))).collect();
    let rate = call.engine.tick_rate;
    let out = &mut call.session.out;
    out.map(found.len());
    for (name, histogram) in found {
        let steps = steps(histogram, rate);
        out.text(name);
        out.map(2);
        out.text("calls");
        out.integer(histogram.count() as i64);
        out.text("histogram_usec");
        out.map(steps.len());
        for (micros, count) in steps {
            out.integer(micros as i64);
            out.integer(count as i64);
        }
    }
    Ok(())
}

/// How many took at most 1, 2, 4, 8 … microseconds, where that is more than one step before.
fn steps(histogram: &Histogram, rate: TickRate) -> Vec<(u64, u64)> {
    let mut steps: Vec<(u64, u64)> = Vec::new();
    let mut sum = 0;
    for (ticks, count) in histogram.buckets() {
        sum += count;
        let micros = (rate.micros(ticks).ceil().max(1.0) as u64).next_power_of_two();
        match steps.last_mut() {
            Some((last, counted)) if *last == micros => *counted = sum,
            _ => steps.push((micros, sum)),
        }
    }
    steps
}

fn latency_help(call: &mut Call<'_>) -> Result<(), Failure> {
    help::show(
        call,
        &[
            ("DOCTOR", &["Tells people what took long."]),
            ("GRAPH <event>", &["Draws the samples of an <event>."]),
            ("HISTORY <event>", &["Lists the samples of an <event> with their times."]),
            ("LATEST", &["Lists the last sample of each event."]),
            ("RESET [<event> ...]", &["Forgets the samples of some events, or of all."]),
            ("HISTOGRAM [COMMAND ...]", &["Tells how often commands took how long."]),
        ],
    )
}

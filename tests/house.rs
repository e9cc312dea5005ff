//! The house rules of `docs/ARCHITECTURE.md`, held against the sources.
//!
//! Sources are read as text: line by line, without comments and without what stands under
//! `#[cfg(test)]`, which may import anything. That rustfmt has been here is taken for granted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A room may import what stands behind it; every such room stands above it, so there is no circle.
const ROOMS: &[(&str, &[&str])] = &[
    // 0
    ("units", &[]),
    ("seeded", &[]),
    ("template", &[]),
    // 1
    ("clock", &["units"]),
    ("arrival", &["clock"]),
    ("wire", &["units"]),
    ("ledger", &["units"]),
    ("script", &["clock", "units"]),
    ("handoff", &["ledger", "units"]),
    ("steer", &["units"]),
    // 2
    ("scenario", &["units"]),
    ("recorder", &["ledger", "units"]),
    ("store", &["clock", "wire", "units", "seeded"]),
    ("responder", &["arrival", "clock", "wire", "units", "seeded"]),
    // 3
    ("plan", &["scenario", "ledger", "units", "seeded", "template"]),
    ("datastore", &["store", "clock", "units"]),
    // 4
    ("records", &["datastore", "clock", "units", "seeded", "template"]),
    (
        "feed",
        &[
            "records",
            "datastore",
            "plan",
            "script",
            "handoff",
            "ledger",
            "wire",
            "clock",
            "units",
            "template",
        ],
    ),
    (
        "mapping",
        &["datastore", "plan", "script", "handoff", "ledger", "clock", "units", "template", "seeded"],
    ),
    ("engine", &["arrival", "plan", "recorder", "handoff", "ledger", "wire", "clock", "units", "seeded"]),
    ("simulation", &["engine", "plan", "recorder", "handoff", "ledger", "wire", "units"]),
    ("client", &["wire", "clock", "units"]),
    // 5
    ("thresholds", &["plan", "scenario", "recorder", "ledger", "units"]),
    ("report", &["plan", "scenario", "recorder", "handoff", "ledger", "clock", "units", "template"]),
    // 6
    ("live", &["plan", "recorder", "report", "ledger", "steer", "clock", "units"]),
    ("telemetry", &["live", "clock", "units"]),
    ("serve", &["telemetry", "live", "report", "records", "datastore", "steer", "clock", "units"]),
    // 7 and 8
    ("cli", &["plan", "units"]),
    ("app", &[EVERYTHING]),
    ("main", &["app", "cli"]),
];
const EVERYTHING: &str = "everything above";

/// A package is used behind one door, so that it can be replaced there.
const DOORS: &[(&str, &[&str])] = &[
    ("mlua", &["src/script"]),
    ("serde_yaml", &["src/scenario"]),
    ("redis", &["src/datastore"]),
    ("mio", &["src/store"]),
    ("csv", &["src/report"]),
    ("kuva", &["src/report/page"]),
    ("indicatif", &["src/report/progress"]),
    ("quick_junit", &["src/report/junit"]),
    ("rustyline", &["src/client"]),
    ("axum", &["src/serve"]),
    ("hyper", &["src/serve", "src/telemetry/otlp"]),
    ("hyper_util", &["src/serve", "src/telemetry/otlp"]),
    ("prometheus_client", &["src/telemetry/prometheus"]),
    ("opentelemetry_proto", &["src/telemetry/otlp"]),
    ("prost", &["src/telemetry/otlp"]),
    ("utoipa", &["src/serve", "src/live"]),
    ("utoipa_axum", &["src/serve"]),
    ("clap", &["src/cli", "src/app.rs", "src/main.rs"]),
    ("clap_complete", &["src/cli", "src/app.rs"]),
    ("clap_mangen", &["src/cli", "src/app.rs"]),
];

/// What is written in one place only: the text, and where it may stand.
const PLACES: &[(&str, &[&str])] = &[
    ("Instant::now", &["src/clock.rs"]),
    ("SystemTime::now", &["src/clock.rs"]),
    ("clock_gettime", &["src/clock.rs"]),
    ("thread::sleep", &["src/clock.rs"]),
    ("tokio::time", &["src/clock.rs"]),
    ("process::exit", &["src/main.rs"]),
    ("process::abort", &["src/main.rs"]),
    ("println!", &["src/app", "src/report/screen", "src/main.rs"]),
    ("print!", &["src/app", "src/report/screen", "src/main.rs"]),
    ("eprintln!", &["src/app", "src/report/screen", "src/main.rs"]),
    ("eprint!", &["src/app", "src/report/screen", "src/main.rs"]),
];

/// What a file that begins with `//! Hot path` does not do.
const SLOW: &[&str] =
    &["format!", ".lock()", "trace!", "debug!", "info!", "warn!", "error!", "HashMap", "println!"];

/// Where a hot file does it all the same: the file, words of the line, and why that is not for each request.
const COLD: &[(&str, &str, &str)] = &[
    ("src/responder/serving.rs", "a responder thread cannot start", "once, and then there is no run"),
    ("src/responder/serving.rs", "the responder cannot accept", "no descriptor is left"),
    ("src/responder/ids.rs", "{random:016x}", "once for a responder"),
    ("src/responder/ids.rs", "{instance}-{port}-", "once for a port"),
    ("src/store/command.rs", "ERR ", "a command that is refused"),
    ("src/store/command.rs", "let text = format!(", "a command that is refused"),
    ("src/store/connection.rs", "ERR ", "a client that breaks the protocol"),
];

/// Names that say nothing about what is in a file.
const EMPTY_NAMES: &[&str] = &["mod", "utils", "util", "helpers", "helper", "common", "imp", "misc", "types"];

fn root() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into()))
}

/// All files below a folder whose names end so, in order, as paths from the root.
fn files(folder: &str, ending: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                let short = path.strip_prefix(root()).expect("below the root");
                found.push(short.to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// A source without its comments and tests; lines keep their numbers.
struct Source {
    path: String,
    is_hot: bool,
    lines: Vec<String>,
}

impl Source {
    fn read(path: &str) -> (Source, Vec<String>) {
        let text = read(path);
        let (lines, tests) = without_tests(&text);
        let is_hot = text.starts_with("//! Hot path");
        (Source { path: path.to_string(), is_hot, lines }, tests)
    }

    /// The room that the file stands in: the name of its module below the crate.
    fn room(&self) -> &str {
        let below = self.path.strip_prefix("src/").unwrap_or(&self.path);
        below.split(['/', '.']).next().unwrap_or(below)
    }

    fn numbered(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines.iter().enumerate().map(|(index, line)| (index + 1, line.as_str()))
    }

    fn stands_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| {
            self.path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '.']))
        })
    }
}

/// The lines that are left, emptied where they were comments or tests, and the modules `#[cfg(test)] mod x;`.
fn without_tests(text: &str) -> (Vec<String>, Vec<String>) {
    let (mut lines, mut modules) = (Vec::new(), Vec::new());
    let mut rest = text.lines();
    while let Some(line) = rest.next() {
        let indent = &line[..line.len() - line.trim_start().len()];
        if line.trim() != "#[cfg(test)]" {
            let is_comment = line.trim_start().starts_with("//");
            let code = line.split_once(" // ").map_or(line, |(code, _)| code);
            lines.push(if is_comment { String::new() } else { code.to_string() });
            continue;
        }
        lines.push(String::new());
        for line in rest.by_ref() {
            lines.push(String::new());
            let item = line.trim();
            if let Some(name) = item.strip_prefix("mod ").and_then(|name| name.strip_suffix(';')) {
                modules.push(name.to_string());
            }
            // An item ends with its own line, or with the brace under its first letter.
            let ends_here = item.ends_with([';', '}']) && line.starts_with(indent);
            let is_its_own = line.strip_prefix(indent).is_some_and(|code| !code.starts_with(' '));
            if ends_here && is_its_own {
                break;
            }
        }
    }
    (lines, modules)
}

/// Every source of the program, without files that are tests.
fn sources() -> Vec<Source> {
    let mut all = Vec::new();
    let mut tests = Vec::new();
    for path in files("src", ".rs") {
        let (source, modules) = Source::read(&path);
        let folder = path.strip_suffix(".rs").expect("a source");
        tests.extend(modules.iter().map(|module| format!("{folder}/{module}")));
        all.push(source);
    }
    let tests: Vec<&str> = tests.iter().map(String::as_str).collect();
    all.retain(|source| !source.stands_in(&tests));
    assert!(all.len() > 30, "only {} sources were found", all.len());
    all
}

/// The first names behind a root such as `crate::`, also in braces and over several lines.
fn imports(text: &str, root: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in text.match_indices(root) {
        if text[..at].ends_with(is_word) {
            continue;
        }
        let rest = text[at + root.len()..].trim_start();
        let Some(inside) = rest.strip_prefix('{') else {
            names.insert(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut part = String::new();
        for c in inside.chars() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    names.insert(word(part.trim()));
                    part.clear();
                    continue;
                }
                _ => {}
            }
            part.push(c);
        }
        names.insert(word(part.trim()));
    }
    names.remove("");
    names
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn word(text: &str) -> String {
    text.chars().take_while(|&c| is_word(c)).collect()
}

/// Whether a text stands in a line and is not the end of a longer word. A path may lead to it: `tracing::info!`.
fn has(line: &str, text: &str) -> bool {
    line.match_indices(text).any(|(at, _)| !text.starts_with(is_word) || !line[..at].ends_with(is_word))
}

fn none(problems: Vec<String>) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn arrows_go_down_and_sisters_never_meet() {
    let table: BTreeMap<&str, &[&str]> = ROOMS.iter().copied().collect();
    let mut problems = Vec::new();
    for source in sources().iter().filter(|source| source.path != "src/lib.rs") {
        let room = source.room();
        let Some(&may) = table.get(room) else {
            problems.push(format!("{}: the room {room} is not in the table of imports", source.path));
            continue;
        };
        let text = source.lines.join("\n");
        let mut imported = imports(&text, "crate::");
        if room == "main" {
            imported.extend(imports(&text, "runner::"));
        }
        for name in imported.iter().filter(|name| *name != room) {
            if !table.contains_key(name.as_str()) {
                problems.push(format!("{}: `crate::{name}` is no room", source.path));
            } else if name == "main" || may != [EVERYTHING] && !may.contains(&name.as_str()) {
                problems.push(format!("{}: {room} may not import {name}", source.path));
            }
        }
    }
    none(problems);
}

#[test]
fn nobody_leaves_a_room_by_super() {
    let mut problems = Vec::new();
    for source in sources() {
        let depth = source.path.matches('/').count();
        let way_out = "super::".repeat(depth);
        for (number, line) in source.numbered() {
            if line.starts_with("use ") && line.contains(&way_out) {
                problems.push(format!("{}:{number}: write `use crate::` to leave the room", source.path));
            }
        }
    }
    none(problems);
}

#[test]
fn the_table_of_imports_has_no_circle() {
    let mut above = BTreeSet::new();
    for (room, may) in ROOMS {
        for name in may.iter().filter(|name| **name != EVERYTHING) {
            assert!(above.contains(name), "{room} imports {name}, which does not stand above it");
        }
        assert!(above.insert(room), "{room} stands in the table twice");
    }
}

#[test]
fn a_package_has_one_door() {
    let mut problems = Vec::new();
    for source in sources() {
        for (package, doors) in DOORS.iter().filter(|(_, doors)| !source.stands_in(doors)) {
            // A module of ours may be called like a package: `use crate::report::csv`.
            let ours = |line: &&str| {
                line.trim_start().starts_with("use ")
                    && ["crate::", "super::", "self::"].iter().any(|root| line.contains(root))
                    && line.split(|c| !is_word(c)).any(|name| name == *package)
            };
            if source.numbered().any(|(_, line)| ours(&line)) {
                continue;
            }
            for (number, line) in source.numbered() {
                let used = has(line, &format!("{package}::")) && !line.contains(&format!("::{package}::"))
                    || line.trim() == format!("use {package};");
                if used {
                    let doors = doors.join(", ");
                    problems.push(format!("{}:{number}: {package} is used in {doors} only", source.path));
                }
            }
        }
    }
    none(problems);
}

#[test]
fn time_exit_and_screen_have_their_places() {
    let mut problems = Vec::new();
    for source in sources() {
        for (text, places) in PLACES.iter().filter(|(_, places)| !source.stands_in(places)) {
            for (number, _) in source.numbered().filter(|(_, line)| has(line, text)) {
                let places = places.join(", ");
                problems.push(format!("{}:{number}: `{text}` stands in {places} only", source.path));
            }
        }
    }
    none(problems);
}

#[test]
fn hot_files_do_not_format_lock_log_or_hash_slowly() {
    let mut problems = Vec::new();
    let mut exceptions: BTreeSet<_> = COLD.iter().filter(|(path, _, _)| root().join(path).exists()).collect();
    let mut hot = 0;
    for source in sources().iter().filter(|source| source.is_hot) {
        hot += 1;
        for (number, line) in source.numbered() {
            for text in SLOW.iter().filter(|text| has(line, text)) {
                let cold = COLD.iter().find(|(path, words, _)| *path == source.path && line.contains(words));
                match cold {
                    Some(exception) => {
                        exceptions.remove(exception);
                    }
                    None => problems.push(format!(
                        "{}:{number}: `{text}` in a hot file; if no request runs it, say so in tests/house.rs",
                        source.path
                    )),
                }
            }
        }
    }
    assert!(hot >= 8, "only {hot} hot files were found");
    problems.extend(
        exceptions.iter().map(|(path, words, _)| format!("{path}: `{words}` is no exception any more")),
    );
    none(problems);
}

#[test]
fn a_file_is_named_for_the_question_it_answers() {
    let mut problems = Vec::new();
    for path in files("src", ".rs") {
        let stem = Path::new(&path).file_stem().expect("a name").to_string_lossy().into_owned();
        if EMPTY_NAMES.contains(&stem.as_str()) {
            problems.push(format!("{path}: the name says nothing; no mod.rs: `foo.rs` stands beside `foo/`"));
        }
    }
    none(problems);
}

#[test]
fn every_scenario_is_named_in_the_readme_and_every_script_is_used_by_a_scenario() {
    let readme = read("README.md");
    let scenarios = files("scenarios", ".yaml");
    let scripts = files("scripts", ".lua");
    assert!(scenarios.len() >= 9 && !scripts.is_empty());
    let mut problems = Vec::new();
    for path in &scenarios {
        let stem = Path::new(path).file_stem().expect("a name").to_string_lossy();
        if !readme.split(|c: char| !is_word(c) && c != '-').any(|name| name == stem) {
            problems.push(format!("README.md does not name {path}"));
        }
    }
    let said: String = scenarios.iter().map(|path| read(path)).collect();
    let used = |path: &str| {
        let name = format!("../{path}");
        said.lines().any(|line| !line.trim_start().starts_with('#') && line.contains(&name))
    };
    problems.extend(scripts.iter().filter(|path| !used(path)).map(|path| format!("no scenario uses {path}")));
    none(problems);
}

#[test]
fn this_test_sees_every_way_of_importing() {
    let text = "use crate::a::b;\nuse crate::{c, d::{e, f},\n    g::*};\nlet x = crate::h::i();\nmycrate::j;";
    let found: Vec<String> = imports(text, "crate::").into_iter().collect();
    assert_eq!(found, ["a", "c", "d", "g", "h"]);
}

#[test]
fn this_test_leaves_out_tests_and_comments_and_nothing_else() {
    let text = "one\n// no\nfn a() {} // no\n#[cfg(test)]\nuse no;\n#[cfg(test)]\n#[expect(x, reason = \"y\")]\nmod no {\n    no {\n    }\n    no;\n}\n\
                two\nimpl B {\n    #[cfg(test)]\n    fn no(\n        no: u8,\n    ) {\n        no;\n    }\n    three\n}\n#[cfg(test)]\nmod cases;\nfour";
    let (lines, modules) = without_tests(text);
    let left: Vec<&str> = lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty()).collect();
    assert_eq!(left, ["one", "fn a() {}", "two", "impl B {", "three", "}", "four"]);
    assert_eq!(lines.len(), text.lines().count());
    assert_eq!(modules, ["cases"]);
}

#[test]
fn this_test_tells_a_package_from_the_end_of_a_word() {
    assert!(has("    redis::cmd(\"GET\")", "redis::") && has("use mio::Poll;", "mio::"));
    assert!(!has("schema::myredis::x", "redis::") && !has("\"redis://host\"", "redis::"));
    assert!(has("tracing::info!(\"x\")", "info!") && !has("eprintln!()", "println!"));
    assert!(has("self.link.lock()", ".lock()"));
}

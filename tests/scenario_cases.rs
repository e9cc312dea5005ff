//! Every file in `tests/cases` against what it says about itself, every scenario of the project, and
//! the promises of the scenario format.
//!
//! A `bad-*.yaml` names all its problems in comments: `# expect: line:col: text fragment`, in order.
//! `# flag: --set a.b=c` and `# flag: --var a=b` lines are given on the command line, `# env: A=b` is
//! the environment; the problem of a flag is expected at `flag:col`. A `good-*.yaml` loads.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use runner::mapping::form;
use runner::scenario::schema::{Correlate, Framing, Model, StageKind};
use runner::scenario::{Loaded, Overrides, Problem, Problems, Scenario, Severity, json_schema};
use runner::units::{Nanos, Tps};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &str, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(folder)).expect("the folder is there");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        name.starts_with(prefix) && name.ends_with(".yaml")
    });
    files.sort();
    files
}

/// The leading comments of a case.
#[derive(Default)]
struct Case {
    expected: Vec<(String, String)>,
    warnings: Vec<(String, String)>,
    overrides: Overrides,
}

fn case(text: &str) -> Case {
    let mut case = Case::default();
    let pair = |text: &str| {
        let (name, value) = text.split_once('=').expect("NAME=VALUE");
        (name.to_string(), value.to_string())
    };
    for line in text.lines().map_while(|line| line.strip_prefix("# ")) {
        let place = |rest: &str| {
            let (place, fragment) = rest.split_once(": ").expect("place: fragment");
            (place.to_string(), fragment.to_string())
        };
        if let Some(rest) = line.strip_prefix("expect: ") {
            case.expected.push(place(rest));
        } else if let Some(rest) = line.strip_prefix("warn: ") {
            case.warnings.push(place(rest));
        } else if let Some(rest) = line.strip_prefix("flag: --set ") {
            case.overrides.sets.push(pair(rest));
        } else if let Some(rest) = line.strip_prefix("flag: --var ") {
            case.overrides.vars.push(pair(rest));
        } else if let Some(rest) = line.strip_prefix("env: ") {
            case.overrides.env.extend([pair(rest)]);
        }
    }
    case
}

fn agrees(problem: &Problem, expected: &(String, String)) -> bool {
    let place = match problem.flag {
        Some(_) => format!("flag:{}", problem.column),
        None => format!("{}:{}", problem.line, problem.column),
    };
    place == expected.0 && problem.to_string().contains(&expected.1)
}

fn compare(name: &str, list: &[Problem], expected: &[(String, String)], shown: &str) -> Option<String> {
    let all = list.len() == expected.len() && list.iter().zip(expected).all(|(p, e)| agrees(p, e));
    let wanted: String =
        expected.iter().map(|(place, fragment)| format!("  {place}: {fragment}\n")).collect();
    (!all).then(|| format!("{name} expects\n{wanted}but gives\n{shown}\n"))
}

#[test]
fn every_bad_case_gives_exactly_its_problems_at_their_places() {
    let cases = files("tests/cases", "bad-");
    assert!(cases.len() >= 25, "only {} bad cases", cases.len());
    let mut wrong = String::new();
    for path in cases {
        let bytes = fs::read(&path).expect("the case can be read");
        let case = case(&String::from_utf8_lossy(&bytes));
        let name = path.display().to_string();
        match Scenario::load(&path, &case.overrides) {
            Ok(_) => wrong.push_str(&format!("{name} loads\n")),
            Err(problems) => {
                wrong.extend(compare(&name, &problems.list, &case.expected, &problems.to_string()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_good_case_loads_with_exactly_its_warnings() {
    let mut wrong = String::new();
    for path in files("tests/cases", "good-") {
        let case = case(&fs::read_to_string(&path).expect("the case can be read"));
        let name = path.display().to_string();
        match Scenario::load(&path, &case.overrides) {
            Ok(loaded) => {
                let shown = loaded.problems(loaded.warnings.clone()).to_string();
                wrong.extend(compare(&name, &loaded.warnings, &case.warnings, &shown));
            }
            Err(problems) => wrong.push_str(&format!("{name}\n{problems}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_scenario_of_the_project_loads_without_warnings_and_its_script_is_named_right() {
    let scenarios = files("scenarios", "");
    assert!(scenarios.len() >= 9, "only {} scenarios", scenarios.len());
    for path in scenarios {
        let loaded = load_file(&path, &Overrides::default());
        assert_eq!(loaded.warnings, [], "{}", path.display());
        let stem = path.file_stem().and_then(|stem| stem.to_str()).expect("a name");
        assert_eq!(loaded.scenario.name, stem, "a scenario has the name of its file");
    }
}

#[test]
fn every_name_that_a_mapping_fills_in_is_known_where_it_is_filled_in_and_only_there() {
    let warned = |mapping: &str| {
        let yaml = format!("{MINIMAL}\nmapping: {{ {mapping} }}\n");
        let loaded = text(&yaml, &Overrides::default()).unwrap_or_else(|e| panic!("{e}\n{yaml}"));
        loaded.warnings.iter().map(|problem| problem.to_string()).collect::<Vec<_>>()
    };
    for name in form::FIELD_NAMES {
        assert_eq!(warned(&format!("fields: {{ a: \"{{{name}}}\" }}")), [""; 0], "{name}");
        let in_key = warned(&format!("into: stream, key: \"all:{{{name}}}\""));
        assert_eq!(in_key.is_empty(), form::KEY_NAMES.contains(&name), "{name}: {in_key:?}");
    }
    for name in form::KEY_NAMES {
        assert_eq!(warned(&format!("into: stream, key: \"all:{{{name}}}\"")), [""; 0], "{name}");
    }
    for near in ["response.ID", "lag", "servce_us", "respons_us"] {
        let said = warned(&format!("fields: {{ a: \"{{{near}}}\" }}"));
        let expected = usize::from(near != "lag");
        assert_eq!(said.len(), expected, "{near}: {said:?}");
    }
}

#[test]
fn effective_yaml_loads_again_to_the_same_scenario() {
    for path in files("scenarios", "").into_iter().chain(files("tests/cases", "good-")) {
        let case = case(&fs::read_to_string(&path).expect("the file can be read"));
        let first = load_file(&path, &case.overrides);
        let yaml = first.effective_yaml().expect("it can be written");
        let again = text(&yaml, &Overrides::default()).unwrap_or_else(|e| panic!("{e}\n{yaml}"));
        assert_eq!(again.scenario, first.scenario, "{}\n{yaml}", path.display());
        assert_eq!(again.effective_yaml().expect("it can be written"), yaml);
    }
}

#[test]
fn every_key_of_the_schema_is_in_the_reference() {
    let reference = fs::read_to_string(root().join("docs/scenario.md")).expect("the reference is there");
    let schema: serde_json::Value = serde_json::from_str(&json_schema()).expect("JSON");
    let mut keys = Vec::new();
    collect_keys(&schema, &mut keys);
    assert!(keys.len() > 50, "only {} keys", keys.len());
    for key in keys {
        assert!(reference.contains(&format!("`{key}`")), "docs/scenario.md does not name `{key}`");
    }
}

fn collect_keys(schema: &serde_json::Value, keys: &mut Vec<String>) {
    match schema {
        serde_json::Value::Object(map) => {
            if let Some(serde_json::Value::Object(properties)) = map.get("properties") {
                keys.extend(properties.keys().cloned());
            }
            map.values().for_each(|value| collect_keys(value, keys));
        }
        serde_json::Value::Array(items) => items.iter().for_each(|value| collect_keys(value, keys)),
        _ => {}
    }
}

#[test]
fn the_committed_schema_is_the_one_of_the_types() {
    let path = root().join("docs/scenario.schema.json");
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        fs::write(&path, json_schema()).expect("the schema can be written");
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == json_schema(), "run the tests once with UPDATE_SCHEMA=1 and commit the file");
}

// ---------------------------------------------------------------------------------------------

const MINIMAL: &str = "name: m\nload: { stages: [ { hold: 100, duration: 10s } ] }\n";

fn text(text: &str, overrides: &Overrides) -> Result<Loaded, Problems> {
    Scenario::from_text("test.yaml", Path::new("."), text, overrides)
}

fn good(yaml: &str) -> Scenario {
    text(yaml, &Overrides::default()).unwrap_or_else(|problems| panic!("{problems}")).scenario
}

fn bad(yaml: &str) -> Problems {
    text(yaml, &Overrides::default()).expect_err("must be refused")
}

fn load_file(path: &Path, overrides: &Overrides) -> Loaded {
    Scenario::load(path, overrides).unwrap_or_else(|problems| panic!("{problems}"))
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

#[test]
fn the_smallest_scenario_has_every_default_of_the_contract() {
    let scenario = good(MINIMAL);
    assert_eq!(scenario.seed, 1);
    assert!(scenario.redis.is_embedded());
    assert_eq!((scenario.redis.prefetch, scenario.redis.timeout), (2000, Nanos::from_millis(500)));
    assert_eq!(scenario.records.key, "record:{id}");
    assert_eq!((scenario.records.range[0].first(), scenario.records.range[0].last()), (1, 500_000));
    assert_eq!(scenario.load.model, Model::Open);
    assert_eq!(scenario.load.max_lateness, Nanos::from_secs(2));
    assert_eq!(scenario.load.graceful_stop, Nanos::from_secs(10));
    assert_eq!(
        (scenario.connections.count, scenario.connections.limit, scenario.connections.window),
        (10, 100, 16)
    );
    assert_eq!((scenario.target.framing, scenario.target.correlate), (Framing::Length, Correlate::Id));
    assert_eq!((scenario.responder.ports, scenario.responder.first_port), (10, 0));
    assert_eq!(scenario.mapping.key, "response:{key}");
    assert_eq!(scenario.mapping.fields.len(), 3);
    assert_eq!(scenario.report.files.len(), 9);
    assert_eq!(scenario.load.stages[0].kind, StageKind::Hold(Tps::per_second(100)));
}

#[test]
fn a_variable_may_stand_wherever_a_number_is_wanted() {
    let yaml = "name: v\nvars: { peak: \"${PEAK:-1000}\", wait: 5s }\nconnections: { count: ${N:-7} }\n\
                load: { stages: [ { hold: ${peak}, duration: ${wait} }, { ramp: { from: 0, to: \"${peak}/m\" }, duration: 1s } ] }\n";
    let scenario = good(yaml);
    assert_eq!(scenario.load.stages[0].kind, StageKind::Hold(Tps::per_second(1000)));
    assert_eq!(scenario.load.stages[0].duration, Some(Nanos::from_secs(5)));
    assert_eq!(scenario.connections.count, 7);

    let env = BTreeMap::from([("PEAK".to_string(), "600".to_string()), ("N".to_string(), "3".to_string())]);
    let from_env =
        text(yaml, &Overrides { env: env.clone(), ..Overrides::default() }).expect("loads").scenario;
    assert_eq!(from_env.load.stages[0].kind, StageKind::Hold(Tps::per_second(600)));
    assert_eq!(from_env.connections.count, 3);

    let vars = pairs(&[("peak", "60"), ("N", "9")]);
    let from_flag = text(yaml, &Overrides { env, vars, ..Overrides::default() }).expect("loads").scenario;
    let ramp = StageKind::Ramp { from: Tps::ZERO, to: Tps::per_second(1) };
    assert_eq!(from_flag.load.stages[1].kind, ramp);
    assert_eq!(from_flag.connections.count, 9);
    assert_eq!(from_flag.vars["peak"], "60");
}

#[test]
fn a_value_of_a_variable_cannot_become_yaml() {
    let env = BTreeMap::from([("D".to_string(), "x, seed: 5 }\nseed: 9".to_string())]);
    let yaml = format!("description: ${{D}}\n{MINIMAL}");
    let scenario = text(&yaml, &Overrides { env, ..Overrides::default() }).expect("loads").scenario;
    assert_eq!(scenario.description, "x, seed: 5 }\nseed: 9");
    assert_eq!(scenario.seed, 1);
}

#[test]
fn set_changes_one_value_and_makes_the_section_it_needs() {
    let sets = pairs(&[
        ("load.stages[0].hold", "0.5"),
        ("connections.count", "20"),
        ("records.range", "[1..10, 20..30]"),
        ("redis.url", "redis://a:6379"),
    ]);
    let overrides =
        Overrides { sets, seed: Some(7), redis: Some("redis://b:1".into()), ..Overrides::default() };
    let scenario = text(MINIMAL, &overrides).unwrap_or_else(|e| panic!("{e}")).scenario;
    assert_eq!(scenario.load.stages[0].kind, StageKind::Hold("0.5".parse().expect("a rate")));
    assert_eq!(scenario.connections.count, 20);
    assert_eq!(scenario.records.range.len(), 2);
    assert_eq!(scenario.seed, 7);
    assert_eq!(scenario.redis.url, "redis://b:1", "the flag of its own wins");
}

#[test]
fn a_later_finding_is_put_at_its_line() {
    let yaml = "name: p\nload:\n  stages:\n    - { hold: 5, duration: 1s }\n    - ramp: { from: 0, to: 9 }\n      duration: 1s\n";
    let loaded = text(yaml, &Overrides::default()).expect("loads");
    let problem = loaded.problem("load.stages[1].ramp.to", "too much", Some("less".into()));
    assert_eq!((problem.line, problem.column, problem.severity), (5, 28, Severity::Error));
    assert_eq!(loaded.place_of("load.stages[1].ramp").map(|place| (place.line, place.column)), Some((5, 7)));
    assert_eq!(loaded.place_of("load.stages[1].nothing.here").map(|place| place.line), Some(5));
    assert_eq!(loaded.place_of("connections.count"), None);
    let shown = loaded.problems(vec![problem]).to_string();
    assert!(shown.contains("5 |     - ramp: { from: 0, to: 9 }"), "{shown}");
}

#[test]
fn a_password_is_shown_nowhere() {
    let yaml = format!("redis: {{ url: \"redis://me:secret@host:6379/0\" }}\n{MINIMAL}");
    let loaded = text(&yaml, &Overrides::default()).expect("loads");
    let effective = loaded.effective_yaml().expect("it can be written");
    assert!(effective.contains("redis://me:***@host:6379/0") && !effective.contains("secret"), "{effective}");

    let redis = Some("http://me:secret@host".to_string());
    let problems = text(MINIMAL, &Overrides { redis, ..Overrides::default() }).expect_err("no such scheme");
    assert!(!problems.to_string().contains("secret"), "{problems}");
}

#[test]
fn a_script_is_found_beside_the_scenario_file() {
    let yaml = format!("script: {{ file: ../scripts/a.lua }}\n{MINIMAL}");
    let loaded =
        Scenario::from_text("x/y.yaml", Path::new("x"), &yaml, &Overrides::default()).expect("loads");
    assert_eq!(loaded.script_path(), Some(PathBuf::from("x/../scripts/a.lua")));
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem_like_the_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = Scenario::load(&folder.path().join("no.yaml"), &Overrides::default()).expect_err("missing");
    assert!(missing.to_string().contains("cannot be read"), "{missing}");
    let directory = Scenario::load(folder.path(), &Overrides::default()).expect_err("a folder");
    assert!(directory.to_string().contains("cannot be read"), "{directory}");
}

#[test]
fn files_made_to_hurt_are_refused_in_under_a_second() {
    let deep: String = (0..1000).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
    let alias_bomb: String = (1..30)
        .map(|n| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(", ")))
        .fold("a0: &a0 [x, x]\n".to_string(), |all, line| all + &line);
    let text_bomb = format!("a: &a \"{}\"\nb: [{}]\n", "x".repeat(500_000), vec!["*a"; 20_000].join(","));
    let anchors = format!("{}x{}\n", "&a [".repeat(60), "]".repeat(60)).repeat(1);
    let merges = (1..60).fold("a0: &a0 {k: 1}\n".to_string(), |all, n| {
        all + &format!("a{n}: &a{n} {{<<: [*a{0}, *a{0}, *a{0}], k{n}: 1}}\n", n - 1)
    });
    let attacks = [
        ("brackets", "[".repeat(100_000)),
        ("brackets under a key", format!("load: {}{}", "[".repeat(100_000), "]".repeat(100_000))),
        ("braces", "{a: ".repeat(20_000)),
        ("dashes", "- ".repeat(20_000)),
        ("blocks", deep),
        ("aliases", alias_bomb),
        ("long aliases", text_bomb),
        ("anchors", anchors),
        ("merges", merges),
        ("itself", "name: &a [*a]\n".to_string()),
        ("too large", format!("name: {}", "x".repeat(1 << 20))),
        ("one huge name", format!("name: {}", "x".repeat((1 << 20) - 10))),
        ("one huge key", format!("{}: 1\n", "k".repeat(900))),
        ("unknown keys", (0..90_000).map(|n| format!("k{n}: 1\n")).collect::<String>()),
        ("variables", format!("name: \"{}\"", "${".repeat(400_000))),
        ("nested variables", format!("name: {}{}", "${A:-".repeat(150_000), "}".repeat(150_000))),
        ("stages", format!("name: x\nload: {{ stages: [{}] }}\n", "{},".repeat(90_000))),
        (
            "warnings",
            format!(
                "name: x!\nload: {{ stages: [ {{ hold: 1, duration: 1s }} ] }}\nreport: {{ files: [{}] }}\n",
                "json,".repeat(90_000)
            ),
        ),
        (
            "placeholders",
            format!(
                "{MINIMAL}seed: -1\nmapping: {{ fields: {{ a: \"{}\" }} }}\n",
                "{response.idd}".repeat(60_000)
            ),
        ),
        ("files", format!("{MINIMAL}seed: -1\nreport: {{ files: [{}] }}\n", "errors,".repeat(90_000))),
        ("numbers", format!("name: x\nseed: {}\n", "9".repeat(900_000))),
        ("rate", format!("name: x\nload: {{ stages: [ {{ hold: {} }} ] }}\n", "9".repeat(900_000))),
        ("nul", "name: \0\n".to_string()),
        ("bytes order mark only", "\u{feff}".to_string()),
        ("private use", "name: \u{f0041}\n".to_string()),
    ];
    for (what, yaml) in attacks {
        let start = Instant::now();
        let problems = text(&yaml, &Overrides::default()).err().unwrap_or_else(|| panic!("{what} loads"));
        let shown = problems.render(true);
        let took = start.elapsed();
        assert!(!problems.list.is_empty() && problems.has_errors(), "{what}");
        assert!(took < Duration::from_secs(1), "{what}: {took:?}");
        assert!(shown.len() < 200_000, "{what}: {} bytes shown", shown.len());
    }
}

#[test]
fn values_of_variables_cannot_fill_the_memory() {
    let env = BTreeMap::from([("BIG".to_string(), "x".repeat(1 << 20))]);
    let yaml = format!("name: n\ndescription: \"{}\"\n", "${BIG}".repeat(1000));
    let problems = text(&yaml, &Overrides { env, ..Overrides::default() }).expect_err("too large");
    assert!(problems.to_string().contains("8 MiB"), "{problems}");
}

#[test]
fn the_rows_of_a_matrix_cannot_fill_the_memory() {
    let rows: Vec<String> = (1..=100).map(|count| count.to_string()).collect();
    let scenario = |vars: usize| {
        let vars: String = (0..vars).map(|n| format!("  v{n}: {n}\n")).collect();
        let load = "load: { stages: [ { hold: 1, duration: 1s } ] }";
        format!("name: n\n{load}\nmatrix: {{ connections.count: [{}] }}\nvars:\n{vars}", rows.join(", "))
    };
    let problems = text(&scenario(20_000), &Overrides::default()).expect_err("two million values");
    assert!(problems.to_string().contains("100 rows"), "{problems}");
    assert_eq!(problems.list[0].path, "matrix");
    assert!(text(&scenario(100), &Overrides::default()).is_ok());
}

#[test]
fn bytes_that_are_no_text_are_named_with_their_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("latin1.yaml");
    fs::write(&path, b"name: x\ndescription: caf\xe9\n").expect("written");
    let problems = Scenario::load(&path, &Overrides::default()).expect_err("not UTF-8");
    assert_eq!((problems.list[0].line, problems.list[0].column), (2, 17));
    assert!(problems.to_string().contains("0xe9"), "{problems}");
}

#[test]
fn colour_is_only_there_when_asked_for() {
    let problems = bad("name: x\nlaod: 1\n");
    assert!(!problems.render(false).contains('\u{1b}'));
    assert!(problems.render(true).contains('\u{1b}'));
}

const RICH: &str = include_str!("cases/good-everything.yaml");

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_text_never_panics(yaml in "[-a-z0-9:{}\\[\\],&*!|>'\"%@#$ \n\t.é~?<]{0,200}") {
        if let Err(problems) = text(&yaml, &Overrides::default()) {
            prop_assert!(!problems.render(false).is_empty());
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let yaml = String::from_utf8_lossy(&bytes);
        if let Err(problems) = text(&yaml, &Overrides::default()) {
            prop_assert!(!problems.render(false).is_empty());
        }
    }

    #[test]
    fn a_damaged_scenario_never_panics_and_takes_bounded_time(
        cuts in proptest::collection::vec((any::<prop::sample::Index>(), "[-a-z0-9:{}\\[\\],&*$ \n\té\"']{0,4}", 0usize..6), 1..6),
    ) {
        let mut chars: Vec<char> = RICH.chars().collect();
        for (at, insert, remove) in cuts {
            let at = at.index(chars.len());
            let end = (at + remove).min(chars.len());
            chars.splice(at..end, insert.chars());
        }
        let yaml: String = chars.into_iter().collect();
        let start = Instant::now();
        match text(&yaml, &Overrides::default()) {
            Ok(loaded) => {
                let yaml = loaded.effective_yaml().expect("it can be written");
                let again = text(&yaml, &Overrides::default());
                let again = again.map(|again| again.scenario).map_err(|problems| problems.to_string());
                prop_assert_eq!(again, Ok(loaded.scenario), "{}", yaml);
            }
            Err(problems) => prop_assert!(!problems.render(false).is_empty() && problems.has_errors()),
        }
        prop_assert!(start.elapsed() < Duration::from_secs(1));
    }

    #[test]
    fn every_text_comes_back_exactly_from_effective_yaml(words in "(?s).{0,60}", odd in "[ \t\n\r:#'\"$|{}>\\u{0}\u{85}\u{2028}\u{feff}-]{0,12}") {
        // A few private-use characters are refused in a file; see `tree.rs`.
        let words: String = words.chars().filter(|c| !('\u{f0000}'..'\u{f0080}').contains(c)).collect();
        let mut loaded = text(MINIMAL, &Overrides::default()).expect("loads");
        loaded.scenario.description = format!("{odd}{words}");
        loaded.scenario.records.template = format!("{words}{odd}");
        let yaml = loaded.effective_yaml().expect("it can be written");
        prop_assert_eq!(good(&yaml), loaded.scenario, "{}", yaml);
    }

    #[test]
    fn every_rate_comes_back_exactly_from_effective_yaml(units in 1u64..36_000_000_000_000) {
        let rate = Tps::from_units(units);
        let mut loaded = text(MINIMAL, &Overrides::default()).expect("loads");
        loaded.scenario.load.stages[0].kind = StageKind::Hold(rate);
        let yaml = loaded.effective_yaml().expect("it can be written");
        prop_assert_eq!(&good(&yaml).load.stages[0].kind, &StageKind::Hold(rate));
    }
}

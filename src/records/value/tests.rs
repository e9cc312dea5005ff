use proptest::prelude::*;

use super::*;

fn rendered(template: &str, seed: u64, id: u64) -> String {
    let value = Value::parse(template).expect("a template");
    let mut out = b">".to_vec();
    value.render(seed, id, &mut out);
    assert_eq!(out.remove(0), b'>');
    String::from_utf8(out).expect("UTF-8")
}

/// Everything a value can hold, apart from a size.
const ALL: &str = r#"{"id":{id},"name":"{name}","mail":"{email}","phone":"{phone}","city":"{city}","status":"{status}","uuid":"{uuid}","n":{random:1..100},"h":"{hex:9}","t":"{text:11}","c":"{choice:gold|silver}"}"#;

#[test]
fn a_template_with_ids_only_is_what_it_always_was() {
    let template = r#"{"id":{id},"name":"User{id}","phone":"90000000{id:04}","status":"pending"}"#;
    for seed in [1, 99] {
        assert_eq!(
            rendered(template, seed, 7),
            r#"{"id":7,"name":"User7","phone":"900000000007","status":"pending"}"#
        );
    }
    assert_eq!(rendered("{id:4}{ID}{ id }{}", 1, 7), "   7{ID}{ id }{}");
}

#[test]
fn a_seed_means_the_same_record_for_ever() {
    // Data sets are known by their checksum: whoever changes these lines breaks all of them.
    assert_eq!(
        rendered("{name}|{email}|{phone}|{city}|{status}", 1, 1),
        "Amir Hassan|amir.hassan1@example.com|9001371709|Quito|closed"
    );
    assert_eq!(
        rendered("{uuid}|{random}|{random:1..6}|{hex:8}|{text:10}|{choice:a|b|c}", 1, 1),
        "ff2a3c2c-24a3-42f9-ae02-a5f521b7e5bf|908954311|4|c69e0438|gpatvdchnc|a"
    );
}

#[test]
fn fields_fit_each_other_and_their_form() {
    for id in 0..500 {
        let first = rendered("{first_name}", 5, id);
        let last = rendered("{last_name}", 5, id);
        assert_eq!(rendered("{name}", 5, id), format!("{first} {last}"));
        let mail = format!("{first}.{last}{id}@example.com").to_lowercase();
        assert_eq!(rendered("{email}", 5, id), mail);
        let phone = rendered("{phone}", 5, id);
        assert!(phone.len() == 10 && phone.starts_with("900"), "{phone}");
        assert!(phone.bytes().all(|b| b.is_ascii_digit()), "{phone}");
        let uuid = rendered("{uuid}", 5, id);
        let parts: Vec<usize> = uuid.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12], "{uuid}");
        assert!(uuid.as_bytes()[14] == b'4' && b"89ab".contains(&uuid.as_bytes()[19]), "{uuid}");
        let number: u64 = rendered("{random:5..7}", 5, id).parse().expect("a number");
        assert!((5..=7).contains(&number));
        assert!(["a", "b", "c"].contains(&rendered("{choice:a|b|c}", 5, id).as_str()));
    }
}

#[test]
fn every_choice_comes_up_and_places_draw_apart() {
    let all: std::collections::BTreeSet<String> =
        (0..200).map(|id| rendered("{status} {choice:x|y}", 1, id)).collect();
    assert_eq!(all.len(), 8, "{all:?}");
    let value = rendered("{hex:32} {hex:32}", 1, 1);
    let (left, right) = value.split_once(' ').expect("two");
    assert_ne!(left, right);
    assert_eq!(rendered("{uuid}", 1, 1), rendered("{{uuid}}", 1, 1).trim_matches(['{', '}']));
    assert_ne!(rendered("{uuid}", 1, 1), rendered("{uuid}", 2, 1));
    assert_ne!(rendered("{uuid}", 1, 1), rendered("{uuid}", 1, 2));
}

#[test]
fn records_with_all_fields_are_json() {
    for id in [0, 1, 42, u64::MAX] {
        let text = rendered(ALL, 1, id);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(json.as_object().map(|fields| fields.len()), Some(11));
    }
}

#[test]
fn what_a_placeholder_does_not_take_is_an_error_that_says_what_to_write() {
    for (template, hint) in [
        ("{random:9..1}", "{random:1..100}"),
        ("{random:}", "{random:1..100}"),
        ("{random:0..1000000000000000000}", "18 digits"),
        ("{hex:0}", "{hex:16}"),
        ("{hex:+5}", "{hex:16}"),
        ("{text:x}", "{text:40}"),
        ("{text:1048577}", "1048576"),
        ("{choice}", "{choice:gold|silver}"),
        ("{choice:gold}", "{choice:gold|silver}"),
        ("{size}", "{size:100}"),
        ("{size:0}", "{size:100}"),
        ("{size:200..100}", "{size:80..200}"),
        ("{size:17MiB}", "16MiB"),
        ("{name:x}", "a width"),
        ("{size:10}{size:10}", "keep one"),
        ("longer than ten{size:10}", "write {size:15} or more"),
    ] {
        let error = Value::parse(template).expect_err(template).to_string();
        assert!(error.contains(hint), "{template}: {error}");
    }
}

#[test]
fn a_size_is_held_against_the_largest_id() {
    let value = Value::parse("{id}{size:3}").expect("ids up to 999 have room");
    assert_eq!(value.fits(999), Ok(()));
    let error = value.fits(1000).expect_err("four digits do not").to_string();
    assert!(error.contains("{size:4} or more"), "{error}");
}

#[test]
fn many_long_fields_are_held_against_the_longest_value() {
    let sixteen = "{text:1048576}".repeat(16);
    assert!(Value::parse(&sixteen).is_ok(), "16 MiB are allowed");
    for (template, bytes) in [
        (format!("{sixteen}x"), "16777217"),
        ("{hex:1048576}".repeat(4681), "4908384256"),
        // The rest alone is too long: no size would be large enough.
        (format!("{sixteen}x{{size:16MiB}}"), "16777217"),
    ] {
        let error = Value::parse(&template).expect_err("too long").to_string();
        assert!(error.contains(bytes) && error.contains("16777216"), "{error}");
    }
    let value =
        Value::parse(&format!("{}{{text:1048574}}{{id}}", "{text:1048576}".repeat(15))).expect("ids of two");
    assert_eq!(value.fits(99), Ok(()));
    assert_eq!(value.fits(100), Err(Error::TooLong { longest: (16 << 20) + 1 }));
}

proptest! {
    #[test]
    fn the_same_seed_and_id_give_the_same_bytes(seed: u64, id: u64) {
        prop_assert_eq!(rendered(ALL, seed, id), rendered(ALL, seed, id));
    }

    #[test]
    fn a_value_with_a_size_has_exactly_that_size(seed: u64, id: u64, size in 400usize..2000) {
        let json = format!(r#"{},"pad":"{{size:{size}}}"}}"#, ALL.trim_end_matches('}'));
        let value = rendered(&json, seed, id);
        prop_assert_eq!(value.len(), size);
        prop_assert!(serde_json::from_str::<serde_json::Value>(&value).is_ok(), "{}", value);
    }

    #[test]
    fn a_value_with_a_range_of_sizes_stays_within_it(seed: u64, id: u64, least in 20usize..200, more in 0usize..100) {
        let most = least + more;
        let value = rendered(&format!("{{id}}{{size:{least}..{most}}}"), seed, id);
        prop_assert!((least..=most).contains(&value.len()), "{}", value.len());
    }

    #[test]
    fn no_field_is_longer_than_is_counted_for_it(seed: u64, id: u64) {
        for placeholder in ["{name:3}", "{email}", "{city}", "{status}", "{uuid}", "{random:7..1234}", "{id:9}"] {
            let value = Value::parse(placeholder).expect("a template");
            let [Part::Hole(field)] = value.parts.as_slice() else { panic!("one hole") };
            prop_assert!(rendered(placeholder, seed, id).len() <= field.longest(digits(id)));
        }
    }

    #[test]
    fn any_text_is_a_template_or_an_error(text in "[{}:a-z|0-9.]{0,60}") {
        if let Ok(value) = Value::parse(&text) {
            value.render(1, 1, &mut Vec::new());
        }
    }
}

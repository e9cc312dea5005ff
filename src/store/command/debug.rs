//! DEBUG: what test suites need. What would crash the server is not here.

mod inspect;

use std::time::Duration;

use super::{Call, Failure, integer, shown};
use crate::clock;
use crate::store::digest::Digest;
use crate::store::keyspace::{Expiry, string_content};
use crate::store::number;
use crate::store::settings::memory;
use crate::store::table::KeyHash;
use crate::wire::resp::parse_integer;

/// The longest that DEBUG SLEEP holds up everybody.
const MAX_SLEEP_S: f64 = 60.0;
/// Keys that DEBUG POPULATE makes at most.
const MAX_POPULATED: i64 = 1 << 27;

type Handler = fn(&mut Call<'_>) -> Result<(), Failure>;

/// Sub-commands with the fewest and the most arguments, the names included.
const SUBCOMMANDS: &[(&str, usize, usize, Handler)] = &[
    ("aof-flush-sleep", 3, 3, accept),
    ("change-repl-id", 2, 2, accept),
    ("client-eviction", 2, 2, client_eviction),
    ("digest", 2, 2, digest),
    ("digest-value", 2, usize::MAX, digest_value),
    ("drop-cluster-packet-filter", 3, 3, accept),
    ("error", 3, 3, error),
    ("help", 2, 2, show_help),
    ("htstats", 3, 3, inspect::htstats),
    ("htstats-key", 3, 3, inspect::htstats_key),
    ("leak", 3, 3, accept),
    ("listpack", 3, 3, inspect::listpack),
    ("loadaof", 2, 2, accept),
    ("log", 3, 3, accept),
    ("object", 3, 3, inspect::object),
    ("pause-cron", 3, 3, accept),
    ("populate", 3, 5, populate),
    ("protocol", 3, 3, protocol),
    ("quicklist", 3, 4, inspect::quicklist),
    ("quicklist-packed-threshold", 3, 3, packed_threshold),
    ("reload", 2, usize::MAX, reload),
    ("replybuffer", 4, 4, reply_buffer),
    ("sdslen", 3, 3, inspect::sdslen),
    ("set-active-expire", 3, 3, set_active_expire),
    ("set-disable-deny-scripts", 3, 3, accept),
    ("set-skip-checksum-validation", 3, 3, accept),
    ("sleep", 3, 3, sleep),
    ("stringmatch-test", 2, 2, stringmatch_test),
    ("structsize", 2, 2, structsize),
];

pub fn debug(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let found = SUBCOMMANDS.iter().find(|(name, fewest, most, _)| {
        args[1].eq_ignore_ascii_case(name.as_bytes()) && (*fewest..=*most).contains(&args.len())
    });
    match found {
        Some((_, _, _, handler)) => handler(call),
        None => Err(unknown(call)),
    }
}

fn unknown(call: &Call<'_>) -> Failure {
    let name = shown(&call.args[1], 128);
    let text = format!("ERR unknown subcommand or wrong number of arguments for '{name}'. Try DEBUG HELP.");
    Failure(text.into())
}

/// There is nothing here that it could change.
fn accept(call: &mut Call<'_>) -> Result<(), Failure> {
    call.session.out.ok();
    Ok(())
}

/// The number at the start of a text, as C's `atoi` reads it.
fn atoi(text: &[u8]) -> i64 {
    let blanks = text.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let text = &text[blanks..];
    let (sign, digits) = match text {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] => (1, digits),
        _ => (1, text),
    };
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
    sign * digits
        .fold(0i64, |number, digit| number.saturating_mul(10).saturating_add(i64::from(digit - b'0')))
}

fn sleep(call: &mut Call<'_>) -> Result<(), Failure> {
    let seconds = number::strtod(&call.args[2]).value;
    let seconds = if seconds.is_nan() { 0.0 } else { seconds.clamp(0.0, MAX_SLEEP_S) };
    clock::sleep_thread(Duration::from_secs_f64(seconds));
    call.engine.read_wall_clock();
    accept(call)
}

fn set_active_expire(call: &mut Call<'_>) -> Result<(), Failure> {
    call.engine.active_expiry = atoi(&call.args[2]) != 0;
    accept(call)
}

fn packed_threshold(call: &mut Call<'_>) -> Result<(), Failure> {
    let text = String::from_utf8_lossy(&call.args[2]);
    match memory(&text) {
        Some(bytes) if bytes < u64::from(u32::MAX) => accept(call),
        _ => Err(Failure::text("ERR argument must be a memory value bigger than 1 and smaller than 4gb")),
    }
}

/// All data stays where it is: what a reload from disk would leave.
fn reload(call: &mut Call<'_>) -> Result<(), Failure> {
    let known: [&[u8]; 3] = [b"MERGE", b"NOFLUSH", b"NOSAVE"];
    let is_known = |word: &[u8]| known.iter().any(|known| word.eq_ignore_ascii_case(known));
    if !call.args.from(2).iter().all(is_known) {
        return Err(Failure::text("ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options."));
    }
    accept(call)
}

fn reply_buffer(call: &mut Call<'_>) -> Result<(), Failure> {
    let (what, value) = (&call.args[2], &call.args[3]);
    let word = |word: &str| value.eq_ignore_ascii_case(word.as_bytes());
    if what.eq_ignore_ascii_case(b"peak-reset-time") {
        if !word("never") && !word("reset") {
            integer(value)?;
        }
    } else if !what.eq_ignore_ascii_case(b"resizing") {
        return Err(unknown(call));
    }
    accept(call)
}

fn client_eviction(_: &mut Call<'_>) -> Result<(), Failure> {
    Err(Failure::text("ERR maxmemory-clients is disabled."))
}

fn error(call: &mut Call<'_>) -> Result<(), Failure> {
    let text = String::from_utf8_lossy(&call.args[2]).into_owned();
    Err(Failure(text.into()))
}

fn digest(call: &mut Call<'_>) -> Result<(), Failure> {
    let digest = Digest::of_all(&call.engine.keyspace);
    call.session.out.simple(&digest.to_string());
    Ok(())
}

/// As in Redis, a key that has expired counts until it is removed.
fn digest_value(call: &mut Call<'_>) -> Result<(), Failure> {
    let (keys, db) = (call.args.from(2), call.session.db);
    call.session.out.array(keys.len());
    for key in keys.iter() {
        let found = call.engine.keyspace.table(db).get(KeyHash::of(key), key);
        let digest = found.map(Digest::of_value).unwrap_or_default();
        call.session.out.simple(&digest.to_string());
    }
    Ok(())
}

/// Makes strings `prefix:0`, `prefix:1` … of those that are not there, each holding `value:` and its number:
/// cut, or followed by zero bytes, to a size when one is given.
fn populate(call: &mut Call<'_>) -> Result<(), Failure> {
    let (args, db) = (call.args, call.session.db);
    let positive = |text: &[u8]| {
        let number = parse_integer(text).filter(|number| *number >= 0);
        number.ok_or(Failure::text("ERR value is out of range, must be positive"))
    };
    let keys = positive(&args[2])?.min(MAX_POPULATED);
    let prefix = args.get(3).unwrap_or(b"key");
    let size = args.get(4).map(positive).transpose()?.unwrap_or(0) as usize;
    if size > call.engine.config.max_bulk {
        return Err(Failure::STRING_TOO_LONG);
    }
    for number in 0..keys {
        let mut key = prefix.to_vec();
        key.extend_from_slice(format!(":{number}").as_bytes());
        if call.engine.keyspace.contains(db, &key) {
            continue;
        }
        let mut value = format!("value:{number}").into_bytes();
        if size > 0 {
            value.resize(size, 0);
        }
        call.engine.keyspace.put(db, &key, string_content(&value), Expiry::Clear);
    }
    accept(call)
}

/// What DEBUG PROTOCOL shows as a double.
#[expect(clippy::approx_constant, reason = "clients expect these digits")]
const SHOWN_DOUBLE: f64 = 3.141;

/// A value of each type of reply.
fn protocol(call: &mut Call<'_>) -> Result<(), Failure> {
    let name = call.args[2].to_ascii_lowercase();
    let out = &mut call.session.out;
    let resp3 = out.is_resp3();
    match name.as_slice() {
        b"string" => out.text("Hello World"),
        b"integer" => out.integer(12345),
        b"double" => out.double(SHOWN_DOUBLE),
        b"null" => out.null(),
        b"array" => {
            out.array(3);
            (0..3).for_each(|number| out.integer(number));
        }
        b"set" => {
            out.set(3);
            (0..3).for_each(|number| out.integer(number));
        }
        b"map" => {
            out.map(3);
            for number in 0..3 {
                out.integer(number);
                out.boolean(number == 1);
            }
        }
        b"attrib" => {
            if resp3 {
                out.raw(b"|1\r\n$14\r\nkey-popularity\r\n*2\r\n$7\r\nkey:123\r\n:90\r\n");
            }
            out.text("Some real reply following the attribute");
        }
        b"push" if !resp3 => return Err(Failure::text("ERR RESP2 is not supported by this command")),
        b"push" => {
            out.push(2);
            out.text("server-cpu-usage");
            out.integer(42);
            out.text("Some real reply following the push reply");
        }
        b"verbatim" => out.verbatim("This is a verbatim\nstring"),
        b"true" => out.boolean(true),
        b"false" => out.boolean(false),
        b"bignum" if resp3 => out.raw(b"(1234567999999999999999999999999999999\r\n"),
        b"bignum" => out.text("1234567999999999999999999999999999999"),
        _ => {
            return Err(Failure::text(
                "ERR Wrong protocol type name. Please use one of the following: \
                 string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
            ));
        }
    }
    Ok(())
}

/// Tries patterns that would take for ever if each star were tried with each length.
fn stringmatch_test(call: &mut Call<'_>) -> Result<(), Failure> {
    let (pattern, text) = (b"*a".repeat(100), b"a".repeat(99));
    crate::store::glob::matches(&pattern, &text, false);
    call.session.out.simple("Apparently Redis did not crash: test passed");
    Ok(())
}

fn structsize(call: &mut Call<'_>) -> Result<(), Failure> {
    let (entry, object) = (size_of::<crate::store::entry::Entry>(), size_of::<crate::store::value::Object>());
    call.session.out.simple(&format!("bits:{} entry:{entry} object:{object}", usize::BITS));
    Ok(())
}

fn show_help(call: &mut Call<'_>) -> Result<(), Failure> {
    super::help::show(
        call,
        &[
            ("DIGEST", &["Digest of all databases."]),
            ("DIGEST-VALUE <key> [<key> ...]", &["Digests of the values of keys."]),
            ("ERROR <string>", &["Answers with this error."]),
            ("HTSTATS <dbid>", &["Describes the hash table of a database."]),
            ("HTSTATS-KEY <key>", &["Describes the hash table of a value."]),
            ("LISTPACK <key>", &["Tells whether a value is packed."]),
            ("OBJECT <key>", &["Describes a key and its value."]),
            ("POPULATE <count> [<prefix>] [<size>]", &["Makes so many strings, <prefix>:<number>."]),
            (
                "PROTOCOL <type>",
                &[
                    "Answers with a value of this type: string, integer, double, bignum,",
                    "null, array, set, map, attrib, push, verbatim, true, false.",
                ],
            ),
            ("QUICKLIST <key> [<0|1>]", &["Tells whether a value is a quicklist."]),
            ("QUICKLIST-PACKED-THRESHOLD <size>", &["Accepted, and without effect."]),
            ("RELOAD [option ...]", &["Accepted; all data stays."]),
            ("SDSLEN <key>", &["Lengths of a key and its string."]),
            ("SET-ACTIVE-EXPIRE <0|1>", &["Whether expired keys are removed although nobody asks for them."]),
            ("SLEEP <seconds>", &["Holds up the server. Decimals are allowed."]),
            ("STRINGMATCH-TEST", &["Tries hard patterns."]),
        ],
    )
}

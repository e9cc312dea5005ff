//! The store answers as Redis does, to real clients and to hostile ones.

#[path = "support/redis_server.rs"]
mod redis_server;
#[path = "support/store_client.rs"]
mod store_client;

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use redis_server::RedisServer;
use runner::store::{Config, Error, Handle, Server};
use runner::wire::resp::encode_command;
use store_client::{Client, show};

fn store() -> Handle {
    Server::start(Config::default()).expect("a free port on the loopback")
}

/// Runs one table against one server; each line with its reply. In `tests/store/*.txt`:
///
/// * a line is an inline command, sent by the first client, and its reply is compared;
/// * an empty line closes all clients: what follows is sent by new ones;
/// * `@b SET k v` is sent by another client, named b; `@b! BLPOP k 0` is sent and its reply not waited for;
///   `@b <` reads one more reply or message of that client;
/// * `? blocked_clients:1` asks for INFO until that stands there;
/// * `#` begins a comment.
fn run_table(addr: SocketAddr, resp3: bool, table: &str) -> Vec<(String, String)> {
    let mut replies = Vec::new();
    let mut clients: HashMap<&str, Client> = HashMap::new();
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        if line.is_empty() {
            clients.clear();
            continue;
        }
        let (name, command) = match line.strip_prefix('@') {
            Some(rest) => rest.split_once(' ').expect("a name and a command"),
            None => ("", line),
        };
        let (name, waits) = name.strip_suffix('!').map_or((name, true), |name| (name, false));
        let client = clients.entry(name).or_insert_with(|| {
            let mut client = Client::connect(addr);
            if resp3 {
                client.call(&["HELLO", "3"]);
            }
            client
        });
        if let Some(wanted) = line.strip_prefix("? ") {
            let deadline = Instant::now() + Duration::from_secs(20);
            let mut asking = Client::connect(addr);
            while !asking.call(&["INFO"]).contains(&format!("{wanted}\r\n")) {
                assert!(Instant::now() < deadline, "never seen: {wanted}");
            }
            continue;
        }
        if command != "<" {
            client.send(format!("{command}\r\n").as_bytes());
        }
        if waits {
            replies.push((line.to_string(), show(&client.reply())));
        }
    }
    replies
}

#[test]
fn every_command_of_the_tables_is_answered_as_redis_answers_it() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/store");
    let (mut lines, mut failures) = (0, Vec::new());
    for entry in std::fs::read_dir(folder).expect("the folder of tables") {
        let path = entry.expect("a file").path();
        let table = std::fs::read_to_string(&path).expect("a table");
        for resp3 in [false, true] {
            let (ours, theirs) = (store(), RedisServer::start(&["--enable-debug-command", "yes"]));
            let (ours, theirs) =
                (run_table(ours.addr(), resp3, &table), run_table(theirs.addr(), resp3, &table));
            let differ = ours.iter().zip(&theirs).filter(|(ours, theirs)| ours != theirs);
            let report: Vec<String> =
                differ.map(|(o, t)| format!("{}\n  redis {}\n  ours  {}", t.0, t.1, o.1)).collect();
            let name = path.file_name().unwrap_or_default().display();
            if !report.is_empty() {
                failures.push(format!("{name} in RESP{}:\n{}", 2 + u8::from(resp3), report.join("\n")));
            }
            lines += ours.len();
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    assert!(lines > 600);
}

#[test]
fn protocol_errors_are_those_of_redis_and_close_the_connection() {
    let (ours, theirs) = (store(), RedisServer::start(&[]));
    let long = |first: &str| [first.as_bytes(), &[b'1'; 70_000]].concat();
    for input in [
        b"*x\r\n".to_vec(),
        b"*2147483648\r\n".to_vec(),
        b"*1\r\n$-1\r\n".to_vec(),
        b"*1\r\n$x\r\n".to_vec(),
        b"*1\r\n$536870913\r\n".to_vec(),
        b"*1\r\n+x\r\n".to_vec(),
        b"*2\r\n$3\r\nGET\r\n:1\r\n".to_vec(),
        b"PING\r\n*1\r\n\r\n\r\n".to_vec(),
        b"\"abc\r\n".to_vec(),
        b"'abc\r\nPING\r\n".to_vec(),
        b"PING\r\nQUIT\r\nPING\r\n".to_vec(),
        b"*0\r\n*-1\r\n\r\n\n*1\r\n$4\r\nPING\r\nQUIT\r\n".to_vec(),
        b"POST / HTTP/1.1\r\nHost: x\r\n\r\nPING\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\nPING\r\n".to_vec(),
        long(""),
        long("*"),
        long("*1\r\n$"),
    ] {
        let answer = |addr| {
            let mut client = Client::connect(addr);
            client.send(&input);
            show(&client.rest())
        };
        assert_eq!(answer(ours.addr()), answer(theirs.addr()), "{}", show(&input[..input.len().min(60)]));
    }
}

#[test]
fn with_a_password_nothing_runs_before_it_is_given() {
    let config = Config { password: Some("secret".into()), ..Config::default() };
    let ours = Server::start(config).expect("a free port");
    let theirs = RedisServer::start(&["--requirepass", "secret"]);
    let lines = [
        "GET a",
        "NOSUCH",
        "GET",
        "HELLO 3",
        "HELLO 2",
        "CLIENT SETNAME x",
        "AUTH wrong",
        "AUTH default wrong",
        "HELLO 2 AUTH default wrong",
        "PING",
        "RESET",
        "AUTH secret",
        "GET a",
        "PING",
        "RESET",
        "GET a",
        "AUTH default secret",
        "GET a",
        "QUIT",
    ];
    let big = [&b"*11\r\n"[..], b"*1\r\n$16385\r\n"];
    let answer = |addr| {
        let mut client = Client::connect(addr);
        let mut replies = Vec::new();
        for line in lines {
            client.send(format!("{line}\r\n").as_bytes());
            replies.push((line, show(&client.reply())));
        }
        for input in big {
            let mut client = Client::connect(addr);
            client.send(input);
            replies.push(("too big", show(&client.rest())));
        }
        replies
    };
    assert_eq!(answer(ours.addr()), answer(theirs.addr()));
}

#[derive(Debug, Clone)]
struct Step(Vec<String>);

fn step() -> impl Strategy<Value = Step> {
    let key = || prop::sample::select(vec!["a", "b", "c", "d"]).prop_map(str::to_string);
    let field = || prop::sample::select(vec!["f", "g", "h"]).prop_map(str::to_string);
    let value = || {
        prop_oneof!["-?[0-9]{1,3}", "[a-z]{0,4}", Just("9223372036854775807".to_string()), "[a-z]{45,70}",]
    };
    let number = || prop_oneof!["-?[0-9]{1,3}", Just("x".to_string())];
    let words = |name: &'static str, parts: Vec<BoxedStrategy<String>>| {
        parts.prop_map(move |parts| Step(name.split(' ').map(str::to_string).chain(parts).collect()))
    };
    prop_oneof![
        words("SET", vec![key().boxed(), value().boxed()]),
        words(
            "SET",
            vec![
                key().boxed(),
                value().boxed(),
                prop::sample::select(vec!["NX", "XX", "GET", "KEEPTTL", "nope"])
                    .prop_map(str::to_string)
                    .boxed()
            ]
        ),
        words("GET", vec![key().boxed()]),
        words("GETDEL", vec![key().boxed()]),
        words("APPEND", vec![key().boxed(), value().boxed()]),
        words("STRLEN", vec![key().boxed()]),
        words("INCRBY", vec![key().boxed(), number().boxed()]),
        words("DECRBY", vec![key().boxed(), number().boxed()]),
        words("MGET", vec![key().boxed(), key().boxed()]),
        words("MSETNX", vec![key().boxed(), value().boxed(), key().boxed(), value().boxed()]),
        words("DEL", vec![key().boxed(), key().boxed()]),
        words("EXISTS", vec![key().boxed(), key().boxed()]),
        words("RENAME", vec![key().boxed(), key().boxed()]),
        words("RENAMENX", vec![key().boxed(), key().boxed()]),
        words("TYPE", vec![key().boxed()]),
        words("OBJECT ENCODING", vec![key().boxed()]),
        words(
            "EXPIREAT",
            vec![
                key().boxed(),
                prop::sample::select(vec!["1", "9999999999", "9999999990"]).prop_map(str::to_string).boxed(),
                prop::sample::select(vec!["NX", "XX", "GT", "LT"]).prop_map(str::to_string).boxed()
            ]
        ),
        words("EXPIRETIME", vec![key().boxed()]),
        words("PERSIST", vec![key().boxed()]),
        words("HSET", vec![key().boxed(), field().boxed(), value().boxed()]),
        words(
            "HSET",
            vec![key().boxed(), field().boxed(), value().boxed(), field().boxed(), value().boxed()]
        ),
        words("HGET", vec![key().boxed(), field().boxed()]),
        words("HDEL", vec![key().boxed(), field().boxed(), field().boxed()]),
        words("HINCRBY", vec![key().boxed(), field().boxed(), number().boxed()]),
        words("HLEN", vec![key().boxed()]),
        words("HSTRLEN", vec![key().boxed(), field().boxed()]),
        words("XADD", vec![key().boxed(), "[0-9]{1,2}-[0-9*]".boxed(), field().boxed(), value().boxed()]),
        words(
            "XADD",
            vec![
                key().boxed(),
                Just("MAXLEN".to_string()).boxed(),
                "[0-5]".boxed(),
                "[0-9]{1,2}-\\*".boxed(),
                field().boxed(),
                value().boxed()
            ]
        ),
        words("XLEN", vec![key().boxed()]),
        words("XRANGE", vec![key().boxed(), "[(]?[0-9]{1,2}|-".boxed(), "[(]?[0-9]{1,2}|\\+".boxed()]),
        words("XREVRANGE", vec![key().boxed(), "[0-9]{1,2}|\\+".boxed(), "[0-9]{1,2}|-".boxed()]),
        words("XDEL", vec![key().boxed(), "[0-9]{1,2}-[0-9]".boxed()]),
        words(
            "XTRIM",
            vec![
                key().boxed(),
                prop::sample::select(vec!["MAXLEN", "MINID"]).prop_map(str::to_string).boxed(),
                "[0-9]{1,2}".boxed()
            ]
        ),
        Just(Step(vec!["DBSIZE".into()])),
    ]
}

/// Commands of sets and hashes; words in capitals at the places of arguments are chosen. `INTS` are keys
/// of sets of integers, whose members come in one order only.
const SET_AND_HASH_STEPS: &[&str] = &[
    "SADD INTS INT INT INT",
    "SADD INTS INT",
    "SADD KEY MEMBER MEMBER",
    "SADD KEY INT",
    "SREM INTS INT INT",
    "SREM KEY MEMBER MEMBER",
    "SISMEMBER KEY MEMBER",
    "SMISMEMBER INTS INT MEMBER INT",
    "SCARD KEY",
    "SMEMBERS INTS",
    "SPOP INTS 1000",
    "SPOP KEY 0",
    "SRANDMEMBER INTS 1000",
    "SMOVE INTS INTS INT",
    "SMOVE KEY KEY MEMBER",
    "SMOVE KEY INTS INT",
    "SINTER INTS INTS",
    "SINTER INTS INTS INTS",
    "SUNION INTS INTS INTS",
    "SDIFF INTS INTS",
    "SDIFF INTS INTS INTS INTS",
    "SINTERSTORE INTS INTS INTS",
    "SUNIONSTORE INTS INTS INTS",
    "SDIFFSTORE INTS INTS INTS",
    "SINTERSTORE KEY KEY KEY",
    "SUNIONSTORE KEY KEY KEY",
    "SDIFFSTORE KEY KEY KEY KEY",
    "SINTERCARD 2 KEY KEY",
    "SINTERCARD 2 INTS INTS LIMIT NUMBER",
    "SSCAN INTS 0 MATCH *1*",
    "OBJECT ENCODING INTS",
    "OBJECT ENCODING KEY",
    "TYPE KEY",
    "DEL INTS",
    "RENAME INTS INTS",
    "HSET KEY FIELD NUMBER FIELD LONG",
    "HSETNX KEY FIELD NUMBER",
    "HDEL KEY FIELD FIELD",
    "HGETALL SMALL",
    "HSET SMALL FIELD NUMBER FIELD NUMBER",
    "HDEL SMALL FIELD",
    "HINCRBY SMALL FIELD NUMBER",
    "HINCRBYFLOAT SMALL FIELD NUMBER",
    "HINCRBYFLOAT KEY FIELD FLOAT",
    "HMGET KEY FIELD FIELD",
    "HRANDFIELD SMALL 100 WITHVALUES",
    "HSCAN SMALL 0",
    "HLEN KEY",
];

fn set_and_hash_steps() -> impl Strategy<Value = Step> {
    let one_of =
        |names: &[&'static str]| prop::sample::select(names.to_vec()).prop_map(str::to_string).boxed();
    let word = move |word: &'static str| match word {
        "KEY" => one_of(&["a", "b", "c", "d"]),
        "INTS" => one_of(&["i", "j", "k"]),
        "SMALL" => one_of(&["s", "t"]),
        "FIELD" => one_of(&["f", "g", "h", ""]),
        "INT" => prop_oneof!["[1-9]?[0-9]", Just("70000".to_string()), "-[1-9][0-9]{8,17}"].boxed(),
        "MEMBER" => prop_oneof!["[0-9]", "0[0-9]", "[a-d]"].boxed(),
        "NUMBER" => prop_oneof!["-?[0-9]{1,3}", Just("x".to_string())].boxed(),
        "LONG" => "[a-z]{62,67}".boxed(),
        "FLOAT" => "-?[0-9]{0,25}[.]?[0-9]{0,25}(e-?[0-9]{1,2})?|0x[0-9a-f]{1,20}(p-?[0-9]{1,2})?".boxed(),
        word => Just(word.to_string()).boxed(),
    };
    let steps = SET_AND_HASH_STEPS.iter().map(|step| step.split(' ').map(word).collect::<Vec<_>>());
    prop::sample::select(steps.collect::<Vec<_>>()).prop_flat_map(|words| words).prop_map(Step)
}

fn text_of(choices: &'static [&'static str]) -> BoxedStrategy<String> {
    prop::sample::select(choices).prop_map(str::to_string).boxed()
}

/// A command whose arguments are all drawn from lists.
fn drawn(name: &'static str, arguments: &[&'static [&'static str]]) -> BoxedStrategy<Step> {
    let arguments: Vec<_> = arguments.iter().map(|choices| text_of(choices)).collect();
    let split = |text: &str| text.split(' ').filter(|word| !word.is_empty()).map(str::to_string).collect();
    arguments
        .prop_map(move |arguments| {
            let mut words: Vec<String> = split(name);
            arguments.iter().for_each(|argument| match argument.strip_prefix('~') {
                Some(several) => words.extend::<Vec<String>>(split(several)),
                None => words.push(argument.clone()),
            });
            Step(words)
        })
        .boxed()
}

const KEYS: &[&str] = &["a", "b", "c", "d", ""];
const VALUES: &[&str] = &[
    "",
    "1",
    "-3",
    "9999",
    "10000",
    "007",
    "abc",
    "ohmytext",
    "mynewtext",
    "9223372036854775807",
    "3.5",
    "1e3",
    "0.1",
    " 1",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
];
const NUMBERS: &[&str] =
    &["0", "1", "-1", "5", "-10", "9223372036854775807", "-9223372036854775808", "x", "1.5", ""];
/// Far enough away, or refused: nothing expires between the two servers.
const TIMES: &[&str] = &["100000", "1000000", "99999999999", "0", "-1", "x", "9223372036854775807"];
/// What begins with `~` stands for several arguments.
const SET_OPTIONS: &[&str] = &[
    "~",
    "~NX",
    "~XX",
    "~GET",
    "~KEEPTTL",
    "~NX GET",
    "~XX GET",
    "~NX XX",
    "~EX 100000",
    "~PX 100000000",
    "~EX 0",
    "~EXAT 99999999999",
    "~PXAT x",
    "~EX 100000 KEEPTTL",
    "~KEEPTTL GET",
    "~EX",
    "~PERSIST",
    "~EX 100000 PX 1",
];

/// Strings: everything but the expiries that come true.
fn string_steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        drawn("SET", &[KEYS, VALUES, SET_OPTIONS]),
        drawn("GETEX", &[KEYS, SET_OPTIONS]),
        drawn("GET", &[KEYS]),
        drawn("GETDEL", &[KEYS]),
        drawn("GETSET", &[KEYS, VALUES]),
        drawn("SETEX", &[KEYS, TIMES, VALUES]),
        drawn("APPEND", &[KEYS, VALUES]),
        drawn("GETRANGE", &[KEYS, NUMBERS, NUMBERS]),
        drawn("SETRANGE", &[KEYS, &["0", "3", "20", "-1", "x", "9223372036854775807"], VALUES]),
        drawn("INCR", &[KEYS]),
        drawn("INCRBY", &[KEYS, NUMBERS]),
        drawn("DECRBY", &[KEYS, NUMBERS]),
        drawn(
            "INCRBYFLOAT",
            &[KEYS, &["1", "0.1", "-0.3", "1e10", "1.5e-7", "1e400", "x", "nan", ".5", "1 "]]
        ),
        drawn("MSET", &[KEYS, VALUES, &["~", "~b", "~c 17"]]),
        drawn("MSETNX", &[KEYS, VALUES, &["~", "~b", "~c 17"]]),
        drawn(
            "LCS",
            &[KEYS, KEYS, &["~", "~LEN", "~IDX", "~IDX WITHMATCHLEN", "~IDX MINMATCHLEN 2", "~LEN IDX"]]
        ),
        drawn("OBJECT ENCODING", &[KEYS]),
        drawn("OBJECT REFCOUNT", &[KEYS]),
    ]
}

/// Keys of any type: where they go, and what is said of them.
fn key_steps() -> impl Strategy<Value = Step> {
    const EXPIRE: &[&str] = &["~", "~NX", "~XX", "~GT", "~LT", "~XX LT", "~NX GT", "~GT LT", "~nope"];
    const DBS: &[&str] = &["0", "1", "2", "x", "99"];
    prop_oneof![
        drawn("SET", &[KEYS, VALUES]),
        drawn("HSET", &[KEYS, &["f", "g"], VALUES]),
        drawn("XADD", &[KEYS, &["1-1", "2-1", "3-*"], &["f"], VALUES]),
        drawn("EXPIRE", &[KEYS, TIMES, EXPIRE]),
        drawn("PEXPIREAT", &[KEYS, &["99999999999999", "1", "x"], EXPIRE]),
        drawn("PERSIST", &[KEYS]),
        drawn("RENAME", &[KEYS, KEYS]),
        drawn("RENAMENX", &[KEYS, KEYS]),
        drawn("COPY", &[KEYS, KEYS, &["~", "~REPLACE", "~DB 1", "~DB 1 REPLACE", "~DB", "~DB x", "~nope"]]),
        drawn("MOVE", &[KEYS, DBS]),
        drawn("SWAPDB", &[DBS, DBS]),
        drawn("SELECT", &[&["0", "0", "1", "2"]]),
        drawn("DEL", &[KEYS, KEYS]),
        drawn("UNLINK", &[KEYS]),
        drawn("EXISTS", &[KEYS, KEYS]),
        drawn("TOUCH", &[KEYS]),
        drawn("TYPE", &[KEYS]),
        drawn("KEYS", &[&["a", "\\a", "[a", "[^b-z]?", "[z-b]*b", "nope*"]]),
        drawn("OBJECT ENCODING", &[KEYS]),
        drawn("DEBUG DIGEST-VALUE", &[KEYS, KEYS]),
        drawn("DEBUG DIGEST", &[]),
        drawn("DBSIZE", &[]),
    ]
}

/// Commands of lists and SORT; words in capitals at the places of arguments are chosen.
const LIST_STEPS: &[&str] = &[
    "LPUSH KEY ELEMENT",
    "LPUSH KEY ELEMENT ELEMENT ELEMENT",
    "RPUSH KEY ELEMENT ELEMENT",
    "RPUSH KEY LONG ELEMENT LONG",
    "LPUSHX KEY ELEMENT",
    "RPUSHX KEY ELEMENT ELEMENT",
    "LPOP KEY",
    "RPOP KEY",
    "LPOP KEY INDEX",
    "RPOP KEY INDEX",
    "LLEN KEY",
    "LRANGE KEY INDEX INDEX",
    "LRANGE KEY 0 -1",
    "LINDEX KEY INDEX",
    "LSET KEY INDEX ELEMENT",
    "LSET KEY INDEX LONG",
    "LINSERT KEY BEFORE ELEMENT ELEMENT",
    "LINSERT KEY AFTER ELEMENT LONG",
    "LREM KEY INDEX ELEMENT",
    "LTRIM KEY INDEX INDEX",
    "LPOS KEY ELEMENT",
    "LPOS KEY ELEMENT RANK INDEX",
    "LPOS KEY ELEMENT COUNT 0 RANK INDEX MAXLEN INDEX",
    "LMOVE KEY KEY END END",
    "RPOPLPUSH KEY KEY",
    "LMPOP 2 KEY KEY END COUNT INDEX",
    "LMPOP 1 KEY END",
    "BLPOP KEY KEY KEY 0.001",
    "BLMOVE KEY KEY END END 0.001",
    "BLMPOP 0.001 2 KEY KEY END COUNT INDEX",
    "SORT KEY",
    "SORT KEY ALPHA DESC",
    "SORT KEY LIMIT INDEX INDEX",
    "SORT KEY BY KEY* GET # GET KEY*",
    "SORT KEY BY weight:*->f GET weight:*->f LIMIT 0 INDEX",
    "SORT KEY ALPHA STORE KEY",
    "SADD KEY ELEMENT ELEMENT",
    "ZADD KEY INDEX ELEMENT INDEX ELEMENT",
    "SORT KEY BY nosort DESC LIMIT INDEX INDEX STORE KEY",
    "HSET weight:1 f INDEX",
    "HSET weight:b f INDEX",
    "SET KEY ELEMENT",
    "DEL KEY",
    "RENAME KEY KEY",
    "OBJECT ENCODING KEY",
];

fn list_steps() -> impl Strategy<Value = Step> {
    let one_of =
        |names: &[&'static str]| prop::sample::select(names.to_vec()).prop_map(str::to_string).boxed();
    let word = move |word: &'static str| match word {
        "KEY" => one_of(&["a", "b", "l", "m", "n"]),
        "KEY*" => one_of(&["a*", "weight:*"]),
        "END" => one_of(&["LEFT", "RIGHT"]),
        "ELEMENT" => prop_oneof!["[0-9]", "[a-c]", Just(String::new()), "-?[0-9]{1,2}[.]5"].boxed(),
        "LONG" => (100usize..9000).prop_map(|len| "x".repeat(len)).boxed(),
        "INDEX" => prop_oneof![4 => "-?[0-9]", 1 => Just("x".to_string())].boxed(),
        word => Just(word.to_string()).boxed(),
    };
    let steps = LIST_STEPS.iter().map(|step| step.split(' ').map(word).collect::<Vec<_>>());
    prop::sample::select(steps.collect::<Vec<_>>()).prop_flat_map(|words| words).prop_map(Step)
}

fn sorted_set_steps() -> impl Strategy<Value = Step> {
    let key = || prop::sample::select(vec!["a", "b", "y", "z"]).prop_map(str::to_string).boxed();
    let one_of = |words: &[&str]| {
        prop::sample::select(words.iter().map(|word| word.to_string()).collect::<Vec<_>>()).boxed()
    };
    let member = || prop_oneof![8 => "[a-h][0-9]?", 2 => "[m-p]{60,70}"].boxed();
    let score =
        || prop_oneof![4 => "-?[0-9]", 2 => "-?[0-9]{1,3}\\.[0-9]{1,3}", 1 => "[-+]?inf", 1 => "x"].boxed();
    let border = || prop_oneof![4 => "[(]?-?[0-9]", 2 => "[-+]inf", 1 => "[(]?x?"].boxed();
    let lex = || prop_oneof![4 => "[\\[(][a-h]", 2 => "[-+]", 1 => "[a-h]?"].boxed();
    let rank = || "-?[0-9]".boxed();
    let words = |name: &'static str, parts: Vec<BoxedStrategy<String>>| {
        parts.prop_map(move |parts| Step(name.split(' ').map(str::to_string).chain(parts).collect())).boxed()
    };
    let flag = || one_of(&["NX", "XX", "GT", "LT", "CH", "INCR"]);
    let range = || one_of(&["WITHSCORES", "REV", "BYSCORE"]);
    let adding = (key(), prop::collection::vec((score(), member()), 1..12)).prop_map(|(key, pairs)| {
        let pairs = pairs.into_iter().flat_map(|(score, member)| [score, member]);
        Step(["ZADD".to_string(), key].into_iter().chain(pairs).collect())
    });
    prop_oneof![
        4 => adding,
        4 => words("ZADD", vec![key(), score(), member(), score(), member()]),
        2 => words("ZADD", vec![key(), flag(), score(), member()]),
        1 => words("ZADD", vec![key(), flag(), flag(), score(), member()]),
        1 => words("ZINCRBY", vec![key(), score(), member()]),
        2 => words("ZREM", vec![key(), member(), member()]),
        1 => words("ZCARD", vec![key()]),
        1 => words("ZMSCORE", vec![key(), member(), member()]),
        1 => words("ZRANK", vec![key(), member()]),
        1 => words("ZREVRANK", vec![key(), member()]),
        1 => words("ZCOUNT", vec![key(), border(), border()]),
        1 => words("ZRANGE", vec![key(), rank(), rank(), range()]),
        1 => words("ZRANGE", vec![key(), border(), border(), range(), range()]),
        1 => words("ZRANGEBYSCORE", vec![key(), border(), border(), Just("LIMIT".into()).boxed(), rank(), rank()]),
        1 => words("ZREVRANGEBYSCORE", vec![key(), border(), border()]),
        1 => words("ZRANGESTORE", vec![key(), key(), border(), border(), range()]),
        1 => words("ZADD lex", vec![Just("0".into()).boxed(), member(), Just("0".into()).boxed(), member()]),
        1 => words("ZRANGEBYLEX lex", vec![lex(), lex()]),
        1 => words("ZREVRANGEBYLEX lex", vec![lex(), lex()]),
        1 => words("ZLEXCOUNT lex", vec![lex(), lex()]),
        1 => words("ZREMRANGEBYLEX lex", vec![lex(), lex()]),
        1 => words("ZREMRANGEBYRANK", vec![key(), rank(), rank()]),
        1 => words("ZREMRANGEBYSCORE", vec![key(), border(), border()]),
        1 => words("ZPOPMIN", vec![key(), "[0-3]".boxed()]),
        1 => words("ZPOPMAX", vec![key()]),
        1 => words("ZMPOP 2", vec![key(), key(), one_of(&["MIN", "MAX"])]),
        1 => words("ZUNION 2", vec![key(), key(), one_of(&["WITHSCORES", "AGGREGATE", "WEIGHTS"])]),
        1 => words("ZINTER 2", vec![key(), key(), Just("WEIGHTS".into()).boxed(), score(), score()]),
        1 => words("ZDIFF 2", vec![key(), key()]),
        1 => words("ZUNIONSTORE", vec![key(), Just("2".into()).boxed(), key(), key(), Just("AGGREGATE".into()).boxed(), one_of(&["SUM", "MIN", "MAX"])]),
        1 => words("ZINTERSTORE", vec![key(), Just("2".into()).boxed(), key(), key()]),
        1 => words("ZDIFFSTORE", vec![key(), Just("2".into()).boxed(), key(), key()]),
        1 => words("ZINTERCARD 2", vec![key(), key(), Just("LIMIT".into()).boxed(), rank()]),
        1 => words("OBJECT ENCODING", vec![key()]),
        1 => words("DEL", vec![key()]),
    ]
}

#[test]
fn random_commands_are_answered_as_redis_answers_them() {
    compare_random(step());
}

#[test]
fn random_strings_are_answered_as_redis_answers_them() {
    compare_random(string_steps());
}

#[test]
fn random_lists_are_answered_as_redis_answers_them() {
    compare_random(prop_oneof![step(), list_steps()]);
}

#[test]
fn random_sorted_sets_are_answered_as_redis_answers_them() {
    compare_random(prop_oneof![step(), sorted_set_steps()]);
}

#[test]
fn random_moves_of_keys_are_answered_as_redis_answers_them() {
    compare_random(key_steps());
}

#[test]
fn random_sets_and_hashes_are_answered_as_redis_answers_them() {
    compare_random(prop_oneof![step(), set_and_hash_steps(), set_and_hash_steps()]);
}

/// Runs the same random commands on both servers, and compares the replies and what is stored in the end.
fn compare_random(step: impl Strategy<Value = Step>) {
    let (ours, theirs) = (store(), RedisServer::start(&["--enable-debug-command", "yes"]));
    let clients = RefCell::new((Client::connect(ours.addr()), Client::connect(theirs.addr())));
    let config = ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let steps = prop::collection::vec(step, 1..120);
    let outcome = runner.run(&steps, |steps| {
        let mut batch = Vec::new();
        encode_command(&mut batch, ["FLUSHALL"]);
        let mut steps = steps;
        steps.push(Step(vec!["DEBUG".into(), "DIGEST".into()]));
        steps.iter().for_each(|step| encode_command(&mut batch, &step.0));
        let (ours, theirs) = &mut *clients.borrow_mut();
        ours.send(&batch);
        theirs.send(&batch);
        // All replies are read before any is compared, so that a failure leaves none behind.
        let replies: Vec<_> =
            (0..=steps.len()).map(|_| (show(&ours.reply()), show(&theirs.reply()))).collect();
        for (step, (our, their)) in steps.iter().zip(&replies[1..]) {
            prop_assert_eq!(our, their, "{:?}", step);
        }
        Ok(())
    });
    outcome.expect("the same replies");
}

#[test]
fn a_command_is_understood_wherever_its_packets_are_split() {
    let store = store();
    let mut client = Client::connect(store.addr());
    let mut command = Vec::new();
    encode_command(&mut command, ["SET", "split", "value with \r\n inside"]);
    for cut in 1..command.len() {
        client.send(&command[..cut]);
        client.send(&command[cut..]);
        assert_eq!(client.reply(), b"+OK\r\n");
    }
    assert_eq!(client.call(&["GET", "split"]), "$20\r\nvalue with \r\n inside\r\n");
}

#[test]
fn a_pipeline_of_a_hundred_thousand_is_answered_in_order() {
    let store = store();
    let mut client = Client::connect(store.addr());
    let mut sender = client.stream.try_clone().expect("a second handle");
    let writer = std::thread::spawn(move || {
        let mut batch = Vec::new();
        for n in 0..100_000 {
            encode_command(&mut batch, ["INCR".to_string(), format!("counter:{}", n % 10)]);
        }
        sender.write_all(&batch).expect("the store reads");
    });
    for n in 0..100_000 {
        assert_eq!(client.reply(), format!(":{}\r\n", n / 10 + 1).into_bytes());
    }
    writer.join().expect("the writer has no reason to panic");
    assert!(store.stats().commands >= 99_000);
}

#[test]
fn a_value_of_twenty_megabytes_goes_in_and_out() {
    let store = store();
    let mut client = Client::connect(store.addr());
    let value: String = (0..20 << 20).map(|n| char::from(b'a' + (n % 23) as u8)).collect();
    assert_eq!(client.call(&["SET", "large", &value]), "+OK\r\n");
    assert_eq!(client.call(&["STRLEN", "large"]), format!(":{}\r\n", value.len()));
    assert!(client.call(&["GET", "large"]).contains(&value));
}

#[test]
fn a_client_that_reads_late_gets_every_reply() {
    let store = store();
    let mut client = Client::connect(store.addr());
    let value = "x".repeat(1 << 20);
    client.call(&["SET", "k", &value]);
    let mut batch = Vec::new();
    (0..200).for_each(|_| encode_command(&mut batch, ["GET", "k"]));
    encode_command(&mut batch, ["ECHO", "end"]);
    client.send(&batch);
    // While 200 MiB wait for this client, another one is served.
    assert_eq!(Client::connect(store.addr()).call(&["PING"]), "+PONG\r\n");
    for _ in 0..200 {
        assert_eq!(client.reply().len(), value.len() + 12);
    }
    assert_eq!(client.reply(), b"$3\r\nend\r\n");
}

#[test]
fn a_thousand_clients_are_served_and_one_too_many_is_told_so() {
    let store = Server::start(Config { max_clients: 1000, ..Config::default() }).expect("a free port");
    let mut clients: Vec<Client> = (0..1000).map(|_| Client::connect(store.addr())).collect();
    for client in &mut clients {
        client.send(b"*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n");
    }
    let mut seen: Vec<Vec<u8>> = clients.iter_mut().map(Client::reply).collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 1000);
    let refused = Client::connect(store.addr()).rest();
    assert_eq!(refused, b"-ERR max number of clients reached\r\n");
    drop(clients.pop());
    // The place is free as soon as the store has seen the other one leave.
    while Client::connect(store.addr()).call(&["PING"]) != "+PONG\r\n" {}
}

#[test]
fn announced_lengths_cost_no_memory_and_garbage_no_service() {
    let store = store();
    let mut hostile = Vec::new();
    for start in [
        &b"*1048576\r\n$536870912\r\nabc"[..],
        b"*2\r\n$3\r\nGET\r\n$536870912\r\n",
        b"*1048576\r\n",
        b"*1\r\n*1\r\n*1\r\n",
        b"\x00\xff\xfe\x80garbage",
    ] {
        for _ in 0..50 {
            let mut client = Client::connect(store.addr());
            client.send(start);
            hostile.push(client);
        }
    }
    let mut nested = Client::connect(store.addr());
    nested.send(&b"*1\r\n".repeat(10_000));
    assert!(nested.rest().starts_with(b"-ERR Protocol error: expected '$', got '*'"));
    assert_eq!(Client::connect(store.addr()).call(&["PING"]), "+PONG\r\n");
    // 150 clients have announced 512 MiB each: far more than this, had it been set aside.
    let statm = std::fs::read_to_string("/proc/self/statm").expect("a Linux kernel");
    let pages: u64 = statm.split(' ').next().and_then(|pages| pages.parse().ok()).expect("a number");
    assert!(pages * 4096 < 16 << 30, "{pages} pages");
}

#[test]
fn scan_returns_every_key_that_stays_while_others_come_and_go() {
    let store = store();
    let (mut scanner, mut other) = (Client::connect(store.addr()), Client::connect(store.addr()));
    let mut batch = Vec::new();
    (0..5000).for_each(|n| encode_command(&mut batch, ["SET".into(), format!("stays:{n}"), "v".into()]));
    scanner.send(&batch);
    (0..5000).for_each(|_| assert_eq!(scanner.reply(), b"+OK\r\n"));
    let (mut cursor, mut seen, mut turn) = ("0".to_string(), HashSet::new(), 0);
    loop {
        let reply = scanner.call(&["SCAN", &cursor, "COUNT", "100"]);
        let words: Vec<&str> = reply.split("\r\n").filter(|word| !word.starts_with(['$', '*'])).collect();
        cursor = words[0].to_string();
        seen.extend(words[1..].iter().filter(|word| word.starts_with("stays")).map(|word| word.to_string()));
        if cursor == "0" {
            break;
        }
        // Thousands of keys are added, then removed again, so that tables grow in between.
        let name = if turn % 2 == 0 { "SET" } else { "DEL" };
        let mut batch = Vec::new();
        for n in 0..3000 {
            let mut words = vec![name.to_string(), format!("moves:{}:{n}", turn / 2)];
            words.extend((name == "SET").then(|| "v".to_string()));
            encode_command(&mut batch, words);
        }
        other.send(&batch);
        (0..3000).for_each(|_| drop(other.reply()));
        turn += 1;
    }
    assert_eq!(seen.len(), 5000);
}

#[test]
fn redis_cli_works_alone_in_a_pipe_and_as_scanner() {
    let store = store();
    let cli = |args: &[&str], input: &str| {
        let mut child = Command::new("redis-cli")
            .args(["-p", &store.addr().port().to_string()])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("redis-cli is needed for this test: install the package redis-tools");
        child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("redis-cli reads");
        let output = child.wait_with_output().expect("redis-cli ends");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(cli(&["SET", "greeting", "hello"], ""), "OK\n");
    assert_eq!(cli(&["-3", "GET", "greeting"], ""), "hello\n");
    let lines: String = (0..20_000).map(|n| format!("SET record:{n} value:{n}\r\n")).collect();
    let piped = cli(&["--pipe"], &lines);
    assert!(piped.contains("errors: 0, replies: 20000"), "{piped}");
    let scanned = cli(&["--scan", "--pattern", "record:*"], "");
    assert_eq!(scanned.lines().collect::<HashSet<_>>().len(), 20_000);
    assert!(cli(&["INFO", "server"], "").contains("redis_version:7.0.15"));
    assert!(cli(&["--bigkeys"], "").contains("20001 strings"));
}

#[test]
fn an_idle_time_counts_from_the_last_use() {
    let store = store();
    let mut client = Client::connect(store.addr());
    let mut idle = |before: &[&str]| {
        if !before.is_empty() {
            client.call(before);
        }
        client.call(&["OBJECT", "IDLETIME", "k"])
    };
    // A second may begin between the two commands.
    let is = |reply: String, seconds: u32| {
        assert!([seconds, seconds + 1].iter().any(|s| reply == format!(":{s}\r\n")), "{reply} {seconds}");
    };
    is(idle(&["SET", "k", "v"]), 0);
    store.fast_forward(Duration::from_secs(100)).expect("it runs");
    is(idle(&["TYPE", "k"]), 100);
    is(idle(&["EXISTS", "k"]), 100);
    is(idle(&["TTL", "k"]), 100);
    is(idle(&["TOUCH", "k"]), 0);
    for used in [&["GET", "k"][..], &["APPEND", "k", "v"], &["EXPIRE", "k", "1000000"], &["SET", "k", "v"]] {
        store.fast_forward(Duration::from_secs(5000)).expect("it runs");
        is(idle(&[]), 5000);
        is(idle(used), 0);
    }
}

#[test]
fn the_redis_package_works_over_both_protocols() {
    let store = store();
    for protocol in ["resp2", "resp3"] {
        let url = format!("redis://{}/?protocol={protocol}", store.addr());
        let client = redis::Client::open(url).expect("a valid URL");
        let mut connection = client.get_connection().expect("the store listens");
        let answer: (String, i64) = redis::pipe()
            .cmd("SET")
            .arg("k")
            .arg("v")
            .ignore()
            .cmd("GET")
            .arg("k")
            .cmd("HSET")
            .arg(protocol)
            .arg("f")
            .arg(1)
            .arg("g")
            .arg(2)
            .query(&mut connection)
            .expect("an answer");
        assert_eq!(answer, ("v".to_string(), 2));
        let all: std::collections::BTreeMap<String, i64> =
            redis::cmd("HGETALL").arg(protocol).query(&mut connection).expect("a map");
        assert_eq!(all.into_iter().collect::<Vec<_>>(), [("f".to_string(), 1), ("g".to_string(), 2)]);
        let keys: Vec<String> =
            redis::cmd("MGET").arg(&["k", "k"]).query(&mut connection).expect("two values");
        assert_eq!(keys, ["v", "v"]);
        let wrong = redis::cmd("GET").arg(protocol).query::<String>(&mut connection);
        assert_eq!(wrong.expect_err("a hash").code(), Some("WRONGTYPE"));
    }
}

#[test]
fn clients_see_and_close_each_other() {
    let store = store();
    let (mut one, mut two) = (Client::connect(store.addr()), Client::connect(store.addr()));
    one.call(&["CLIENT", "SETNAME", "one"]);
    two.call(&["CLIENT", "SETNAME", "two"]);
    let list = one.call(&["CLIENT", "LIST"]);
    assert!(list.contains("name=one") && list.contains("name=two") && list.contains("cmd=client|list"));
    let id = two.call(&["CLIENT", "ID"]);
    let id = id.trim_start_matches(':').trim_end();
    assert_eq!(one.call(&["CLIENT", "KILL", "ID", id]), ":1\r\n");
    assert!(two.rest().is_empty());
    assert!(!one.call(&["CLIENT", "LIST"]).contains("name=two"));
    let own = one.call(&["CLIENT", "KILL", "SKIPME", "no", "ADDR", "1.1.1.1:1"]);
    assert_eq!(own, ":0\r\n");
}

#[test]
fn several_stores_in_one_process_share_nothing() {
    let (first, second) = (store(), store());
    let (mut one, mut two) = (Client::connect(first.addr()), Client::connect(second.addr()));
    one.call(&["SET", "k", "v"]);
    assert_eq!(two.call(&["GET", "k"]), "$-1\r\n");
    first.stop();
    assert!(one.rest().is_empty());
    assert_eq!(two.call(&["PING"]), "+PONG\r\n");
}

#[test]
fn a_port_in_use_and_an_open_address_without_password_are_refused() {
    let store = store();
    let taken = Server::start(Config { port: store.addr().port(), ..Config::default() });
    assert!(matches!(taken, Err(Error::InUse { addr }) if addr == store.addr()));
    let open = Config { bind: IpAddr::V4(Ipv4Addr::UNSPECIFIED), ..Config::default() };
    let refused = Server::start(open.clone()).expect_err("no password");
    assert!(refused.to_string().contains("set a password"));
    let allowed = Config { password: Some("secret".into()), ..open };
    Server::start(allowed).expect("a password makes it legal").stop();
}

#[test]
fn shutdown_ends_the_store() {
    let store = store();
    let mut client = Client::connect(store.addr());
    client.send(b"SHUTDOWN NOSAVE\r\n");
    assert!(client.rest().is_empty());
    store.wait();
}

#[test]
fn a_client_that_sends_and_closes_at_once_leaves_no_trace() {
    let store = store();
    for n in 0..200 {
        let mut client = Client::connect(store.addr());
        client.send(format!("SET k{n} v\r\n").as_bytes());
    }
    let mut last = Client::connect(store.addr());
    // Each of them is seen to leave in some turn; the command count says when all have been served.
    while last.call(&["DBSIZE"]) != ":200\r\n" {}
    while !last.call(&["INFO", "clients"]).contains("connected_clients:1\r\n") {}
}

/// Sub-commands in the order of their names; their own order means nothing.
fn sort_subcommands(description: &mut redis::Value) {
    let redis::Value::Array(elements) = description else { return };
    let Some(redis::Value::Array(subcommands)) = elements.get_mut(9) else { return };
    subcommands.sort_by_key(|sub| format!("{sub:?}"));
}

#[test]
fn the_page_about_the_store_names_every_command_and_no_other() {
    let store = store();
    let client = redis::Client::open(format!("redis://{}/", store.addr())).expect("a valid URL");
    let mut connection = client.get_connection().expect("the store listens");
    let names: Vec<String> = redis::cmd("COMMAND").arg("LIST").query(&mut connection).expect("names");
    let known: BTreeSet<String> =
        names.iter().filter(|name| !name.contains('|')).map(|name| name.to_ascii_uppercase()).collect();
    let page = include_str!("../docs/store.md");
    let start = page.find("\n## Commands").expect("the heading");
    let end = page.find("\nNot there yet").expect("what is missing");
    let rows = page[start..end].lines().filter(|line| line.starts_with("| "));
    let named: BTreeSet<String> =
        rows.flat_map(|row| row.split('`').skip(1).step_by(2)).map(str::to_string).collect();
    assert_eq!(named, known);
    assert!(page.contains(&format!("{} of the 240 commands", known.len())), "{} commands", known.len());
}

#[test]
fn command_info_describes_each_command_as_redis_does() {
    let (ours, theirs) = (store(), RedisServer::start(&[]));
    let connect = |addr: SocketAddr| {
        let client = redis::Client::open(format!("redis://{addr}/")).expect("a valid URL");
        client.get_connection().expect("the server listens")
    };
    let (mut ours, mut theirs) = (connect(ours.addr()), connect(theirs.addr()));
    let describe = |connection: &mut redis::Connection, name: &str| -> redis::Value {
        let mut info: Vec<redis::Value> =
            redis::cmd("COMMAND").arg("INFO").arg(name).query(connection).expect("a description");
        let mut description = info.remove(0);
        sort_subcommands(&mut description);
        description
    };
    let names: Vec<String> = redis::cmd("COMMAND").arg("LIST").query(&mut ours).expect("names");
    assert!(names.len() > 70);
    for name in &names {
        assert_eq!(describe(&mut ours, name), describe(&mut theirs, name), "{name}");
    }
}

/// Since when, which group, which arguments: what COMMAND DOCS says and is no sentence.
fn documented_facts(docs: redis::Value) -> Vec<(String, String)> {
    let redis::Value::Array(mut docs) = docs else { return Vec::new() };
    let Some(redis::Value::Array(fields)) = docs.pop() else { return Vec::new() };
    let facts = fields.chunks(2).filter_map(|pair| {
        let redis::Value::BulkString(name) = &pair[0] else { return None };
        let name = String::from_utf8_lossy(name).into_owned();
        let is_fact =
            ["since", "group", "doc_flags", "deprecated_since", "arguments"].contains(&name.as_str());
        is_fact.then(|| (name, format!("{:?}", pair[1])))
    });
    facts.collect()
}

#[test]
fn command_docs_give_the_facts_that_redis_gives() {
    let (ours, theirs) = (store(), RedisServer::start(&[]));
    let connect = |addr: SocketAddr| {
        let client = redis::Client::open(format!("redis://{addr}/")).expect("a valid URL");
        client.get_connection().expect("the server listens")
    };
    let (mut ours, mut theirs) = (connect(ours.addr()), connect(theirs.addr()));
    let filter = ["COMMAND", "LIST", "FILTERBY", "PATTERN", "*"];
    let mut list = redis::cmd(filter[0]);
    for word in &filter[1..] {
        list.arg(word);
    }
    let names: Vec<String> = list.query(&mut ours).expect("names");
    assert!(names.iter().any(|name| name == "client|kill"));
    let facts = |connection: &mut redis::Connection, name: &str| {
        documented_facts(redis::cmd("COMMAND").arg("DOCS").arg(name).query(connection).expect("docs"))
    };
    for name in names {
        assert_eq!(facts(&mut ours, &name), facts(&mut theirs, &name), "{name}");
    }
}

//! Streams and their groups answer as those of Redis do, also where replies hold times.

#[path = "support/redis_server.rs"]
mod redis_server;

use std::cell::RefCell;
use std::net::SocketAddr;

use proptest::prelude::*;
use redis::Value;
use redis_server::RedisServer;
use runner::store::{Config, Server};

fn connect(addr: SocketAddr, protocol: &str) -> redis::Connection {
    let url = format!("redis://{addr}/?protocol={protocol}");
    let client = redis::Client::open(url).expect("a valid URL");
    client.get_connection().expect("the server listens")
}

/// Sends a command. An error is a text.
fn call(connection: &mut redis::Connection, words: &[String]) -> Value {
    let (name, args) = words.split_first().expect("a name");
    let reply = redis::cmd(name).arg(args).query(connection);
    reply.unwrap_or_else(|error| Value::SimpleString(format!("error {error}")))
}

/// A moment of this test as time.
const NOW: Value = Value::SimpleString(String::new());

/// Replaces what depends on the clock: times and, where they stand, times since.
fn without_times(value: Value) -> Value {
    match value {
        // After 2017, in milliseconds.
        Value::Int(ms) if (1_500_000_000_000..9_000_000_000_000).contains(&ms) => Value::Nil,
        Value::Array(values) => {
            let is_idle = |value: &Value| *value == Value::BulkString(b"idle".to_vec());
            let is_pending = matches!(
                &values[..],
                [Value::BulkString(_), Value::BulkString(_), Value::Int(_), Value::Int(_)]
            );
            let mut after_idle = false;
            let values = values.into_iter().enumerate().map(|(index, value)| {
                let is_since = after_idle || is_pending && index == 2;
                after_idle = is_idle(&value);
                if is_since { NOW } else { without_times(value) }
            });
            Value::Array(values.collect())
        }
        Value::Map(pairs) => {
            let is_idle = |name: &Value| *name == Value::BulkString(b"idle".to_vec());
            let pairs = pairs.into_iter().map(|(name, value)| {
                let value = if is_idle(&name) { NOW } else { without_times(value) };
                (name, value)
            });
            Value::Map(pairs.collect())
        }
        other => other,
    }
}

fn pick(words: &'static [&'static str]) -> BoxedStrategy<String> {
    prop::sample::select(words).prop_map(str::to_string).boxed()
}

fn key() -> BoxedStrategy<String> {
    pick(&["a", "a", "a", "b"])
}

fn id() -> BoxedStrategy<String> {
    prop_oneof![9 => "[0-9]{1,2}-[0-3]", 1 => pick(&["0", "5", "-", "(3-1", "$", "x", "+"])].boxed()
}

fn bound() -> BoxedStrategy<String> {
    prop_oneof![pick(&["-", "+"]), "[(]?[0-9]{1,2}(-[0-3])?"].boxed()
}

/// A command: its words, of which each may be several or none.
fn words(parts: Vec<BoxedStrategy<String>>) -> BoxedStrategy<Vec<String>> {
    let split = |parts: Vec<String>| {
        parts.iter().flat_map(|part| part.split_whitespace().map(String::from)).collect()
    };
    parts.prop_map(split).boxed()
}

fn just(word: &'static str) -> BoxedStrategy<String> {
    Just(word.to_string()).boxed()
}

fn step() -> impl Strategy<Value = Vec<String>> {
    let group = || pick(&["g", "g", "h"]);
    let consumer = || pick(&["x", "y", "z"]);
    let count = || pick(&["", "", "COUNT 1", "COUNT 2", "COUNT 0"]);
    let trim =
        || pick(&["", "", "", "MAXLEN 5", "MAXLEN ~ 6", "MINID 20", "MINID ~ 20 LIMIT 3", "NOMKSTREAM"]);
    let fields = || {
        pick(&[
            "f v",
            "f v",
            "f 12",
            "g v",
            "f v g w",
            "f xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        ])
    };
    let new_id = || prop_oneof![3 => "[0-9]{1,2}-\\*", 1 => "[0-9]{1,2}-[0-9]"].boxed();
    prop_oneof![
        8 => words(vec![just("XADD"), key(), trim(), new_id(), fields()]),
        1 => words(vec![just("XTRIM"), key(), trim()]),
        2 => words(vec![just("XDEL"), key(), id(), id()]),
        1 => words(vec![pick(&["XRANGE", "XREVRANGE"]), key(), bound(), bound(), count()]),
        1 => words(vec![just("XSETID"), key(), id(), pick(&["", "ENTRIESADDED 40", "MAXDELETEDID 3-1"])]),
        2 => words(vec![just("XGROUP CREATE"), key(), group(), id(), pick(&["", "MKSTREAM", "ENTRIESREAD 2"])]),
        1 => words(vec![just("XGROUP SETID"), key(), group(), id(), pick(&["", "ENTRIESREAD 3"])]),
        1 => words(vec![pick(&["XGROUP CREATECONSUMER", "XGROUP DELCONSUMER"]), key(), group(), consumer()]),
        6 => words(vec![just("XREADGROUP GROUP"), group(), consumer(), count(), pick(&["", "", "", "NOACK"]),
            just("STREAMS"), key(), prop_oneof![3 => just(">"), 1 => id()].boxed()]),
        1 => words(vec![just("XREAD"), count(), just("STREAMS"), key(), key(), id(), id()]),
        2 => words(vec![just("XACK"), key(), group(), id(), id(), id()]),
        2 => words(vec![just("XPENDING"), key(), group()]),
        2 => words(vec![just("XPENDING"), key(), group(), bound(), bound(), pick(&["1", "9"]),
            prop_oneof![just(""), consumer()].boxed()]),
        3 => words(vec![just("XCLAIM"), key(), group(), consumer(), pick(&["0", "0", "9999999"]), id(), id(),
            pick(&["", "FORCE", "JUSTID", "RETRYCOUNT 4", "FORCE JUSTID", "TIME 5", "LASTID 30-1"])]),
        2 => words(vec![just("XAUTOCLAIM"), key(), group(), consumer(), pick(&["0", "9999999"]), bound(), count(),
            pick(&["", "JUSTID"])]),
        2 => words(vec![just("XINFO STREAM"), key(), pick(&["", "FULL", "FULL COUNT 0"])]),
        2 => words(vec![just("XINFO GROUPS"), key()]),
        1 => words(vec![just("XINFO CONSUMERS"), key(), group()]),
    ]
}

fn compare(protocol: &str, cases: u32) {
    let ours = Server::start(Config::default()).expect("a free port on the loopback");
    let theirs = RedisServer::start(&[]);
    let both = RefCell::new([connect(ours.addr(), protocol), connect(theirs.addr(), protocol)]);
    let limits: Vec<String> =
        ["CONFIG", "SET", "stream-node-max-entries", "3"].iter().map(|word| word.to_string()).collect();
    both.borrow_mut().iter_mut().for_each(|connection| drop(call(connection, &limits)));
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let steps = prop::collection::vec(step(), 1..150);
    let outcome = proptest::test_runner::TestRunner::new(config).run(&steps, |steps| {
        let [ours, theirs] = &mut *both.borrow_mut();
        for connection in [&mut *ours, &mut *theirs] {
            call(connection, &["FLUSHALL".to_string()]);
        }
        for step in &steps {
            let (our, their) = (without_times(call(ours, step)), without_times(call(theirs, step)));
            prop_assert_eq!(our, their, "{}", step.join(" "));
        }
        Ok(())
    });
    outcome.expect("the same replies");
}

#[test]
fn random_commands_on_streams_are_answered_as_redis_answers_them() {
    compare("resp2", 48);
    compare("resp3", 24);
}

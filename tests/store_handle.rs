//! The handle of a store: a program looks into it and steers it.

#[expect(dead_code, reason = "not every test that includes this file needs all of it")]
#[path = "support/store_client.rs"]
mod store_client;

use std::time::{Duration, SystemTime};

use runner::store::{Config, Fault, Handle, Harm, Server};
use store_client::Client;

/// The next reply, or what is left when the store closes the connection.
fn text(client: &mut Client) -> String {
    String::from_utf8_lossy(&client.reply()).into_owned()
}

fn store() -> Handle {
    Server::start(Config::default()).expect("a free port on the loopback")
}

#[test]
fn values_go_in_and_out_without_a_connection() {
    let store = store();
    store.set("k", b"\x00binary\r\n").expect("it runs");
    assert_eq!(store.get("k").expect("it runs"), Some(b"\x00binary\r\n".to_vec()));
    assert_eq!(store.get("nosuch").expect("it runs"), None);
    assert_eq!(store.execute(["HSET", "h", "f", "v"]).expect("it runs"), b":1\r\n");
    assert_eq!(store.get("h").expect("it runs"), None, "a hash is no string");
    assert_eq!(store.execute::<&str>([]).expect("it runs"), b"");
    let error = store.execute(["GET"]).expect("it runs");
    assert_eq!(error, b"-ERR wrong number of arguments for 'get' command\r\n");
    // What a client writes is seen, and the other way round.
    let mut client = Client::connect(store.addr());
    assert_eq!(client.call(&["APPEND", "k", "!"]), ":10\r\n");
    assert_eq!(store.get("k").expect("it runs"), Some(b"\x00binary\r\n!".to_vec()));
    store.clear().expect("it runs");
    assert_eq!(client.call(&["DBSIZE"]), ":0\r\n");
}

#[test]
fn the_handle_needs_no_password_and_meets_no_pause() {
    let config = Config { password: Some("secret".into()), ..Config::default() };
    let store = Server::start(config).expect("a free port");
    store.set("k", "v").expect("it runs");
    let mut client = Client::connect(store.addr());
    assert!(client.call(&["GET", "k"]).starts_with("-NOAUTH"));
    assert_eq!(client.call(&["AUTH", "secret"]), "+OK\r\n");
    assert_eq!(client.call(&["CLIENT", "PAUSE", "100000"]), "+OK\r\n");
    assert_eq!(store.get("k").expect("it runs"), Some(b"v".to_vec()));
    assert_eq!(store.execute(["CLIENT", "UNPAUSE"]).expect("it runs"), b"+OK\r\n");
    assert_eq!(client.call(&["GET", "k"]), "$1\r\nv\r\n");
}

#[test]
fn stores_share_nothing_not_even_their_clocks() {
    let (one, other) = (store(), store());
    for store in [&one, &other] {
        store.execute(["SET", "k", "v", "EX", "100"]).expect("it runs");
    }
    one.fast_forward(Duration::from_secs(100)).expect("it runs");
    assert_eq!(one.get("k").expect("it runs"), None);
    assert_eq!(other.get("k").expect("it runs"), Some(b"v".to_vec()));
    one.set("only here", "v").expect("it runs");
    assert_eq!(other.get("only here").expect("it runs"), None);
    one.stop();
    assert!(other.is_running());
}

#[test]
fn time_that_is_skipped_counts_for_keys_and_for_waits() {
    let store = store();
    let mut client = Client::connect(store.addr());
    assert_eq!(client.call(&["SET", "k", "v", "EX", "100"]), "+OK\r\n");
    store.fast_forward(Duration::from_secs(60)).expect("it runs");
    let left: i64 = client.call(&["TTL", "k"]).trim_matches([':', '\r', '\n']).parse().expect("seconds");
    assert!((39..=40).contains(&left), "{left}");
    // WAIT waits for an hour, which is over at once.
    client.ask(&["WAIT", "1", "3600000"]);
    while store.stats().blocked == 0 {
        store.execute(["PING"]).expect("it runs");
    }
    store.fast_forward(Duration::from_secs(3600)).expect("it runs");
    assert_eq!(text(&mut client), ":0\r\n");
    assert_eq!(store.get("k").expect("it runs"), None);
}

#[test]
fn a_clock_that_is_set_is_what_commands_see() {
    let store = store();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
    store.set_time(time).expect("it runs");
    let mut client = Client::connect(store.addr());
    assert!(client.call(&["TIME"]).starts_with("*2\r\n$10\r\n400000000"));
    client.call(&["SET", "k", "v"]);
    assert_eq!(client.call(&["EXPIREAT", "k", "4000000100"]), ":1\r\n");
    let left: i64 = client.call(&["TTL", "k"]).trim_matches([':', '\r', '\n']).parse().expect("seconds");
    assert!((90..=100).contains(&left), "{left}");
    // In the past of this clock, although it is the future of the wall clock.
    assert_eq!(client.call(&["EXPIREAT", "k", "3999999999"]), ":1\r\n");
    assert_eq!(client.call(&["EXISTS", "k"]), ":0\r\n");
}

fn errors_among(store: &Handle, commands: usize) -> Vec<bool> {
    let mut client = Client::connect(store.addr());
    (0..commands).for_each(|_| client.ask(&["GET", "k"]));
    (0..commands).map(|_| text(&mut client).starts_with("-LOADING")).collect()
}

#[test]
fn a_share_of_commands_fails_the_same_ones_with_the_same_seed() {
    let store = store();
    let error = Harm::Error("LOADING the data set is loaded".into());
    let faults = vec![Fault { command: Some("GET".into()), share: 0.25, harm: error }];
    store.set_faults(faults).expect("it runs");
    store.seed(7).expect("it runs");
    let first = errors_among(&store, 10_000);
    let hits = first.iter().filter(|hit| **hit).count();
    // Four standard deviations around a quarter.
    assert!((2327..=2673).contains(&hits), "{hits}");
    assert_eq!(store.stats().faults, hits as u64);
    store.seed(7).expect("it runs");
    assert!(errors_among(&store, 10_000) == first, "the same commands are hit");
    // Other commands are not, and the handle itself is not.
    assert_eq!(Client::connect(store.addr()).call(&["PING"]), "+PONG\r\n");
    assert!((0..100).all(|_| store.get("k").is_ok_and(|value| value.is_none())));
    store.set_faults(Vec::new()).expect("it runs");
    assert!(errors_among(&store, 100).iter().all(|hit| !hit));
}

#[test]
fn a_connection_is_lost_without_a_word() {
    let store = store();
    let faults = vec![Fault { command: Some("INCR".into()), share: 1.0, harm: Harm::Disconnect }];
    store.set_faults(faults).expect("it runs");
    let mut client = Client::connect(store.addr());
    assert_eq!(client.call(&["SET", "k", "1"]), "+OK\r\n");
    assert_eq!(client.call(&["INCR", "k"]), "");
    assert_eq!(store.get("k").expect("it runs"), Some(b"1".to_vec()), "it has not run");
}

#[test]
fn a_slow_reply_waits_for_the_clock_of_the_store() {
    let store = store();
    let faults = vec![Fault {
        command: Some("PING".into()),
        share: 1.0,
        harm: Harm::Latency(Duration::from_secs(3600)),
    }];
    store.set_faults(faults).expect("it runs");
    let (mut slow, mut other) = (Client::connect(store.addr()), Client::connect(store.addr()));
    slow.ask(&["PING"]);
    slow.ask(&["SET", "k", "after"]);
    while store.stats().faults == 0 {
        other.call(&["GET", "k"]);
    }
    // Others are served; what the same client has sent later waits too.
    assert_eq!(other.call(&["GET", "k"]), "$-1\r\n");
    store.fast_forward(Duration::from_secs(3599)).expect("it runs");
    assert_eq!(other.call(&["GET", "k"]), "$-1\r\n");
    store.fast_forward(Duration::from_secs(1)).expect("it runs");
    assert_eq!((text(&mut slow), text(&mut slow)), ("+PONG\r\n".to_string(), "+OK\r\n".to_string()));
    assert_eq!(other.call(&["GET", "k"]), "$5\r\nafter\r\n");
}

#[test]
fn counters_tell_what_has_happened() {
    let store = store();
    let (mut one, mut two) = (Client::connect(store.addr()), Client::connect(store.addr()));
    one.call(&["SET", "a", "1"]);
    two.call(&["SET", "b", "1"]);
    // Counters are those of the end of a turn, so one more turn has them all.
    store.execute(["PING"]).expect("it runs");
    store.execute(["PING"]).expect("it runs");
    let stats = store.stats();
    assert_eq!((stats.clients, stats.connections, stats.keys, stats.blocked), (2, 2, 2, 0));
    assert!(stats.commands >= 2);
    drop((one, two));
    while store.stats().clients > 0 {
        store.execute(["PING"]).expect("it runs");
    }
}

#[test]
fn a_store_that_has_been_shut_down_says_so() {
    let store = store();
    let mut client = Client::connect(store.addr());
    assert_eq!(client.call(&["SHUTDOWN", "NOSAVE"]), "");
    while store.is_running() {
        std::thread::yield_now();
    }
    assert!(store.get("k").expect_err("it has ended").to_string().contains("shut down"));
}

#[test]
fn a_delay_and_a_time_out_at_the_same_moment_both_end() {
    let store = store();
    let latency = Harm::Latency(Duration::from_secs(3600));
    let fault = Fault { command: Some("BLPOP".into()), share: 1.0, harm: latency };
    store.set_faults(vec![fault]).expect("it runs");
    let mut client = Client::connect(store.addr());
    client.ask(&["BLPOP", "k", "3600"]);
    while store.stats().blocked == 0 {
        store.execute(["PING"]).expect("it runs");
    }
    store.fast_forward(Duration::from_secs(3600)).expect("it runs");
    assert_eq!(text(&mut client), "*-1\r\n");
}

#[test]
fn keys_expire_by_themselves_after_the_clock_was_set_back() {
    let store = store();
    let mut client = Client::connect(store.addr());
    client.call(&["SET", "k", "v", "EX", "1000000"]);
    store.set_time(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)).expect("it runs");
    client.call(&["SET", "short", "v", "PX", "1"]);
    // Nobody asks for it; a clock that stood still for the search would keep it for years.
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while client.call(&["DBSIZE"]) != ":1\r\n" {
        assert!(std::time::Instant::now() < deadline, "it is still there");
    }
}

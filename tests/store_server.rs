//! What a store tells about itself, and whom it turns away.

#[path = "support/redis_server.rs"]
mod redis_server;
#[expect(dead_code, reason = "not every test that includes this file needs all of it")]
#[path = "support/store_client.rs"]
mod store_client;

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use redis_server::RedisServer;
use runner::store::{Config, Handle, Server};
use runner::wire::resp::encode_command;
use store_client::Client;

/// The next reply, or what is left when the store closes the connection.
fn text(client: &mut Client) -> String {
    String::from_utf8_lossy(&client.reply()).into_owned()
}

/// Whether the store closes a connection without a word. A reset counts as closed.
fn is_closed(client: &mut Client) -> bool {
    let timed_out =
        |error: std::io::Error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
    client.stream.read(&mut [0]).map_or_else(|error| !timed_out(error), |read| read == 0)
}

fn store() -> Handle {
    Server::start(Config::default()).expect("a free port on the loopback")
}

/// The headings and the names of the fields of INFO.
fn info_names(client: &mut Client, sections: &[&str]) -> Vec<String> {
    let text = client.call(&[&["INFO"], sections].concat());
    let lines = text.lines().skip(1).map(|line| line.split(':').next().unwrap_or(line).to_string());
    // Commands come in any order.
    let (mut commands, mut others): (Vec<String>, Vec<String>) =
        lines.partition(|line| line.starts_with("cmdstat_") || line.starts_with("latency_"));
    commands.sort();
    others.append(&mut commands);
    others
}

#[test]
fn info_has_the_fields_of_redis_in_its_order() {
    let (ours, theirs) = (store(), RedisServer::start(&[]));
    let (mut ours, mut theirs) = (Client::connect(ours.addr()), Client::connect(theirs.addr()));
    for client in [&mut ours, &mut theirs] {
        client.call(&["SET", "k", "v"]);
        client.call(&["NOSUCH"]);
        client.call(&["CONFIG", "RESETSTAT"]);
    }
    for sections in [
        &[][..],
        &["default"],
        &["keyspace", "server"],
        &["clients", "nosuch"],
        &["memory"],
        &["MEMORY", "memory"],
        &["nosuch"],
        &["all"],
        &["everything"],
        &["default", "commandstats"],
        &["errorstats"],
        &["latencystats"],
        &["modules", "cpu"],
    ] {
        // What was called since the start differs from section to section, but not between the two.
        assert_eq!(info_names(&mut ours, sections), info_names(&mut theirs, sections), "{sections:?}");
    }
}

/// The value of a field of INFO.
fn info(client: &mut Client, section: &str, field: &str) -> String {
    let text = client.call(&["INFO", section]);
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_default().to_string()
}

#[test]
fn info_counts_what_has_happened() {
    let store = store();
    let mut client = Client::connect(store.addr());
    (0..10).for_each(|_| drop(client.call(&["SET", "k", "v", "EX", "1000"])));
    client.call(&["GET"]);
    client.call(&["INCR", "k"]);
    client.call(&["CONFIG", "GET", "hz"]);
    let stats = info(&mut client, "commandstats", "cmdstat_set");
    assert!(
        stats.starts_with("calls=10,usec=") && stats.ends_with(",rejected_calls=0,failed_calls=0"),
        "{stats}"
    );
    assert!(info(&mut client, "commandstats", "cmdstat_get").contains("rejected_calls=1"));
    assert!(info(&mut client, "commandstats", "cmdstat_incr").contains("failed_calls=1"));
    assert!(info(&mut client, "commandstats", "cmdstat_config|get").starts_with("calls=1,"));
    assert_eq!(info(&mut client, "errorstats", "errorstat_ERR"), "count=2");
    assert!(info(&mut client, "latencystats", "latency_percentiles_usec_set").starts_with("p50="));
    let keyspace = info(&mut client, "keyspace", "db0");
    let ttl: i64 =
        keyspace.strip_prefix("keys=1,expires=1,avg_ttl=").and_then(|ttl| ttl.parse().ok()).expect("one key");
    assert!((900_000..=1_000_000).contains(&ttl), "{ttl}");
    let number =
        |client: &mut Client, field: &str| info(client, "memory", field).parse::<u64>().expect("bytes");
    let (used, peak) = (number(&mut client, "used_memory"), number(&mut client, "used_memory_peak"));
    assert!(used > 0 && peak >= used, "{used} {peak}");
    assert_eq!(client.call(&["CONFIG", "RESETSTAT"]), "+OK\r\n");
    assert_eq!(info(&mut client, "commandstats", "cmdstat_set"), "");
    assert!(info(&mut client, "stats", "total_commands_processed").parse::<u64>().expect("a count") < 5);
}

#[test]
fn commands_a_second_are_those_of_the_last_moments() {
    let store = store();
    let mut client = Client::connect(store.addr());
    for _ in 0..20 {
        (0..100).for_each(|_| client.ask(&["PING"]));
        (0..100).for_each(|_| drop(text(&mut client)));
        store.fast_forward(Duration::from_millis(100)).expect("it runs");
    }
    let rate: u64 = info(&mut client, "stats", "instantaneous_ops_per_sec").parse().expect("a rate");
    assert!((500..=1100).contains(&rate), "{rate}");
    store.fast_forward(Duration::from_secs(60)).expect("it runs");
    let rate: u64 = info(&mut client, "stats", "instantaneous_ops_per_sec").parse().expect("a rate");
    assert!(rate < 100, "{rate}");
}

#[test]
fn help_has_the_shape_and_the_usages_of_redis() {
    let (ours, theirs) = (store(), RedisServer::start(&["--enable-debug-command", "yes"]));
    let lines = |addr: SocketAddr, name: &str| -> Vec<String> {
        Client::connect(addr).call(&[name, "HELP"]).lines().skip(1).map(str::to_string).collect()
    };
    let names =
        ["ACL", "CLIENT", "COMMAND", "CONFIG", "LATENCY", "MEMORY", "MODULE", "OBJECT", "PUBSUB", "SLOWLOG"];
    for name in names {
        let (ours, theirs) = (lines(ours.addr(), name), lines(theirs.addr(), name));
        // Usages stand at the start of a line; what explains them is our own.
        let usages = |lines: &[String]| -> Vec<String> {
            lines.iter().filter(|line| !line.starts_with("+    ")).cloned().collect()
        };
        assert_eq!(usages(&ours), usages(&theirs), "{name}");
        assert_eq!(ours[ours.len() - 2..], theirs[theirs.len() - 2..], "{name}");
    }
}

#[test]
fn monitors_see_commands_but_no_passwords() {
    let (ours, theirs) = (store(), RedisServer::start(&[]));
    let seen = |addr: SocketAddr| -> Vec<String> {
        let (mut monitor, mut client) = (Client::connect(addr), Client::connect(addr));
        assert_eq!(monitor.call(&["MONITOR"]), "+OK\r\n");
        let own = client.stream.local_addr().expect("an address").to_string();
        for line in [
            "AUTH x",
            "AUTH default x",
            "AUTH a b c",
            "HELLO 2 AUTH default x",
            "HELLO 2 SETNAME a AUTH default y",
            "CONFIG GET hz",
            "SELECT 3",
            "GET \"b\\x00\"",
            "MULTI",
            "GET c",
            "EXEC",
            "NOSUCH",
            "GET",
            "CLIENT LIST",
            "PUBLISH a b",
            "ECHO end",
        ] {
            client.stream.write_all(format!("{line}\r\n").as_bytes()).expect("it reads");
            text(&mut client);
        }
        let mut lines = Vec::new();
        while !lines.last().is_some_and(|line: &String| line.contains("end")) {
            // The time in front is another one each time.
            let line = text(&mut monitor);
            let from = line.find('[').expect("a database and an address");
            lines.push(line[from..].replace(&own, "client"));
        }
        lines
    };
    assert_eq!(seen(ours.addr()), seen(theirs.addr()));
}

#[test]
fn what_takes_long_is_kept() {
    let store = store();
    let mut client = Client::connect(store.addr());
    assert_eq!(client.call(&["CONFIG", "SET", "latency-monitor-threshold", "1"]), "+OK\r\n");
    assert_eq!(client.call(&["DEBUG", "SLEEP", "0.005"]), "+OK\r\n");
    let latest = client.call(&["LATENCY", "LATEST"]);
    assert!(latest.starts_with("*1\r\n*4\r\n$7\r\ncommand\r\n:"), "{latest}");
    assert!(client.call(&["LATENCY", "HISTORY", "command"]).starts_with("*1\r\n*2\r\n:"));
    assert!(client.call(&["LATENCY", "GRAPH", "command"]).contains("command - high "));
    assert!(client.call(&["LATENCY", "DOCTOR"]).contains("command: 1 samples"));
    assert_eq!(client.call(&["LATENCY", "RESET", "nosuch", "command"]), ":1\r\n");
    assert_eq!(client.call(&["LATENCY", "LATEST"]), "*0\r\n");
    let histogram = client.call(&["LATENCY", "HISTOGRAM", "debug", "config|set"]);
    assert!(
        histogram.starts_with("*4\r\n") && histogram.contains("$14\r\nhistogram_usec\r\n"),
        "{histogram}"
    );
    // Every command is slow when nothing is fast enough.
    client.call(&["CONFIG", "SET", "slowlog-log-slower-than", "0"]);
    client.call(&["PING"]);
    let log = client.call(&["SLOWLOG", "GET", "1"]);
    assert!(log.starts_with("*1\r\n*6\r\n") && log.contains("*1\r\n$4\r\nPING\r\n"), "{log}");
    client.call(&["CONFIG", "SET", "slowlog-max-len", "2"]);
    assert_eq!(client.call(&["SLOWLOG", "LEN"]), ":2\r\n");
    client.call(&["CONFIG", "SET", "slowlog-log-slower-than", "-1"]);
    client.call(&["SLOWLOG", "RESET"]);
    client.call(&["PING"]);
    assert_eq!(client.call(&["SLOWLOG", "LEN"]), ":0\r\n");
}

#[test]
fn clients_are_listed_with_the_fields_of_redis() {
    let (ours, theirs) = (store(), RedisServer::start(&[]));
    let fields = |addr: SocketAddr, args: &[&str]| -> Vec<String> {
        let mut client = Client::connect(addr);
        client.call(&["CLIENT", "SETNAME", "me"]);
        let line = client.call(args);
        let line = line.lines().find(|line| line.contains("name=me")).expect("its line");
        line.split(' ').map(|field| field.split('=').next().unwrap_or_default().to_string()).collect()
    };
    for args in [&["CLIENT", "LIST"][..], &["CLIENT", "INFO"], &["CLIENT", "LIST", "TYPE", "normal"]] {
        assert_eq!(fields(ours.addr(), args), fields(theirs.addr(), args));
    }
}

/// Sends to a channel until its listener has been closed; whether that happened before `limit` bytes.
fn is_cut(store: &Handle, listener_count: &str, limit: usize) -> bool {
    let mut speaker = Client::connect(store.addr());
    let message = "x".repeat(64 * 1024);
    for _ in 0..limit / message.len() {
        if speaker.call(&["PUBLISH", "news", &message]) == listener_count {
            return true;
        }
    }
    false
}

#[test]
fn a_listener_that_does_not_read_is_closed_and_one_that_may_lag_is_not() {
    let store = store();
    let mut admin = Client::connect(store.addr());
    let set = |admin: &mut Client, limit: &str| {
        assert_eq!(admin.call(&["CONFIG", "SET", "client-output-buffer-limit", limit]), "+OK\r\n");
    };
    set(&mut admin, "pubsub 1mb 0 0");
    let mut slow = Client::connect(store.addr());
    slow.call(&["SUBSCRIBE", "news"]);
    // What the kernel takes does not count, and that may be some megabytes.
    assert!(is_cut(&store, ":0\r\n", 64 << 20));
    assert_eq!(admin.call(&["PUBSUB", "NUMSUB", "news"]), "*2\r\n$4\r\nnews\r\n:0\r\n");
    set(&mut admin, "pubsub 0 0 0");
    let mut patient = Client::connect(store.addr());
    patient.call(&["SUBSCRIBE", "news"]);
    assert!(!is_cut(&store, ":0\r\n", 64 << 20));
    // The soft limit is a matter of time: the clock of the store is moved, nobody waits.
    set(&mut admin, "pubsub 0 1mb 10");
    assert!(!is_cut(&store, ":0\r\n", 128 * 1024));
    store.fast_forward(Duration::from_secs(12)).expect("it runs");
    assert!(is_cut(&store, ":0\r\n", 128 * 1024 * 2));
}

#[test]
fn a_reply_beyond_the_limit_of_its_kind_closes_the_client() {
    let store = store();
    let mut admin = Client::connect(store.addr());
    store.set("large", vec![b'x'; 2 << 20]).expect("it runs");
    store.set("small", vec![b'x'; 512 << 10]).expect("it runs");
    admin.call(&["CONFIG", "SET", "client-output-buffer-limit", "normal 1mb 0 0"]);
    let mut client = Client::connect(store.addr());
    assert_eq!(client.call(&["GET", "small"]).len(), (512 << 10) + 11);
    assert_eq!(client.call(&["GET", "large"]), "");
    assert_eq!(admin.call(&["PING"]), "+PONG\r\n");
}

#[test]
fn silent_clients_are_closed_but_not_those_that_listen_or_wait() {
    let store = store();
    let mut admin = Client::connect(store.addr());
    let (mut idle, mut listener, mut waiting, mut monitor) = (
        Client::connect(store.addr()),
        Client::connect(store.addr()),
        Client::connect(store.addr()),
        Client::connect(store.addr()),
    );
    idle.call(&["PING"]);
    listener.call(&["SUBSCRIBE", "news"]);
    monitor.call(&["MONITOR"]);
    let id = waiting.call(&["CLIENT", "ID"]);
    waiting.ask(&["WAIT", "1", "0"]);
    while store.stats().blocked == 0 {
        admin.call(&["PING"]);
    }
    assert_eq!(admin.call(&["CONFIG", "SET", "timeout", "100"]), "+OK\r\n");
    store.fast_forward(Duration::from_secs(99)).expect("it runs");
    assert_eq!(idle.call(&["PING"]), "+PONG\r\n");
    admin.call(&["PING"]);
    store.fast_forward(Duration::from_secs(99)).expect("it runs");
    admin.call(&["PING"]);
    store.fast_forward(Duration::from_secs(2)).expect("it runs");
    assert!(is_closed(&mut idle));
    assert!(admin.call(&["PUBLISH", "news", "still there"]).starts_with(":1"));
    assert!(text(&mut listener).contains("still there"));
    assert_eq!(admin.call(&["CLIENT", "UNBLOCK", id.trim_matches([':', '\r', '\n'])]), ":1\r\n");
    assert_eq!(text(&mut waiting), ":0\r\n");
}

#[test]
fn input_that_is_never_a_command_is_bounded() {
    let store = store();
    let mut admin = Client::connect(store.addr());
    assert_eq!(admin.call(&["CONFIG", "SET", "client-query-buffer-limit", "1mb"]), "+OK\r\n");
    let value = "x".repeat(1_000_000);
    assert_eq!(admin.call(&["SET", "k", &value]), "+OK\r\n");
    let mut hostile = Client::connect(store.addr());
    let start = b"*2\r\n$3\r\nGET\r\n$500000000\r\n";
    hostile.stream.write_all(start).expect("it reads");
    // Writing fails when the store has closed; until then at most a few megabytes are taken.
    let chunk = vec![b'x'; 64 * 1024];
    let taken = (0..1000).take_while(|_| hostile.stream.write_all(&chunk).is_ok()).count();
    assert!(taken < 1000);
    // Commands that wait for EXEC count as well.
    let mut hoarder = Client::connect(store.addr());
    hoarder.call(&["MULTI"]);
    assert_eq!(hoarder.call(&["SET", "k", &value]), "+QUEUED\r\n");
    // It may be closed before the last byte has been sent.
    let mut command = Vec::new();
    encode_command(&mut command, ["SET", "k", &value]);
    let _ = hoarder.stream.write_all(&command);
    assert!(is_closed(&mut hoarder));
    assert_eq!(admin.call(&["STRLEN", "k"]), ":1000000\r\n");
}

#[test]
fn more_clients_than_there_may_be_are_turned_away() {
    let store = store();
    let mut first = Client::connect(store.addr());
    assert_eq!(first.call(&["CONFIG", "SET", "maxclients", "2"]), "+OK\r\n");
    let mut second = Client::connect(store.addr());
    assert_eq!(second.call(&["PING"]), "+PONG\r\n");
    assert_eq!(text(&mut Client::connect(store.addr())), "-ERR max number of clients reached\r\n");
    assert_eq!(info(&mut first, "stats", "rejected_connections"), "1");
}

#[test]
fn an_argument_may_be_as_long_as_it_is_set() {
    let store = store();
    let mut client = Client::connect(store.addr());
    client.call(&["CONFIG", "SET", "proto-max-bulk-len", "1mb"]);
    assert_eq!(client.call(&["SET", "k", &"x".repeat(1 << 20)]), "+OK\r\n");
    // It is refused for what it announces.
    client.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1048577\r\n");
    assert_eq!(text(&mut client), "-ERR Protocol error: invalid bulk length\r\n");
}

#[test]
fn of_more_tracked_keys_than_may_be_one_is_told_as_changed() {
    let store = store();
    let (mut reader, mut writer) = (Client::connect(store.addr()), Client::connect(store.addr()));
    writer.call(&["CONFIG", "SET", "tracking-table-max-keys", "2"]);
    reader.call(&["HELLO", "3"]);
    assert_eq!(reader.call(&["CLIENT", "TRACKING", "ON"]), "+OK\r\n");
    ["a", "b", "c"].iter().for_each(|key| reader.ask(&["GET", key]));
    let replies: Vec<String> = (0..4).map(|_| text(&mut reader)).collect();
    assert_eq!(replies.iter().filter(|reply| reply.starts_with(">2\r\n$10\r\ninvalidate\r\n")).count(), 1);
    assert_eq!(info(&mut writer, "stats", "tracking_total_keys"), "2");
    assert_eq!(info(&mut writer, "clients", "tracking_clients"), "1");
    drop(reader);
    while info(&mut writer, "clients", "tracking_clients") != "0" {}
    assert_eq!(info(&mut writer, "stats", "tracking_total_keys"), "0");
}

#[test]
fn another_client_can_be_told_of_changed_keys() {
    let (ours, theirs) = (store(), RedisServer::start(&[]));
    let told = |addr: SocketAddr| {
        let (mut listener, mut reader) = (Client::connect(addr), Client::connect(addr));
        let id = listener.call(&["CLIENT", "ID"]);
        let id = id.trim_matches([':', '\r', '\n']);
        listener.call(&["SUBSCRIBE", "__redis__:invalidate"]);
        let mut told = vec![reader.call(&["CLIENT", "TRACKING", "ON", "REDIRECT", id])];
        reader.call(&["GET", "k"]);
        reader.call(&["SET", "k", "v"]);
        told.push(text(&mut listener));
        reader.call(&["GET", "k"]);
        reader.call(&["FLUSHALL"]);
        told.push(text(&mut listener));
        // A client that is gone is told about in RESP3.
        reader.call(&["HELLO", "3"]);
        reader.call(&["GET", "k"]);
        let mut other = Client::connect(addr);
        other.call(&["CLIENT", "KILL", "ID", id]);
        other.call(&["SET", "k", "v"]);
        told.push(text(&mut reader).replace(&format!(":{id}\r\n"), ":listener\r\n"));
        told.push(reader.call(&["CLIENT", "TRACKINGINFO"]).replace(&format!(":{id}\r\n"), ":listener\r\n"));
        told
    };
    assert_eq!(told(ours.addr()), told(theirs.addr()));
}

//! Clients that wait for members of sorted sets, in our store and in redis-server: how long, in which order,
//! and what those who leave do not take with them. The rest stands in `store/sorted_sets_waiting.txt`.

#[path = "support/redis_server.rs"]
mod redis_server;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use redis::{Client, Cmd, Connection, Value, cmd};
use redis_server::RedisServer;
use runner::store::{Config, Server};

/// Runs a test against redis-server and against our store.
fn on_both(test: impl Fn(SocketAddr)) {
    test(RedisServer::start(&[]).addr());
    let ours = Server::start(Config::default()).expect("a free port on the loopback");
    test(ours.addr());
    ours.stop();
}

fn connect(addr: SocketAddr) -> Connection {
    let client = Client::open(format!("redis://{addr}/")).expect("a valid URL");
    let connection = client.get_connection().expect("the server listens");
    connection.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket option");
    connection
}

fn command(words: &str) -> Cmd {
    let mut words = words.split(' ');
    let mut command = cmd(words.next().unwrap_or_default());
    for word in words {
        command.arg(word);
    }
    command
}

fn call(connection: &mut Connection, words: &str) -> Value {
    command(words).query(connection).expect("an answer")
}

fn until_waiting(admin: &mut Connection, count: usize) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let wanted = format!("\r\nblocked_clients:{count}\r\n");
    while !cmd("INFO").arg("clients").query::<String>(admin).expect("text").contains(&wanted) {
        assert!(Instant::now() < deadline, "never {count} clients that wait");
    }
}

/// A client that waits, as the `count`th.
fn waiting(addr: SocketAddr, admin: &mut Connection, count: usize, words: &str) -> Connection {
    let mut connection = connect(addr);
    connection.send_packed_command(&command(words).get_packed_command()).expect("the server reads");
    until_waiting(admin, count);
    connection
}

fn texts(words: &[&str]) -> Value {
    Value::Array(words.iter().map(|word| Value::BulkString(word.as_bytes().to_vec())).collect())
}

#[test]
fn a_time_out_comes_when_it_is_due_and_not_before() {
    on_both(|addr| {
        let mut admin = connect(addr);
        for words in ["BZPOPMIN k 0.15", "BZPOPMAX k l 0.15", "BZMPOP 0.15 2 k l MIN COUNT 3"] {
            let start = Instant::now();
            let mut client = waiting(addr, &mut admin, 1, words);
            // Another type and a key that comes and goes leave the wait as it is.
            call(&mut admin, "SET k x");
            call(&mut admin, "DEL k");
            assert_eq!(client.recv_response().expect("a reply"), Value::Nil);
            assert!(start.elapsed() >= Duration::from_millis(150));
            until_waiting(&mut admin, 0);
            call(&mut admin, "ZADD k 1 a");
            assert_eq!(call(&mut admin, "ZPOPMIN k"), texts(&["a", "1"]));
        }
    });
}

#[test]
fn a_client_that_has_left_swallows_nothing() {
    on_both(|addr| {
        let mut admin = connect(addr);
        let first = waiting(addr, &mut admin, 1, "BZPOPMIN k 0");
        let mut second = waiting(addr, &mut admin, 2, "BZMPOP 0 1 k MAX");
        drop(first);
        until_waiting(&mut admin, 1);
        call(&mut admin, "ZADD k 1 a 2 b");
        let popped =
            Value::Array(vec![Value::BulkString(b"k".to_vec()), Value::Array(vec![texts(&["b", "2"])])]);
        assert_eq!(second.recv_response().expect("a reply"), popped);
        assert_eq!(call(&mut admin, "ZRANGE k 0 -1"), texts(&["a"]));
    });
}

#[test]
fn fifty_clients_are_served_by_one_command_in_the_order_of_their_arrival() {
    on_both(|addr| {
        let mut admin = connect(addr);
        let mut clients: Vec<Connection> =
            (1..=50).map(|count| waiting(addr, &mut admin, count, "BZPOPMIN j k 0")).collect();
        let mut add = cmd("ZADD");
        add.arg("k");
        for n in 0..52 {
            add.arg(n).arg(format!("m{n}"));
        }
        assert_eq!(add.query::<u64>(&mut admin).expect("a number"), 52);
        for (n, client) in clients.iter_mut().enumerate() {
            let expected = texts(&["k", &format!("m{n}"), &n.to_string()]);
            assert_eq!(client.recv_response().expect("a reply"), expected);
        }
        assert_eq!(call(&mut admin, "ZRANGE k 0 -1"), texts(&["m50", "m51"]));
    });
}

#[test]
fn a_wait_is_ended_by_others() {
    on_both(|addr| {
        let mut admin = connect(addr);
        let mut client = connect(addr);
        let id: u64 = cmd("CLIENT").arg("ID").query(&mut client).expect("a number");
        for (reason, fails) in [("TIMEOUT", false), ("ERROR", true)] {
            let words = command("BZPOPMAX k 0").get_packed_command();
            client.send_packed_command(&words).expect("the server reads");
            until_waiting(&mut admin, 1);
            assert_eq!(call(&mut admin, &format!("CLIENT UNBLOCK {id} {reason}")), Value::Int(1));
            let reply = client.recv_response();
            let failed = matches!(reply, Err(_) | Ok(Value::ServerError(_)));
            assert!(failed == fails && (fails || reply == Ok(Value::Nil)), "{reply:?}");
        }
        call(&mut admin, "ZADD k 1 a");
        assert_eq!(call(&mut client, "BZPOPMAX k 0"), texts(&["k", "a", "1"]));
    });
}

//! Clients that wait for a key, in our store and in redis-server: what they see when others come, write
//! and leave. What one client after the other can show stands in `store/blocking.txt`.

#[path = "support/redis_server.rs"]
mod redis_server;
#[path = "support/store_client.rs"]
mod store_client;

use std::collections::HashSet;
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use redis_server::RedisServer;
use runner::store::{Config, Server};
use runner::wire::resp::encode_command;
use store_client::{Client, show};

/// Runs a test against our store and against redis-server.
fn on_both(test: impl Fn(SocketAddr)) {
    let (ours, theirs) = (
        Server::start(Config::default()).expect("a free port on the loopback"),
        RedisServer::start(&["--enable-debug-command", "yes"]),
    );
    test(theirs.addr());
    test(ours.addr());
    ours.stop();
}

/// Goes on when so many clients wait.
fn until_waiting(admin: &mut Client, count: usize) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !admin.call(&["INFO", "clients"]).contains(&format!("\r\nblocked_clients:{count}\r\n")) {
        assert!(Instant::now() < deadline, "never {count} clients that wait");
    }
}

/// How many connections there were, and how many there are.
fn connections(admin: &mut Client) -> (u64, u64) {
    let mut number = |section: &str, name: &str| -> u64 {
        let info = admin.call(&["INFO", section]);
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("{name}: {info}")).trim().parse().expect("a number")
    };
    (number("stats", "total_connections_received"), number("clients", "connected_clients"))
}

/// A client that waits, as the `count`th.
fn waiting(addr: SocketAddr, admin: &mut Client, count: usize, command: &[&str]) -> Client {
    let mut client = Client::connect(addr);
    client.ask(command);
    until_waiting(admin, count);
    client
}

fn popped(key: &str, element: &str) -> String {
    format!("*2\r\n${}\r\n{key}\r\n${}\r\n{element}\r\n", key.len(), element.len())
}

#[test]
fn a_client_that_has_left_swallows_nothing() {
    on_both(|addr| {
        let mut admin = Client::connect(addr);
        let first = waiting(addr, &mut admin, 1, &["BLPOP", "k", "0"]);
        let mut second = waiting(addr, &mut admin, 2, &["BLPOP", "k", "0"]);
        drop(first);
        until_waiting(&mut admin, 1);
        assert_eq!(admin.call(&["RPUSH", "k", "1"]), ":1\r\n");
        assert_eq!(show(&second.reply()), show(popped("k", "1").as_bytes()));
        let third = waiting(addr, &mut admin, 1, &["BLMOVE", "k", "l", "LEFT", "LEFT", "0"]);
        third.stream.shutdown(Shutdown::Write).expect("a connected socket");
        until_waiting(&mut admin, 0);
        assert_eq!(admin.call(&["RPUSH", "k", "2"]), ":1\r\n");
        assert_eq!(admin.call(&["LRANGE", "k", "0", "-1"]), "*1\r\n$1\r\n2\r\n");
        assert_eq!(admin.call(&["EXISTS", "l"]), ":0\r\n");
    });
}

#[test]
fn what_a_client_that_left_has_sent_behind_its_wait_is_not_run() {
    on_both(|addr| {
        let mut admin = Client::connect(addr);
        let mut client = waiting(addr, &mut admin, 1, &["BLPOP", "k", "0"]);
        client.ask(&["SET", "after", "1"]);
        drop(client);
        until_waiting(&mut admin, 0);
        admin.call(&["RPUSH", "k", "1"]);
        assert_eq!(admin.call(&["EXISTS", "after", "k"]), ":1\r\n");
    });
}

#[test]
fn a_wait_is_ended_by_others() {
    on_both(|addr| {
        let mut admin = Client::connect(addr);
        let mut client = Client::connect(addr);
        let id = client.call(&["CLIENT", "ID"]);
        let id = id.trim_start_matches(':').trim_end();
        assert_eq!(admin.call(&["CLIENT", "UNBLOCK", id]), ":0\r\n");
        for (reason, answer) in [
            (&[][..], "*-1\r\n"),
            (&["TIMEOUT"][..], "*-1\r\n"),
            (&["ERROR"][..], "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"),
        ] {
            for command in [&["BLPOP", "k", "0"][..], &["BLMOVE", "k", "l", "LEFT", "LEFT", "9"]] {
                client.ask(command);
                until_waiting(&mut admin, 1);
                assert_eq!(admin.call(&[&["CLIENT", "UNBLOCK", id], reason].concat()), ":1\r\n");
                assert_eq!(show(&client.reply()), show(answer.as_bytes()));
                assert_eq!(admin.call(&["CLIENT", "UNBLOCK", id]), ":0\r\n");
            }
        }
        client.ask(&["BRPOP", "k", "0"]);
        until_waiting(&mut admin, 1);
        assert_eq!(admin.call(&["CLIENT", "KILL", "ID", id]), ":1\r\n");
        assert!(client.rest().is_empty());
        until_waiting(&mut admin, 0);
        admin.call(&["RPUSH", "k", "1"]);
        assert_eq!(admin.call(&["LLEN", "k"]), ":1\r\n");
    });
}

#[test]
fn a_time_out_comes_when_it_is_due_and_not_before() {
    on_both(|addr| {
        let mut admin = Client::connect(addr);
        let start = Instant::now();
        let mut later = waiting(addr, &mut admin, 1, &["BLPOP", "k", "0.3"]);
        let mut sooner = Client::connect(addr);
        sooner.ask(&["BLPOP", "k", "l", "0.05"]);
        assert_eq!(show(&sooner.reply()), "*-1\\r\\n");
        assert!(start.elapsed() >= Duration::from_millis(50));
        assert_eq!(show(&later.reply()), "*-1\\r\\n");
        assert!(start.elapsed() >= Duration::from_millis(300));
        until_waiting(&mut admin, 0);
        admin.call(&["RPUSH", "k", "1"]);
        assert_eq!(later.call(&["BLPOP", "k", "1"]), popped("k", "1"));
    });
}

#[test]
fn a_hundred_clients_are_served_by_one_push_in_the_order_of_their_arrival() {
    on_both(|addr| {
        let mut admin = Client::connect(addr);
        let mut clients: Vec<Client> =
            (1..=100).map(|count| waiting(addr, &mut admin, count, &["BLPOP", "j", "k", "0"])).collect();
        let elements: Vec<String> = (0..103).map(|n| format!("e{n}")).collect();
        let push: Vec<&str> = ["RPUSH", "k"].into_iter().chain(elements.iter().map(String::as_str)).collect();
        assert_eq!(admin.call(&push), ":103\r\n");
        for (client, element) in clients.iter_mut().zip(&elements) {
            assert_eq!(show(&client.reply()), show(popped("k", element).as_bytes()));
        }
        until_waiting(&mut admin, 0);
        assert_eq!(admin.call(&["LLEN", "k"]), ":3\r\n");
    });
}

#[test]
fn ten_thousand_commands_behind_a_wait_are_run_in_their_order_when_it_ends() {
    on_both(|addr| {
        let mut admin = Client::connect(addr);
        let mut client = waiting(addr, &mut admin, 1, &["BLPOP", "k", "0"]);
        let mut batch = Vec::new();
        for n in 0..10_000 {
            encode_command(&mut batch, ["RPUSH".to_string(), "after".to_string(), n.to_string()]);
        }
        encode_command(&mut batch, ["BLPOP", "l", "0"]);
        encode_command(&mut batch, ["LINDEX", "after", "-1"]);
        client.send(&batch);
        assert_eq!(admin.call(&["EXISTS", "after"]), ":0\r\n");
        admin.call(&["RPUSH", "k", "now"]);
        assert_eq!(show(&client.reply()), show(popped("k", "now").as_bytes()));
        for n in 1..=10_000 {
            assert_eq!(show(&client.reply()), format!(":{n}\\r\\n"));
        }
        until_waiting(&mut admin, 1);
        admin.call(&["RPUSH", "l", "end"]);
        assert_eq!(show(&client.reply()), show(popped("l", "end").as_bytes()));
        assert_eq!(show(&client.reply()), "$4\\r\\n9999\\r\\n");
    });
}

#[test]
fn every_element_of_a_queue_reaches_exactly_one_of_many_consumers() {
    const ELEMENTS: usize = 4000;
    on_both(|addr| {
        let consume = |_| {
            std::thread::spawn(move || {
                let (mut client, mut seen) = (Client::connect(addr), Vec::new());
                loop {
                    let reply = client.call(&["BRPOP", "urgent", "queue", "0"]);
                    let element = reply.split("\r\n").nth(4).unwrap_or_default().to_string();
                    if element == "stop" {
                        return seen;
                    }
                    seen.push(element);
                }
            })
        };
        let consumers: Vec<_> = (0..8).map(consume).collect();
        let produce = |producer: usize| {
            std::thread::spawn(move || {
                let mut client = Client::connect(addr);
                for n in (producer..ELEMENTS).step_by(4) {
                    let key = if n % 10 == 0 { "urgent" } else { "queue" };
                    client.call(&["LPUSH", key, &n.to_string()]);
                }
            })
        };
        let producers: Vec<_> = (0..4).map(produce).collect();
        producers.into_iter().for_each(|producer| producer.join().expect("a producer without panic"));
        let mut admin = Client::connect(addr);
        (0..8).for_each(|_| drop(admin.call(&["LPUSH", "queue", "stop"])));
        let seen: Vec<String> = consumers
            .into_iter()
            .flat_map(|consumer| consumer.join().expect("a consumer without panic"))
            .collect();
        assert_eq!(seen.len(), ELEMENTS);
        assert_eq!(seen.into_iter().collect::<HashSet<_>>().len(), ELEMENTS);
        until_waiting(&mut admin, 0);
    });
}

#[test]
fn a_client_that_asks_and_leaves_in_one_breath_swallows_nothing() {
    on_both(|addr| {
        let (mut admin, mut busy) = (Client::connect(addr), Client::connect(addr));
        // While the server is busy, question and farewell arrive together.
        let before = connections(&mut admin);
        busy.ask(&["DEBUG", "SLEEP", "0.2"]);
        for _ in 0..5 {
            Client::connect(addr).ask(&["BLPOP", "k", "0"]);
        }
        assert_eq!(show(&busy.reply()), show(b"+OK\r\n"));
        // All five have come and gone; else one could still ask for what is pushed, and have it.
        let gone = (before.0 + 5, before.1);
        let deadline = Instant::now() + Duration::from_secs(20);
        while connections(&mut admin) != gone {
            assert!(Instant::now() < deadline, "never {gone:?}");
        }
        until_waiting(&mut admin, 0);
        assert_eq!(admin.call(&["RPUSH", "k", "v"]), ":1\r\n");
        assert_eq!(admin.call(&["LLEN", "k"]), ":1\r\n");
        admin.call(&["DEL", "k"]);
    });
}

#[test]
fn a_client_that_is_killed_takes_nothing_more() {
    on_both(|addr| {
        let mut admin = Client::connect(addr);
        let mut victim = Client::connect(addr);
        let id = victim.call(&["CLIENT", "ID"]);
        let id = id.trim_matches([':', '\r', '\n']);
        victim.ask(&["BLPOP", "k", "0"]);
        until_waiting(&mut admin, 1);
        let mut batch = Vec::new();
        encode_command(&mut batch, ["CLIENT", "KILL", "ID", id]);
        encode_command(&mut batch, ["RPUSH", "k", "v"]);
        encode_command(&mut batch, ["LLEN", "k"]);
        admin.send(&batch);
        for _ in 0..3 {
            assert_eq!(show(&admin.reply()), show(b":1\r\n"));
        }
        assert!(victim.rest().is_empty());
        admin.call(&["DEL", "k"]);
    });
}

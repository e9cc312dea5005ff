//! What the store promises in so many words, each on the real binary: bare lines by `nc`, many connections at once
//! without one error, waiting readers, channels, transactions, the protocol.

#[path = "support/redis_server.rs"]
mod redis_server;
#[path = "support/resp_client.rs"]
mod resp_client;
#[path = "support/store_process.rs"]
mod store_process;

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use redis_server::RedisServer;
use resp_client::Client;
use store_process::{Store, finish};

/// Lets this process open as many connections as it may; `needed` are needed.
fn raise_descriptors(needed: u64) {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("raised as far as is allowed");
    }
    assert!(
        hard > needed + 100,
        "this test needs {needed} file descriptors (`ulimit -Hn`), {hard} are allowed"
    );
}

fn connect_all(addr: SocketAddr, count: usize) -> Vec<Client> {
    raise_descriptors(count as u64);
    (0..count).map(|_| Client::connect(addr)).collect()
}

/// Waits until INFO says so.
fn until_info(addr: SocketAddr, line: &str) {
    let mut asking = Client::connect(addr);
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while !asking.ask("INFO clients").contains(&format!(r"\r\n{line}\r\n")) {
        assert!(std::time::Instant::now() < deadline, "gave up waiting for {line}");
    }
}

/// Types lines into `nc` and returns what it prints.
fn nc(addr: SocketAddr, lines: &str) -> String {
    let mut input = tempfile::tempfile().expect("a file");
    input.write_all(lines.as_bytes()).expect("written");
    std::io::Seek::rewind(&mut input).expect("rewound");
    let mut command = Command::new("nc");
    // -N closes the sending side at the end of the input; the store answers what it has got, and closes.
    command.args(["-N", &addr.ip().to_string(), &addr.port().to_string()]).stdin(Stdio::from(input));
    let output = finish(&mut command, "the package netcat-openbsd");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn nc_sets_and_gets_with_bare_lines() {
    let store = Store::start(&[]);
    assert_eq!(nc(store.addr(), "SET k v\nGET k\n"), "+OK\r\n$1\r\nv\r\n");
    assert_eq!(nc(store.addr(), "GET k\r\nget none\r\n"), "$1\r\nv\r\n$-1\r\n");
    assert_eq!(
        nc(store.addr(), "set user1 \"Alice and Bob\"\n\n  GET   user1\nNOSUCH\nPING\nQUIT\nPING\n"),
        {
            "+OK\r\n$13\r\nAlice and Bob\r\n-ERR unknown command 'NOSUCH', with args beginning with: \r\n+PONG\r\n+OK\r\n"
        }
    );
    // Several at once, each on a connection of its own.
    let addr = store.addr();
    let many: Vec<_> = (0..20)
        .map(|n| {
            std::thread::spawn(move || {
                nc(addr, &format!("SET own:{n} {n}\nGET own:{n}\n"))
                    == format!("+OK\r\n${}\r\n{n}\r\n", n.to_string().len())
            })
        })
        .collect();
    assert!(many.into_iter().all(|one| one.join().expect("no panic")));
}

/// Every connection is open at the same time; each sets a key of its own and a common one, and gets both, five times.
fn sets_and_gets_without_one_error(count: usize) {
    let store = Store::start(&[]);
    let mut clients = connect_all(store.addr(), count);
    until_info(store.addr(), &format!("connected_clients:{}", count + 1));
    for round in 0..5 {
        for (n, client) in clients.iter_mut().enumerate() {
            let value = format!("{n}-{round}");
            client.send(
                format!("SET own:{n} {value}\r\nSET common {value}\r\nGET own:{n}\r\nGET common\r\n")
                    .as_bytes(),
            );
        }
        for (n, client) in clients.iter_mut().enumerate() {
            let value = format!("{n}-{round}");
            assert_eq!((client.reply(), client.reply()), (r"+OK\r\n".into(), r"+OK\r\n".into()));
            assert_eq!(client.reply(), format!(r"${}\r\n{value}\r\n", value.len()));
            // Somebody's value of this round or the one before, whole.
            let common = client.reply();
            assert!(
                common.ends_with(&format!(r"-{round}\r\n"))
                    || common.ends_with(&format!(r"-{}\r\n", round - 1))
            );
        }
    }
    assert_eq!(Client::connect(store.addr()).ask("DBSIZE"), format!(r":{}\r\n", count + 1));
    assert!(Client::connect(store.addr()).ask("INFO stats").contains(r"\r\nrejected_connections:0\r\n"));
    drop(clients);
    until_info(store.addr(), "connected_clients:1");
}

#[test]
fn five_hundred_connections_set_and_get_without_one_error() {
    sets_and_gets_without_one_error(500);
}

#[test]
fn eight_hundred_connections_set_and_get_without_one_error() {
    sets_and_gets_without_one_error(800);
}

#[test]
fn a_thousand_connections_set_and_get_without_one_error() {
    sets_and_gets_without_one_error(1000);
}

#[test]
fn twelve_hundred_connections_set_and_get_without_one_error() {
    sets_and_gets_without_one_error(1200);
}

#[test]
fn five_thousand_connections_set_and_get_without_one_error() {
    sets_and_gets_without_one_error(5000);
}

#[test]
fn who_has_waited_longest_in_blpop_is_served_first() {
    let store = Store::start(&[]);
    let mut pusher = Client::connect(store.addr());
    let mut waiting = connect_all(store.addr(), 50);
    for (n, client) in waiting.iter_mut().enumerate() {
        // The command behind it waits as well, and is answered after it.
        client.tell("BLPOP other q 0");
        client.tell("ECHO after");
        until_info(store.addr(), &format!("blocked_clients:{}", n + 1));
    }
    // Some are served one by one, some by one push together.
    for n in 0..10 {
        assert_eq!(pusher.ask(&format!("RPUSH q {n}")), r":1\r\n");
    }
    let rest: Vec<String> = (10..52).map(|n| n.to_string()).collect();
    assert_eq!(pusher.ask(&format!("RPUSH q {}", rest.join(" "))), r":42\r\n");
    for (n, client) in waiting.iter_mut().enumerate() {
        let value = n.to_string();
        assert_eq!(client.reply(), format!(r"*2\r\n$1\r\nq\r\n${}\r\n{value}\r\n", value.len()));
        assert_eq!(client.reply(), r"$5\r\nafter\r\n");
    }
    assert_eq!(pusher.ask("LRANGE q 0 -1"), r"*2\r\n$2\r\n50\r\n$2\r\n51\r\n");
    assert_eq!(waiting[0].ask("BLPOP other 0.01"), r"*-1\r\n");
    until_info(store.addr(), "blocked_clients:0");
}

#[test]
fn a_client_that_leaves_while_it_waits_takes_no_element_with_it() {
    let store = Store::start(&[]);
    let mut waiting = connect_all(store.addr(), 20);
    for client in &mut waiting {
        client.tell("BLPOP q 0");
    }
    until_info(store.addr(), "blocked_clients:20");
    drop(waiting);
    until_info(store.addr(), "blocked_clients:0");
    let mut pusher = Client::connect(store.addr());
    assert_eq!(pusher.ask("RPUSH q a"), r":1\r\n");
    assert_eq!(pusher.ask("LPOP q"), r"$1\r\na\r\n");
}

#[test]
fn readers_that_wait_in_xread_all_get_the_entry() {
    let store = Store::start(&[]);
    let mut writer = Client::connect(store.addr());
    assert_eq!(writer.ask("XADD s 1-1 n 1"), r"$3\r\n1-1\r\n");
    let mut readers = connect_all(store.addr(), 20);
    for reader in &mut readers {
        reader.tell("XREAD BLOCK 0 STREAMS none s $ $");
    }
    until_info(store.addr(), "blocked_clients:20");
    assert_eq!(writer.ask("XADD s 2-1 n 2"), r"$3\r\n2-1\r\n");
    for reader in &mut readers {
        let entry = r"*1\r\n*2\r\n$3\r\n2-1\r\n*2\r\n$1\r\nn\r\n$1\r\n2\r\n";
        assert_eq!(reader.reply(), format!(r"*1\r\n*2\r\n$1\r\ns\r\n{entry}"));
    }
    assert_eq!(readers[0].ask("XREAD BLOCK 5 STREAMS s $"), r"*-1\r\n");
    // An entry that is there already is given at once.
    assert!(readers[0].ask("XREAD BLOCK 0 STREAMS s 1-1").contains(r"$3\r\n2-1\r\n"));
}

#[test]
fn a_message_reaches_five_hundred_subscribers_in_order() {
    let store = Store::start(&[]);
    let mut publisher = Client::connect(store.addr());
    let mut subscribers = connect_all(store.addr(), 500);
    for (n, subscriber) in subscribers.iter_mut().enumerate() {
        let (word, name) = if n % 2 == 0 { ("SUBSCRIBE", "news") } else { ("PSUBSCRIBE", "n*") };
        subscriber.tell(&format!("{word} {name}"));
        assert!(subscriber.reply().ends_with(r":1\r\n"));
    }
    for n in 0..100 {
        publisher.tell(&format!("PUBLISH news message-{n:02}"));
    }
    for _ in 0..100 {
        assert_eq!(publisher.reply(), r":500\r\n");
    }
    for (n, subscriber) in subscribers.iter_mut().enumerate() {
        let start = if n % 2 == 0 {
            r"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n"
        } else {
            r"*4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$4\r\nnews\r\n"
        };
        for m in 0..100 {
            assert_eq!(subscriber.reply(), format!(r"{start}$10\r\nmessage-{m:02}\r\n"));
        }
    }
    drop(subscribers);
    until_info(store.addr(), "connected_clients:2");
    assert_eq!(publisher.ask("PUBLISH news x"), r":0\r\n");
}

#[test]
fn transactions_of_interleaved_clients_do_not_mix() {
    let store = Store::start(&[]);
    let mut clients = connect_all(store.addr(), 50);
    // Every client is in the middle of its transaction while the others begin and end theirs.
    for round in 0..10 {
        for client in &mut clients {
            assert_eq!(client.ask("MULTI"), r"+OK\r\n");
        }
        for (n, client) in clients.iter_mut().enumerate() {
            for command in ["INCR a", "INCR b", "GET a", "GET b"] {
                assert_eq!(client.ask(command), r"+QUEUED\r\n");
            }
            // Some change their mind.
            if n % 5 == 4 {
                assert_eq!(client.ask("DISCARD"), r"+OK\r\n");
            }
        }
        let mut done = round * 40;
        for (n, client) in clients.iter_mut().enumerate().filter(|(n, _)| n % 5 != 4) {
            done += 1;
            let text = format!(r"${}\r\n{done}\r\n", done.to_string().len());
            assert_eq!(
                client.ask("EXEC"),
                format!(r"*4\r\n:{done}\r\n:{done}\r\n{text}{text}"),
                "client {n}"
            );
        }
    }
    // Who has watched a key that somebody else has written does nothing.
    let [one, two, ..] = &mut clients[..] else { panic!("fifty clients") };
    assert_eq!(one.ask("WATCH a"), r"+OK\r\n");
    assert_eq!(two.ask("SET a 0"), r"+OK\r\n");
    assert_eq!((one.ask("MULTI"), one.ask("SET a 1"), one.ask("EXEC")), {
        (r"+OK\r\n".into(), r"+QUEUED\r\n".into(), r"*-1\r\n".into())
    });
    assert_eq!(one.ask("GET a"), r"$1\r\n0\r\n");
    assert_eq!((one.ask("MULTI"), one.ask("NOSUCH").starts_with("-ERR unknown command"), one.ask("EXEC")), {
        (r"+OK\r\n".into(), true, r"-EXECABORT Transaction discarded because of previous errors.\r\n".into())
    });
}

/// Replies of every kind, in the order of `commands`, from one server.
fn replies(addr: SocketAddr, protocol: &str, commands: &[&str]) -> Vec<String> {
    let mut client = Client::connect(addr);
    client.ask(&format!("HELLO {protocol}"));
    commands.iter().map(|command| format!("{command}: {}", client.ask(command))).collect()
}

#[test]
fn every_kind_of_reply_is_written_as_redis_writes_it() {
    let (theirs, ours) = (RedisServer::start(&[]), Store::start(&[]));
    let commands = [
        // Simple strings, errors, integers, bulk strings, nothing.
        "PING",
        "ECHO text",
        "SET k v",
        "GET k",
        "GET none",
        "SET empty ",
        "GET empty",
        "INCR n",
        "DECRBY n 5",
        "INCR k",
        "NOSUCH a b",
        "GET",
        "HGET k f",
        "TYPE k",
        "TYPE none",
        "SELECT 99",
        // Arrays, flat, nested and empty; none where an array is expected.
        "MGET k none n",
        "RPUSH l a b",
        "LRANGE l 0 -1",
        "LRANGE none 0 -1",
        "LPOP none 2",
        "BLPOP none 0.001",
        "XADD s 1-1 f v",
        "XRANGE s - +",
        "XREAD STREAMS s 0",
        "XREAD STREAMS s 1-1",
        "XINFO GROUPS s",
        // What RESP3 has more of: maps, sets, doubles, booleans by number, null.
        "HSET h f 1",
        "HGETALL h",
        "HGETALL none",
        "HRANDFIELD h 1 WITHVALUES",
        "CONFIG GET maxmemory",
        "CONFIG GET no-such",
        "SADD t x",
        "SMEMBERS t",
        "SMEMBERS none",
        "SISMEMBER t x",
        "SMISMEMBER t x y",
        "SPOP none",
        "ZADD z 1.5 a 2 b",
        "ZSCORE z a",
        "ZSCORE z none",
        "ZMSCORE z a none",
        "ZRANGE z 0 -1 WITHSCORES",
        "ZINCRBY z 0.1 a",
        "ZADD z INCR inf b",
        "ZPOPMIN z",
        "ZRANK z b",
        "INCRBYFLOAT n 0.5",
        "HINCRBYFLOAT h f 0.25",
        "OBJECT ENCODING l",
        "MULTI",
        "GET k",
        "HGETALL h",
        "EXEC",
        "EXEC",
        "SUBSCRIBE c",
        "UNSUBSCRIBE c",
        "UNSUBSCRIBE",
        "CLIENT GETNAME",
        "RESET",
    ];
    for protocol in ["2", "3"] {
        let [found, expected] = [ours.addr(), theirs.addr()].map(|addr| replies(addr, protocol, &commands));
        let differ: Vec<_> =
            found.iter().zip(&expected).filter(|(found, expected)| found != expected).collect();
        assert!(differ.is_empty(), "RESP{protocol}, found and expected: {differ:#?}");
        for addr in [ours.addr(), theirs.addr()] {
            Client::connect(addr).ask("FLUSHALL");
        }
    }
}

#[test]
fn hello_tells_who_is_there_and_changes_the_protocol() {
    let store = Store::start(&[]);
    let mut client = Client::connect(store.addr());
    let two = client.ask("HELLO 2");
    assert!(
        two.starts_with(
            r"*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:2\r\n"
        ),
        "{two}"
    );
    assert_eq!(client.ask("GET none"), r"$-1\r\n");
    let three = client.ask("HELLO 3 SETNAME me");
    assert!(
        three.starts_with(r"%7\r\n$6\r\nserver\r\n") && three.contains(r"$5\r\nproto\r\n:3\r\n"),
        "{three}"
    );
    assert_eq!(
        (client.ask("GET none"), client.ask("CLIENT GETNAME")),
        (r"_\r\n".into(), r"$2\r\nme\r\n".into())
    );
    assert_eq!(client.ask("HELLO 4"), r"-NOPROTO unsupported protocol version\r\n");
    assert_eq!(client.ask("HELLO 2 WRONG"), r"-ERR Syntax error in HELLO option \'WRONG\'\r\n");
}

#[test]
fn client_names_lists_and_closes_connections() {
    let store = Store::start(&[]);
    let (mut one, mut two) = (Client::connect(store.addr()), Client::connect(store.addr()));
    assert_eq!(one.ask("CLIENT SETNAME one"), r"+OK\r\n");
    assert_eq!(one.ask("CLIENT GETNAME"), r"$3\r\none\r\n");
    assert!(one.ask("CLIENT SETNAME a\tb").starts_with("-ERR Client names cannot contain spaces"));
    let ids =
        [one.ask("CLIENT ID"), two.ask("CLIENT ID")].map(|id| id[1..].trim_end_matches(r"\r\n").to_string());
    assert_ne!(ids[0], ids[1]);
    let list = two.ask("CLIENT LIST");
    assert!(list.contains(&format!("id={} ", ids[0])) && list.contains(" name=one "), "{list}");
    assert!(two.ask(&format!("CLIENT LIST ID {}", ids[1])).contains(" cmd=client|list "));
    assert!(two.ask("CLIENT INFO").contains(&format!("id={} ", ids[1])));
    assert_eq!(two.ask(&format!("CLIENT KILL ID {}", ids[0])), r":1\r\n");
    assert_eq!(one.reply(), "");
    assert_eq!(two.ask("CLIENT KILL ID 999999"), r":0\r\n");
    assert!(two.is_silent());
}

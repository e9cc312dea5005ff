//! redis-rs against one server, on both its synchronous and its asynchronous connections.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::streams::{
    StreamAutoClaimReply, StreamId, StreamInfoGroupsReply, StreamPendingReply, StreamReadOptions,
    StreamReadReply,
};
use redis::{
    AsyncCommands, AsyncConnectionConfig, Client, Commands, Connection, ErrorKind, ExistenceCheck, Expiry,
    PushInfo, PushKind, RedisResult, ServerErrorKind, SetExpiry, SetOptions, Value, cmd, pipe,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// One server over one protocol.
#[derive(Clone, Copy)]
pub struct Party {
    pub addr: SocketAddr,
    pub protocol: u8,
}

impl Party {
    fn client(&self) -> Client {
        Client::open(format!("redis://{}/?protocol=resp{}", self.addr, self.protocol)).expect("a valid URL")
    }

    fn connect(&self) -> Connection {
        let connection = self.client().get_connection().expect("the server listens");
        connection.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        connection
    }

    /// A connection to the emptied server.
    fn empty(&self) -> Connection {
        let mut connection = self.connect();
        cmd("FLUSHALL").exec(&mut connection).expect("flushed");
        connection
    }
}

type Check = (&'static str, fn(&Party));

/// Every check, in order.
pub const CHECKS: &[Check] = &[
    ("values", values),
    ("collections", collections),
    ("pipelines and transactions", pipelines_and_transactions),
    ("blocking pops", blocking_pops),
    ("streams", streams),
    ("messages", messages),
    ("pushes", pushes),
    ("errors", errors),
    ("info and clients", info_and_clients),
    ("a new connection", a_new_connection),
];

fn until(what: &str, mut ready: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !ready() {
        assert!(Instant::now() < deadline, "gave up waiting for {what}");
    }
}

fn info(r: &mut Connection, name: &str) -> i64 {
    let info: redis::InfoDict = cmd("INFO").query(r).expect("INFO");
    info.get(name).unwrap_or_else(|| panic!("INFO has no {name}"))
}

fn code<T: std::fmt::Debug>(result: RedisResult<T>) -> (String, String) {
    let error = result.expect_err("it is refused");
    (error.code().unwrap_or_default().to_string(), error.detail().unwrap_or_default().to_string())
}

fn values(party: &Party) {
    let mut r = party.empty();
    let hello: BTreeMap<String, Value> = cmd("HELLO").query(&mut r).expect("HELLO");
    assert_eq!(hello["proto"], Value::Int(party.protocol.into()));
    assert_eq!(hello["version"], Value::BulkString(b"7.0.15".to_vec()));
    let () = r.set("k", "v").expect("SET");
    assert_eq!(r.get::<_, Option<String>>("k"), Ok(Some("v".into())));
    assert_eq!(r.get::<_, Option<String>>("none"), Ok(None));
    let options = SetOptions::default()
        .conditional_set(ExistenceCheck::XX)
        .get(true)
        .with_expiration(SetExpiry::EX(100));
    assert_eq!(r.set_options::<_, _, Option<String>>("k", "w", options), Ok(Some("v".into())));
    assert!((90..=100).contains(&r.ttl::<_, i64>("k").expect("TTL")));
    assert_eq!(r.get_ex::<_, String>("k", Expiry::PERSIST), Ok("w".into()));
    assert_eq!(r.ttl::<_, i64>("k"), Ok(-1));
    let () = r.mset(&[("a", 1), ("b", 2)]).expect("MSET");
    assert_eq!(r.mget::<_, Vec<Option<i64>>>(&["a", "none", "b"]), Ok(vec![Some(1), None, Some(2)]));
    assert_eq!(r.incr::<_, _, i64>("a", 9), Ok(10));
    assert_eq!(r.incr::<_, _, f64>("a", 0.5), Ok(10.5));
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let () = r.set(&bytes, &bytes).expect("SET");
    assert_eq!(r.get::<_, Vec<u8>>(&bytes), Ok(bytes));
    let () = r.pset_ex("soon", "v", 5).expect("PSETEX");
    until("the expiry", || r.exists("soon") == Ok(false));
}

fn collections(party: &Party) {
    let mut r = party.empty();
    let () = r.hset_multiple("h", &[("f", 1), ("g", 2)]).expect("HSET");
    let all: BTreeMap<String, i64> = r.hgetall("h").expect("HGETALL");
    assert_eq!(all, BTreeMap::from([("f".into(), 1), ("g".into(), 2)]));
    assert_eq!(r.rpush::<_, _, i64>("l", &["a", "b", "c"]), Ok(3));
    assert_eq!(r.lrange::<_, Vec<String>>("l", 0, -1), Ok(vec!["a".into(), "b".into(), "c".into()]));
    assert_eq!(r.lpop::<_, Vec<String>>("l", "2".parse().ok()), Ok(vec!["a".into(), "b".into()]));
    assert_eq!(r.sadd::<_, _, i64>("s", &[1, 2, 3]), Ok(3));
    assert_eq!(r.smembers::<_, BTreeSet<i64>>("s"), Ok(BTreeSet::from([1, 2, 3])));
    assert_eq!(r.sismember::<_, _, bool>("s", 9), Ok(false));
    let () = r.zadd_multiple("z", &[(1.0, "a"), (2.5, "b"), (f64::INFINITY, "c")]).expect("ZADD");
    let ranked: Vec<(String, f64)> = r.zrange_withscores("z", 0, -1).expect("ZRANGE");
    assert_eq!(ranked, [("a".into(), 1.0), ("b".into(), 2.5), ("c".into(), f64::INFINITY)]);
    assert_eq!(r.zscore::<_, _, Option<f64>>("z", "none"), Ok(None));
    assert_eq!(r.zrank::<_, _, i64>("z", "b"), Ok(1));
    assert_eq!(r.zpopmin::<_, Vec<(String, f64)>>("z", 1), Ok(vec![("a".into(), 1.0)]));

    let mut many = pipe();
    (0..3000).for_each(|n| {
        many.hset("big", n, n).ignore().set(format!("record:{n}"), n).ignore();
    });
    many.exec(&mut r).expect("written");
    let fields: BTreeMap<i64, i64> = r.hscan("big").expect("HSCAN").map(|row| row.expect("a row")).collect();
    assert_eq!(fields.len(), 3000);
    let keys: BTreeSet<String> =
        r.scan_match("record:*").expect("SCAN").map(|key| key.expect("a key")).collect();
    assert_eq!(keys.len(), 3000);
}

fn pipelines_and_transactions(party: &Party) {
    let mut r = party.empty();
    let mut many = pipe();
    (0..10_000).for_each(|_| {
        many.incr("n", 1);
    });
    assert_eq!(many.query::<Vec<i64>>(&mut r), Ok((1..=10_000).collect()));
    assert_eq!(many.atomic().query::<Vec<i64>>(&mut r), Ok((10_001..=20_000).collect()));
    let mixed: (String, Option<String>, i64) =
        pipe().atomic().set("k", 1).get("none").incr("k", 1).query(&mut r).expect("EXEC");
    assert_eq!(mixed, ("OK".into(), None, 2));

    let mut other = party.connect();
    cmd("WATCH").arg("k").exec(&mut r).expect("WATCH");
    let () = other.set("k", 5).expect("SET");
    assert_eq!(pipe().atomic().set("k", 6).query::<Option<Vec<String>>>(&mut r), Ok(None));
    // The helper tries until nobody was in between.
    let mut tries = 0;
    let sum: (i64,) = redis::transaction(&mut r, &["k"], |r, tx| {
        let value: i64 = r.get("k")?;
        tries += 1;
        if tries < 3 {
            let () = other.incr("k", 1)?;
        }
        tx.set("k", value * 10).ignore().get("k").query(r)
    })
    .expect("a transaction");
    assert_eq!((sum.0, tries), (70, 3));

    cmd("MULTI").exec(&mut r).expect("MULTI");
    assert_eq!(cmd("SET").arg("k").arg(1).query::<String>(&mut r), Ok("QUEUED".into()));
    assert!(cmd("NOSUCH").query::<Value>(&mut r).is_err());
    assert_eq!(code(cmd("EXEC").query::<Value>(&mut r)).0, "EXECABORT");
}

fn blocking_pops(party: &Party) {
    let mut r = party.empty();
    let mut waiting = Vec::new();
    for n in 1..=4 {
        let mut other = party.connect();
        waiting.push(std::thread::spawn(move || other.blpop::<_, (String, i64)>(&["q", "p"], 0.0)));
        until("one more blocked client", || info(&mut r, "blocked_clients") == n);
    }
    let () = r.rpush("q", &[0, 1, 2, 3]).expect("RPUSH");
    for (n, waiting) in (0..).zip(waiting) {
        assert_eq!(waiting.join().expect("no panic"), Ok(("q".to_string(), n)));
    }
    assert_eq!(r.exists("q"), Ok(false));
    assert_eq!(r.blpop::<_, Option<(String, String)>>("q", 0.02), Ok(None));
    let mut other = party.connect();
    let late = std::thread::spawn(move || other.bzpopmin::<_, (String, String, f64)>("z", 0.0));
    until("a blocked client", || info(&mut r, "blocked_clients") == 1);
    let () = r.zadd("z", "a", 1.5).expect("ZADD");
    assert_eq!(late.join().expect("no panic"), Ok(("z".into(), "a".into(), 1.5)));
}

fn ids(reply: &StreamReadReply) -> Vec<(&str, Vec<&str>)> {
    fn of(entries: &[StreamId]) -> Vec<&str> {
        entries.iter().map(|entry| entry.id.as_str()).collect()
    }
    reply.keys.iter().map(|key| (key.key.as_str(), of(&key.ids))).collect()
}

fn streams(party: &Party) {
    let mut r = party.empty();
    for n in 1..=5 {
        assert_eq!(r.xadd::<_, _, _, _, String>("s", format!("{n}-0"), &[("n", n)]), Ok(format!("{n}-0")));
    }
    let read: StreamReadReply = r.xread(&["s"], &["3-0"]).expect("XREAD");
    assert_eq!(ids(&read), [("s", vec!["4-0", "5-0"])]);
    assert_eq!(read.keys[0].ids[0].get::<i64>("n"), Some(4));
    let () = r.xgroup_create("s", "g", "0").expect("XGROUP");
    assert_eq!(code(r.xgroup_create::<_, _, _, String>("s", "g", "0")).0, "BUSYGROUP");
    let options = StreamReadOptions::default().group("g", "one").count(2);
    let read: StreamReadReply = r.xread_options(&["s"], &[">"], &options).expect("XREADGROUP");
    assert_eq!(ids(&read), [("s", vec!["1-0", "2-0"])]);
    assert_eq!(r.xack::<_, _, _, i64>("s", "g", &["1-0"]), Ok(1));
    let pending: StreamPendingReply = r.xpending("s", "g").expect("XPENDING");
    let StreamPendingReply::Data(pending) = pending else { panic!("nothing is pending") };
    assert_eq!(
        (pending.count, pending.start_id.as_str(), pending.consumers[0].name.as_str()),
        (1, "2-0", "one")
    );
    let claimed: StreamAutoClaimReply =
        r.xautoclaim_options("s", "g", "two", 0, "0-0", Default::default()).expect("XAUTOCLAIM");
    assert_eq!((claimed.next_stream_id.as_str(), claimed.claimed[0].id.as_str()), ("0-0", "2-0"));
    let groups: StreamInfoGroupsReply = r.xinfo_groups("s").expect("XINFO");
    assert_eq!((groups.groups[0].consumers, groups.groups[0].pending, groups.groups[0].lag), (2, 1, Some(3)));

    let mut other = party.connect();
    let late = std::thread::spawn(move || {
        let options = StreamReadOptions::default().block(0);
        other.xread_options::<_, _, StreamReadReply>(&["s", "t"], &["$", "$"], &options)
    });
    until("a blocked client", || info(&mut r, "blocked_clients") == 1);
    let () = r.xadd("t", "9-9", &[("late", 1)]).expect("XADD");
    assert_eq!(ids(&late.join().expect("no panic").expect("an entry")), [("t", vec!["9-9"])]);
}

fn messages(party: &Party) {
    let (mut r, mut subscriber) = (party.empty(), party.connect());
    let mut pubsub = subscriber.as_pubsub();
    pubsub.subscribe(&["news", "sport"]).expect("SUBSCRIBE");
    pubsub.psubscribe("n*s").expect("PSUBSCRIBE");
    assert_eq!(r.publish::<_, _, i64>("news", "one"), Ok(2));
    let mut seen = BTreeSet::new();
    for _ in 0..2 {
        let message = pubsub.get_message().expect("a message");
        let pattern: Option<String> = message.get_pattern().expect("a pattern or none");
        let text: String = message.get_payload().expect("text");
        seen.insert((pattern, message.get_channel_name().to_string(), text));
    }
    let expected = [None, Some("n*s".to_string())].map(|pattern| (pattern, "news".into(), "one".into()));
    assert_eq!(seen, BTreeSet::from(expected));
    let mut many = pipe();
    (0..1000).for_each(|n| {
        many.publish("sport", n);
    });
    assert_eq!(many.query::<Vec<i64>>(&mut r), Ok(vec![1; 1000]));
    for n in 0..1000 {
        assert_eq!(pubsub.get_message().expect("a message").get_payload::<i64>(), Ok(n));
    }
    pubsub.unsubscribe("sport").expect("UNSUBSCRIBE");
    // The rest is unsubscribed by this.
    drop(pubsub);
    assert_eq!(r.publish::<_, _, i64>("news", "two"), Ok(0));
    assert_eq!(subscriber.set::<_, _, String>("k", "v"), Ok("OK".into()));
}

/// RESP3 only: one connection carries commands and messages.
fn pushes(party: &Party) {
    if party.protocol != 3 {
        return;
    }
    asynchronous(async {
        let (sender, mut received) = tokio::sync::mpsc::unbounded_channel::<PushInfo>();
        let config = AsyncConnectionConfig::new().set_push_sender(sender);
        let mut both =
            party.client().get_multiplexed_async_connection_with_config(&config).await.expect("a connection");
        both.subscribe("news").await.expect("SUBSCRIBE");
        both.psubscribe("n*s").await.expect("PSUBSCRIBE");
        assert_eq!(both.publish::<_, _, i64>("news", "one").await, Ok(2));
        assert_eq!(both.set::<_, _, String>("k", "v").await, Ok("OK".into()));
        let mut kinds = Vec::new();
        while kinds.len() < 4 {
            kinds.push(received.recv().await.expect("a push").kind);
        }
        assert_eq!(kinds, [PushKind::Subscribe, PushKind::PSubscribe, PushKind::Message, PushKind::PMessage]);
        both.unsubscribe("news").await.expect("UNSUBSCRIBE");
        assert_eq!(received.recv().await.expect("a push").kind, PushKind::Unsubscribe);
    });
}

fn errors(party: &Party) {
    let mut r = party.empty();
    let () = r.set("s", "text").expect("SET");
    let wrong = ("WRONGTYPE".into(), "Operation against a key holding the wrong kind of value".into());
    assert_eq!(code(r.hget::<_, _, String>("s", "f")), wrong);
    let error = r.incr::<_, _, i64>("s", 1).expect_err("no number");
    assert_eq!(error.kind(), ErrorKind::Server(ServerErrorKind::ResponseError));
    assert_eq!(error.detail(), Some("value is not an integer or out of range"));
    let error = cmd("NOSUCH").arg("a").query::<Value>(&mut r).expect_err("no such command");
    assert_eq!(error.detail(), Some("unknown command 'NOSUCH', with args beginning with: 'a' "));
    // An error in a pipeline is one reply of it; the rest is answered.
    assert!(pipe().set("a", 1).incr("s", 1).set("b", 2).query::<Vec<Value>>(&mut r).is_err());
    assert_eq!(r.mget::<_, Vec<i64>>(&["a", "b"]), Ok(vec![1, 2]));
}

fn info_and_clients(party: &Party) {
    let mut r = party.empty();
    assert_eq!(info(&mut r, "tcp_port"), party.addr.port().into());
    let config: BTreeMap<String, String> =
        cmd("CONFIG").arg("GET").arg("maxmemory").query(&mut r).expect("CONFIG");
    assert_eq!(config, BTreeMap::from([("maxmemory".into(), "0".into())]));
    assert_eq!(r.client_setname::<_, String>("first"), Ok("OK".into()));
    assert_eq!(r.client_getname::<Option<String>>(), Ok(Some("first".into())));
    let list: String = cmd("CLIENT").arg("LIST").query(&mut r).expect("CLIENT LIST");
    assert!(list.contains(" name=first "), "{list}");
    let commands: Vec<Value> = cmd("COMMAND").arg("INFO").arg("get").query(&mut r).expect("COMMAND INFO");
    assert_eq!(commands.len(), 1);
}

fn a_new_connection(party: &Party) {
    let mut r = party.empty();
    asynchronous(async {
        let config = ConnectionManagerConfig::new().set_min_delay(Duration::from_millis(1));
        let mut manager =
            ConnectionManager::new_with_config(party.client(), config).await.expect("a connection");
        let () = manager.set("k", "v").await.expect("SET");
        let id: i64 = manager.client_id().await.expect("CLIENT ID");
        let killed = cmd("CLIENT").arg("KILL").arg("ID").arg(id).query::<i64>(&mut r);
        assert_eq!(killed, Ok(1));
        // The first call may meet the closed connection.
        let mut found = manager.get::<_, String>("k").await;
        if found.is_err() {
            found = manager.get("k").await;
        }
        assert_eq!(found, Ok("v".into()));
        assert_ne!(manager.client_id::<i64>().await, Ok(id));
    });
}

fn asynchronous(run: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(PATIENCE, run).await.expect("in time") });
}

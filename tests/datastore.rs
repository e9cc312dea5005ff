//! The datastore against a real `redis-server`: what it answers, and what happens when it does not.
//!
//! Needs Debian's `redis-server` in the path.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use runner::clock::Stopwatch;
use runner::datastore::{Config, Datastore, Error, WriteBatch};
use runner::records::{self, Fill, Generator};

/// A `redis-server` of its own folder and port, gone when dropped.
struct Server {
    child: Child,
    port: u16,
    password: Option<&'static str>,
    folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Server {
        Server::with_password(None)
    }

    fn with_password(password: Option<&'static str>) -> Server {
        let folder = tempfile::tempdir().expect("a folder");
        // Another process may take the free port before the server does: then try the next.
        for _ in 0..20 {
            let port = free_port();
            if let Some(child) = launch(port, password, &folder) {
                return Server { child, port, password, folder };
            }
        }
        panic!("redis-server finds no free port");
    }

    fn stop(&mut self) {
        self.child.kill().expect("the server can be stopped");
        self.child.wait().expect("the server has ended");
    }

    /// Again on the same port, with nothing in it.
    fn start_again(&mut self) {
        self.child = launch(self.port, self.password, &self.folder).expect("the port is still free");
    }

    fn config(&self) -> Config {
        let login = self.password.map_or_else(String::new, |password| format!(":{password}@"));
        Config { url: format!("redis://{login}127.0.0.1:{}", self.port), timeout: Duration::from_millis(500) }
    }

    async fn connect(&self) -> Datastore {
        // A busy machine may need longer than the time that the tests of time-outs use.
        let config = Config { timeout: Duration::from_secs(10), ..self.config() };
        Datastore::connect(&config).await.expect("the server answers")
    }

    /// Says something to the server outside of the datastore.
    fn cli(&self, args: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        command.args(["-p", &self.port.to_string()]);
        if let Some(password) = self.password {
            command.args(["--no-auth-warning", "-a", password]);
        }
        let output = command.args(args).output().expect("redis-cli is there");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

/// Starts a server and waits until it says that it is ready; `None` when the port was taken.
fn launch(port: u16, password: Option<&str>, folder: &tempfile::TempDir) -> Option<Child> {
    let socket = folder.path().join("redis.sock");
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    command.args(["--unixsocket", &socket.to_string_lossy()]);
    command.args(["--enable-debug-command", "yes", "--dir", &folder.path().to_string_lossy()]);
    if let Some(password) = password {
        command.args(["--requirepass", password]);
    }
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("redis-server is installed");
    let mut log = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut line = String::new();
    while log.read_line(&mut line).is_ok_and(|n| n > 0) {
        if line.contains("Ready to accept connections") {
            // Keep reading, so that the server never waits for its log to be read.
            std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
            return Some(child);
        }
        line.clear();
    }
    let _ = child.wait();
    None
}

#[tokio::test]
async fn keys_come_back_in_their_order_and_other_types_as_missing() {
    let server = Server::start();
    let datastore = server.connect().await;
    let mut batch = WriteBatch::new();
    batch.set(b"a", b"1");
    batch.set(b"binary", &[0, 255, 13, 10]);
    batch.hset(b"hash", &[("f", "v")]);
    let results = datastore.write(&batch).await.expect("written");
    assert_eq!(results, [Ok(()), Ok(()), Ok(())]);

    let values = datastore.get_many(&["binary", "none", "hash", "a"]).await.expect("values");
    assert_eq!(values, [Some(vec![0, 255, 13, 10]), None, None, Some(b"1".to_vec())]);
    assert_eq!(datastore.get_many::<&str>(&[]).await, Ok(Vec::new()));
}

#[tokio::test]
async fn more_keys_than_one_mget_holds_are_read_in_one_go() {
    let server = Server::start();
    let datastore = server.connect().await;
    let pairs: Vec<(String, String)> = (0..2500).map(|i| (format!("k{i}"), format!("v{i}"))).collect();
    datastore.set_many(&pairs).await.expect("written");
    let keys: Vec<&String> = pairs.iter().map(|(key, _)| key).collect();
    let values = datastore.get_many(&keys).await.expect("values");
    assert!(values.iter().zip(&pairs).all(|(got, (_, value))| got.as_deref() == Some(value.as_bytes())));
}

#[tokio::test]
async fn what_the_server_refuses_is_told_command_by_command() {
    let server = Server::start();
    let datastore = server.connect().await;
    let mut batch = WriteBatch::new();
    batch.set(b"text", b"1");
    batch.hset(b"text", &[("f", "v")]);
    batch.hset(b"hash", &[("f", "v"), ("g", "w"), ("h", "x")]);
    batch.expire(b"hash", Duration::from_secs(100));
    batch.xadd(b"hash", &[("f", "v")]);
    let results = datastore.write(&batch).await.expect("the connection holds");
    let refused: Vec<usize> = (0..results.len()).filter(|&i| results[i].is_err()).collect();
    assert_eq!(refused, [1, 4]);
    assert!(results[1].as_ref().is_err_and(|message| message.starts_with("WRONGTYPE ")), "{:?}", results[1]);
    assert_eq!(server.cli(&["HGET", "hash", "h"]), "x");
    assert_eq!(server.cli(&["TTL", "hash"]), "100");
    datastore.ping().await.expect("the same connection");

    batch.clear();
    assert_eq!(datastore.write(&batch).await, Ok(Vec::new()));
}

#[tokio::test]
async fn mappings_are_read_back_from_hashes_and_streams() {
    let server = Server::start();
    let datastore = server.connect().await;
    let mut batch = WriteBatch::new();
    batch.hset(b"h", &[("response_id", "r1")]);
    batch.xadd(b"s", &[("response_id", "r1"), ("n", "1")]);
    batch.xadd(b"s", &[("n", "2"), ("response_id", "r2")]);
    batch.set(b"t", b"x");
    datastore.write(&batch).await.expect("written");
    let keys = ["h", "s", "t", "none"];
    let hashes = datastore.hget_many(&keys, b"response_id").await.expect("hashes");
    assert_eq!(hashes, [Some(b"r1".to_vec()), None, None, None]);
    let newest = datastore.xlast_many(&keys, b"response_id").await.expect("streams");
    assert_eq!(newest, [None, Some(b"r2".to_vec()), None, None]);
    assert_eq!(datastore.xlen_many(&keys).await, Ok(vec![None, Some(2), None, Some(0)]));
}

#[tokio::test]
async fn records_are_generated_counted_and_cleared() {
    let server = Server::start();
    let datastore = server.connect().await;
    server.cli(&["SET", "record:7", "mine"]);
    server.cli(&["SET", "other", "mine"]);
    let generator = Generator::new("record:{id}", r#"{"id":{id}}"#).expect("templates");

    let mut heard = 0;
    let filled = generator.fill(&datastore, 1..=12_000, Fill::Missing, |done| heard = done.asked).await;
    let filled = filled.expect("filled");
    assert_eq!((filled.asked, filled.written, heard), (12_000, 11_999, 12_000));
    assert_eq!(records::count(&datastore, "record:*").await, Ok(12_000));
    assert_eq!(server.cli(&["GET", "record:7"]), "mine");
    assert_eq!(server.cli(&["GET", "record:12000"]), r#"{"id":12000}"#);

    let filled = generator.fill(&datastore, 1..=12_000, Fill::All, |_| {}).await.expect("filled");
    assert_eq!(filled.written, 12_000);
    assert_eq!(server.cli(&["GET", "record:7"]), r#"{"id":7}"#);
    assert_eq!(records::clear(&datastore, "record:*").await, Ok(12_000));
    assert_eq!(server.cli(&["DBSIZE"]), "1");
}

#[tokio::test]
async fn a_walk_over_the_keys_sees_each_of_them() {
    let server = Server::start();
    let datastore = server.connect().await;
    let pairs: Vec<(String, &str)> = (0..3000).map(|i| (format!("k:{i}"), "")).collect();
    datastore.set_many(&pairs).await.expect("written");
    let (mut seen, mut cursor) = (BTreeSet::new(), Some(0));
    while let Some(at) = cursor {
        let scanned = datastore.scan(b"k:*", at).await.expect("a step");
        seen.extend(scanned.keys);
        cursor = scanned.next;
    }
    assert_eq!(seen.len(), 3000);
}

#[tokio::test]
async fn a_unix_socket_and_another_database_can_be_named() {
    let server = Server::start();
    let url = format!("unix://{}?db=3", server.folder.path().join("redis.sock").display());
    let datastore =
        Datastore::connect(&Config { url, timeout: Duration::from_secs(10) }).await.expect("a connection");
    datastore.set_many(&[("a", "1")]).await.expect("written");
    assert_eq!(server.cli(&["-n", "3", "GET", "a"]), "1");
    assert_eq!(server.cli(&["GET", "a"]), "");
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let config =
        Config { url: format!("redis://:secret@127.0.0.1:{}", free_port()), timeout: Duration::from_secs(5) };
    let error = Datastore::connect(&config).await.expect_err("nobody is there");
    assert!(matches!(error, Error::Unreachable { .. }) && error.is_away(), "{error}");
    let text = error.to_string();
    assert!(text.contains("Connection refused") && text.contains("redis://:***@127.0.0.1"), "{text}");
}

#[tokio::test]
async fn somebody_who_says_nothing_is_a_timeout() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let url = format!("redis://{}", listener.local_addr().expect("it is bound"));
    let watch = Stopwatch::start();
    let error = Datastore::connect(&Config { url, timeout: Duration::from_millis(100) }).await;
    let error = error.expect_err("nobody answers");
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    assert!(watch.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn somebody_who_speaks_something_else_is_an_error() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let url = format!("redis://{}", listener.local_addr().expect("it is bound"));
    let talker = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        let (mut stream, _) = listener.accept().await.expect("a client");
        stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await.expect("written");
        stream
    });
    let error = Datastore::connect(&Config { url, timeout: Duration::from_secs(5) }).await;
    let error = error.expect_err("no Redis");
    assert!(!error.to_string().is_empty() && !matches!(error, Error::Auth { .. }), "{error}");
    drop(talker.await);
}

#[tokio::test]
async fn a_server_that_is_still_loading_is_away() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let url = format!("redis://{}", listener.local_addr().expect("it is bound"));
    let server = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut stream, _) = listener.accept().await.expect("a client");
        let mut request = [0; 256];
        while stream.read(&mut request).await.is_ok_and(|n| n > 0) {
            let said = b"-LOADING Redis is loading the dataset in memory\r\n";
            stream.write_all(said).await.expect("written");
        }
    });
    let error = Datastore::connect(&Config { url, timeout: Duration::from_secs(5) }).await;
    let error = error.expect_err("it is not ready");
    assert!(matches!(error, Error::Loading { .. }) && error.is_away(), "{error}");
    server.await.expect("the connection was closed");
}

#[tokio::test]
async fn a_wrong_or_missing_password_is_a_refused_login() {
    let server = Server::with_password(Some("secret"));
    let good = server.config();
    for url in [good.url.replace("secret", "wrong"), good.url.replace(":secret@", "")] {
        let config = Config { url, timeout: Duration::from_secs(10) };
        let error = Datastore::connect(&config).await.expect_err("no login");
        assert!(matches!(error, Error::Auth { .. }) && !error.is_away(), "{error}");
        assert!(!error.to_string().contains("wrong@"), "{error}");
    }
    let datastore = server.connect().await;
    datastore.set_many(&[("a", "1")]).await.expect("logged in");
}

#[tokio::test]
async fn it_comes_back_after_the_server_was_stopped_and_started() {
    let mut server = Server::start();
    let datastore = server.connect().await;
    datastore.set_many(&[("a", "1")]).await.expect("written");

    server.stop();
    let error = datastore.set_many(&[("a", "2")]).await.expect_err("the server is gone");
    assert!(error.is_away(), "{error}");
    let error = datastore.ping().await.expect_err("the server is gone");
    assert!(error.is_away(), "{error}");

    server.start_again();
    datastore.back().await.expect("it is there again");
    let mut batch = WriteBatch::new();
    batch.set(b"a", b"3");
    assert_eq!(datastore.write(&batch).await, Ok(vec![Ok(())]));
    assert_eq!(server.cli(&["GET", "a"]), "3");
}

#[tokio::test]
async fn waiting_for_it_spans_the_time_it_is_away() {
    let mut server = Server::start();
    let datastore = server.connect().await;
    server.stop();
    assert!(datastore.ping().await.is_err());
    let waiting = tokio::spawn({
        let datastore = datastore.clone();
        async move { datastore.back().await }
    });
    // At least one attempt must fail first.
    while !matches!(datastore.ping().await, Err(Error::Unreachable { .. })) {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished());
    server.start_again();
    waiting.await.expect("the task ends").expect("it is there again");
    datastore.ping().await.expect("it answers");
}

#[tokio::test]
async fn a_server_that_falls_silent_is_noticed_in_time_and_found_again() {
    let server = Server::start();
    let datastore = Datastore::connect(&server.config()).await.expect("the server answers");
    server.cli(&["CLIENT", "PAUSE", "1500", "ALL"]);
    let watch = Stopwatch::start();
    let error = datastore.set_many(&[("a", "1")]).await.expect_err("it does not answer");
    assert!(matches!(error, Error::Timeout { .. }) && error.is_away(), "{error}");
    assert!(watch.elapsed() >= Duration::from_millis(400));

    datastore.back().await.expect("it answers again");
    // What was sent while it was silent may have been done since: writing it again does no harm.
    datastore.set_many(&[("a", "1")]).await.expect("written");
    assert_eq!(server.cli(&["GET", "a"]), "1");
}

#[tokio::test]
async fn a_slow_command_of_somebody_else_does_not_break_the_connection() {
    let server = Server::start();
    let datastore = server.connect().await;
    let port = server.port.to_string();
    let mut sleeper = Command::new("redis-cli")
        .args(["-p", &port, "DEBUG", "SLEEP", "0.2"])
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-cli is there");
    for _ in 0..50 {
        datastore.ping().await.expect("late, but an answer");
    }
    sleeper.wait().expect("it ends");
}

#[tokio::test]
async fn calls_of_several_tasks_share_one_connection() {
    let server = Server::start();
    let datastore = server.connect().await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..20 {
        let datastore = datastore.clone();
        tasks.spawn(async move {
            let pairs: Vec<(String, String)> =
                (0..100).map(|i| (format!("{task}:{i}"), String::new())).collect();
            datastore.set_many(&pairs).await
        });
    }
    while let Some(result) = tasks.join_next().await {
        result.expect("no panic").expect("written");
    }
    assert_eq!(server.cli(&["DBSIZE"]), "2000");
    let received = server.cli(&["INFO", "stats"]);
    // One connection of the datastore, and two of redis-cli.
    assert!(received.contains("total_connections_received:3"), "{received}");
}

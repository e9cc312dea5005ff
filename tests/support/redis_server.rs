//! Debian's `redis-server` on a free port, for tests that compare with it or load it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server process. Dropping it ends it.
pub struct RedisServer {
    child: Child,
    addr: SocketAddr,
    dir: tempfile::TempDir,
}

impl RedisServer {
    /// Starts one without persistence, with more settings in `args`, and waits until it answers.
    ///
    /// # Panics
    /// When there is no `redis-server` (install the package of that name), or it does not start.
    pub fn start(args: &[&str]) -> RedisServer {
        RedisServer::start_with(|| args.iter().map(|arg| arg.to_string()).collect())
    }

    /// The same with settings that are made anew for each attempt, such as a further free port.
    ///
    /// # Panics
    /// As [`RedisServer::start`].
    pub fn start_with(mut args: impl FnMut() -> Vec<String>) -> RedisServer {
        // Another process may take the free port before the server does: then the server ends, and
        // the next port is tried.
        for _ in 0..5 {
            let args = args();
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            if let Some(server) = RedisServer::try_start(&args) {
                return server;
            }
        }
        panic!("redis-server did not start on any of five free ports");
    }

    fn try_start(args: &[&str]) -> Option<RedisServer> {
        let dir = tempfile::tempdir().expect("a folder for the server");
        let addr = free_addr();
        let child = spawn(addr, args, dir.path());
        let mut server = RedisServer { child, addr, dir };
        server.is_listening().then_some(server)
    }

    /// Waits until the server listens; false when it has ended instead. A port that answers proves nothing:
    /// it may be somebody else's. The server writes its pid file once it has the port.
    fn is_listening(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            if pid_file(self.dir.path()).exists() && TcpStream::connect(self.addr).is_ok() {
                return true;
            }
            std::thread::yield_now();
        }
        false
    }

    /// Ends the process and keeps its port in mind.
    #[allow(dead_code, reason = "not every test that includes this file stops its server")]
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again, empty, on the same port, after [`RedisServer::stop`].
    ///
    /// # Panics
    /// When it does not start.
    #[allow(dead_code, reason = "not every test that includes this file stops its server")]
    pub fn start_again(&mut self) {
        let _ = std::fs::remove_file(pid_file(self.dir.path()));
        self.child = spawn(self.addr, &[], self.dir.path());
        assert!(self.is_listening(), "redis-server did not start again");
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // It keeps nothing, so it need not be asked.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(addr: SocketAddr, args: &[&str], dir: &Path) -> Child {
    Command::new("redis-server")
        .args(["--port", &addr.port().to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no", "--pidfile", &pid_file(dir).display().to_string()])
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is needed for this test: install the package redis-server")
}

fn pid_file(dir: &Path) -> PathBuf {
    dir.join("redis.pid")
}

fn free_addr() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("the port of a listener")
}

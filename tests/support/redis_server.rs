//! Debian's `redis-server` on a free port, for tests that compare with it or load it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server process. Dropping it ends it.
pub struct RedisServer {
    child: Child,
    addr: SocketAddr,
    _dir: tempfile::TempDir,
}

impl RedisServer {
    /// Starts one without persistence, with more settings in `args`, and waits until it answers.
    ///
    /// # Panics
    /// When there is no `redis-server` (install the package of that name), or it does not start.
    pub fn start(args: &[&str]) -> RedisServer {
        // Another process may take the free port before the server does: then the server ends, and
        // the next port is tried.
        for _ in 0..5 {
            if let Some(server) = RedisServer::try_start(args) {
                return server;
            }
        }
        panic!("redis-server did not start on any of five free ports");
    }

    fn try_start(args: &[&str]) -> Option<RedisServer> {
        let dir = tempfile::tempdir().expect("a folder for the server");
        let addr = free_addr();
        let child = Command::new("redis-server")
            .args(["--port", &addr.port().to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
            .args(args)
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is needed for this test: install the package redis-server");
        let mut server = RedisServer { child, addr, _dir: dir };
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            if TcpStream::connect(addr).is_ok() {
                return Some(server);
            }
            if !matches!(server.child.try_wait(), Ok(None)) {
                return None;
            }
            std::thread::yield_now();
        }
        None
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

fn free_addr() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("the port of a listener")
}

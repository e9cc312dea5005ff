//! Listener: connections, bounded in number and in how long they may keep anybody waiting.
//!
//! 1. At most [`MAX_CONNECTIONS`] at one time; more wait in the kernel's queue.
//! 2. The head of a request has to arrive in time, also the first and that of the next on a connection that is
//!    kept: a silent client is closed.
//! 3. A client that does not read what it asked for is closed by the kernel.
//! 4. At the end, those that are being answered get their answer, for a bounded time.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::clock;

/// Connections at one time.
const MAX_CONNECTIONS: usize = 256;

/// Bytes of the head of a request; a longer one is answered with 431.
const MAX_HEAD: usize = 64 << 10;

/// How long what was sent may stay unread.
const UNREAD: Duration = Duration::from_secs(30);

/// How soon to accept again when there was no descriptor left.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Where requests come from, and who answers them.
pub(super) struct Listener {
    pub listener: TcpListener,
    pub router: Router,
    pub head_timeout: Duration,
}

impl Listener {
    /// Accepts and answers until `stop`; what is open then is returned.
    pub(super) async fn run(self, stop: impl Future<Output = ()>) -> GracefulShutdown {
        let open = GracefulShutdown::new();
        let seats = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(self.head_timeout).max_buf_size(MAX_HEAD);
        let mut stop = std::pin::pin!(stop);
        loop {
            let accepted = tokio::select! {
                () = &mut stop => return open,
                accepted = self.accept(&seats) => accepted,
            };
            let Some((stream, seat)) = accepted else {
                clock::sleep(ACCEPT_AGAIN).await;
                continue;
            };
            let service = TowerToHyperService::new(self.router.clone());
            let connection = open.watch(http.serve_connection(TokioIo::new(stream), service));
            tokio::spawn(async move {
                // A client that is gone or speaks something else is its own business.
                let _ = connection.await;
                drop(seat);
            });
        }
    }

    async fn accept(&self, seats: &Arc<Semaphore>) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
        // The semaphore is never closed.
        let seat = seats.clone().acquire_owned().await.ok()?;
        let (stream, _) = self.listener.accept().await.ok()?;
        let socket = SockRef::from(&stream);
        // A socket that is gone already says so when it is read.
        let _ = socket.set_tcp_nodelay(true);
        let _ = socket.set_tcp_user_timeout(Some(UNREAD));
        Some((stream, seat))
    }
}

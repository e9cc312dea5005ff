//! Responder: the other end of the wire. It answers every request with a unique response id, counts
//! what it issues, and closes each connection cleanly after its limit.
//!
//! One thread accepts on all ports and hands connections to the threads in turn; each thread runs one
//! current-thread runtime and counts for itself.

mod ids;
mod serving;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::watch;

use crate::wire::Codec;

/// Connections that may wait to be accepted, on each port.
const BACKLOG: i32 = 4096;

/// What the responder is to do.
#[derive(Debug, Clone)]
pub struct Config {
    /// The local address.
    pub bind: IpAddr,
    /// The first port; 0 picks free ones.
    pub first_port: u16,
    /// How many ports.
    pub ports: u16,
    /// How requests and responses look.
    pub codec: Codec,
    /// Responses on one connection, then it is closed; 0 for no limit.
    pub limit: u64,
    /// How long each response is held back.
    pub delay: Duration,
    /// Threads that serve connections.
    pub threads: usize,
}

/// Why the responder could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else listens there.
    #[error("listen on {address}: the port is in use")]
    InUse {
        /// The address.
        address: SocketAddr,
    },
    /// The system refuses.
    #[error("listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Its reason.
        source: io::Error,
    },
    /// The ports run past the last one.
    #[error("listen on {ports} ports from {first_port}: there is no port above 65535")]
    PortsRunOut {
        /// The first port.
        first_port: u16,
        /// How many were asked for.
        ports: u16,
    },
    /// The system gives no thread or runtime.
    #[error("start a responder thread: {0}")]
    Thread(io::Error),
}

/// What the responder has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections closed because they had come to their limit.
    pub closed_at_limit: u64,
    /// Response ids issued.
    pub issued: u64,
    /// Connections given up because their bytes were no request.
    pub malformed: u64,
}

/// Counters of one thread. Only that thread writes them.
#[derive(Debug, Default)]
struct Counters {
    accepted: AtomicU64,
    closed_at_limit: AtomicU64,
    issued: AtomicU64,
    malformed: AtomicU64,
}

/// A responder that is running. Dropping it stops it.
#[derive(Debug)]
pub struct Responder {
    addresses: Vec<SocketAddr>,
    counters: Arc<[Counters]>,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl Responder {
    /// Binds all ports, or none, and starts answering.
    ///
    /// # Errors
    /// When a port is taken or the system gives no socket or thread.
    pub fn start(config: &Config) -> Result<Responder, Error> {
        let listeners = bind_all(config)?;
        let mut addresses = Vec::with_capacity(listeners.len());
        for listener in &listeners {
            addresses.push(listener.local_addr().map_err(Error::Thread)?);
        }
        let threads = config.threads.max(1);
        let counters: Arc<[Counters]> = (0..threads).map(|_| Counters::default()).collect();
        let (stop, stopped) = watch::channel(false);
        let mut responder = Responder { addresses, counters, stop, threads: Vec::new() };
        let (inboxes, mut outboxes): (Vec<_>, Vec<_>) =
            (0..threads).map(|_| tokio::sync::mpsc::unbounded_channel()).unzip();
        let instance = ids::new_instance();
        let mut listeners = Some(listeners);
        for (number, inbox) in outboxes.drain(..).enumerate() {
            let serving = serving::Serving {
                config: config.clone(),
                number,
                instance: instance.clone(),
                ports: responder.addresses.iter().map(SocketAddr::port).collect(),
                counters: responder.counters.clone(),
                inbox,
                stopped: stopped.clone(),
            };
            let accepting = listeners.take().map(|listeners| (listeners, inboxes.clone()));
            let spawned = std::thread::Builder::new()
                .name(format!("responder-{number}"))
                .spawn(move || serving.run(accepting))
                .map_err(Error::Thread)?;
            responder.threads.push(spawned);
        }
        Ok(responder)
    }

    /// Where it listens, one address a port.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What it has counted so far.
    pub fn stats(&self) -> Stats {
        let sum = |of: fn(&Counters) -> &AtomicU64| self.counters.iter().map(|c| of(c).load(Relaxed)).sum();
        Stats {
            accepted: sum(|c| &c.accepted),
            closed_at_limit: sum(|c| &c.closed_at_limit),
            issued: sum(|c| &c.issued),
            malformed: sum(|c| &c.malformed),
        }
    }

    /// Closes all connections and waits for the threads.
    pub fn stop(mut self) -> Stats {
        self.halt();
        self.stats()
    }

    fn halt(&mut self) {
        let _ = self.stop.send(true);
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so on stderr.
            let _ = thread.join();
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.halt();
    }
}

fn bind_all(config: &Config) -> Result<Vec<TcpListener>, Error> {
    let (first_port, ports) = (config.first_port, config.ports);
    if first_port != 0 && u32::from(first_port) + u32::from(ports) > 65_536 {
        return Err(Error::PortsRunOut { first_port, ports });
    }
    (0..ports)
        .map(|offset| {
            let port = if first_port == 0 { 0 } else { first_port + offset };
            let address = SocketAddr::new(config.bind, port);
            listen(address).map_err(|source| match source.kind() {
                io::ErrorKind::AddrInUse => Error::InUse { address },
                _ => Error::Listen { address, source },
            })
        })
        .collect()
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Lets a restart have its ports back while old connections are in TIME_WAIT; it does not let
    // two listeners share a port.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

//! Hot path
//!
//! One connection: its output, what is in flight on it, and how much of its limit is left.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::IpBindAddressNoPort;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;

use crate::clock;
use crate::engine::inflight::Inflight;

/// A request that waits: its chunk and its place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Queued {
    pub chunk: u32,
    pub item: u32,
}

/// A request whose frame is in the output buffer but not yet with the kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pending {
    pub queued: Queued,
    /// Where its frame begins in the output buffer.
    pub start: usize,
}

/// One open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub slot: usize,
    pub generation: u64,
    pub address: u16,
    pub opened_ns: u64,
    pub connect_time: Duration,
    pub writer: OwnedWriteHalf,
    pub reader: Option<JoinHandle<()>>,
    pub limit: u64,
    /// Requests that were put into the output, sent or not.
    pub used: u64,
    pub sent: u64,
    pub matched: u64,
    pub received: u64,
    pub inflight: Inflight,
    pub pending: VecDeque<Pending>,
    pub output: Vec<u8>,
    pub written: usize,
    /// The start of a frame whose end has not come yet.
    pub partial: Vec<u8>,
    /// It is in the list of connections to be written to.
    pub dirty: bool,
    /// A task waits until the socket takes more.
    pub blocked: bool,
}

impl Connection {
    /// Requests that it may still carry.
    #[inline]
    pub(crate) fn room(&self) -> u64 {
        self.limit - self.used
    }

    /// Requests that fill its window.
    #[inline]
    pub(crate) fn outstanding(&self) -> usize {
        self.inflight.waiting() + self.pending.len()
    }

    /// Forgets what is written, once that is the greater part: a peer that reads slowly but steadily
    /// may never let the buffer run empty.
    pub(crate) fn compact(&mut self) {
        if self.written * 2 <= self.output.len() {
            return;
        }
        self.output.drain(..self.written);
        for pending in &mut self.pending {
            pending.start -= self.written;
        }
        self.written = 0;
    }

    /// It has carried its limit and everything on it has ended.
    #[inline]
    pub(crate) fn is_used_up(&self) -> bool {
        self.used >= self.limit && self.outstanding() == 0
    }
}

/// Opens a connection without delay of small writes, from `source` where one is named.
///
/// # Errors
/// Those of the system; [`io::ErrorKind::TimedOut`] when `limit` has passed.
pub(crate) async fn open(
    address: SocketAddr,
    source: Option<IpAddr>,
    limit: Duration,
) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(source) = source {
        // The port is chosen when the destination is known, or each source address would give no
        // more connections than there are ports.
        setsockopt(&socket, IpBindAddressNoPort, &true)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    let socket = TcpSocket::from_std_stream(socket.into());
    match clock::timeout(limit, socket.connect(address)).await {
        Some(connected) => connected,
        None => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer within connect_timeout")),
    }
}

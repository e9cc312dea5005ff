//! Bytes to and from a server. Nothing waits without looking up: every wait has a bound, or ends with Ctrl-C and
//! with the connection.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use socket2::{SockRef, TcpKeepalive};

use super::Error;
use super::address::Place;
use crate::clock::Stopwatch;

/// How long one wait lasts until its bound is looked at.
const TICK: Duration = Duration::from_millis(500);
/// A server that is silent for so long is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Ctrl-C, where it shall end what is being waited for and not the program.
#[derive(Debug, Default)]
pub struct Interrupts(Option<SignalFd>);

impl Interrupts {
    /// From now on Ctrl-C does not end the program.
    ///
    /// # Errors
    /// When the system gives no descriptor.
    pub fn watch() -> io::Result<Interrupts> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGINT);
        mask.thread_block()?;
        Ok(Interrupts(Some(SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?)))
    }

    /// Forgets those that have come; whether there were any.
    pub fn take(&self) -> bool {
        let Some(signals) = &self.0 else { return false };
        let mut any = false;
        while let Ok(Some(_)) = signals.read_signal() {
            any = true;
        }
        any
    }
}

/// A time that may run out.
#[derive(Debug)]
pub struct Deadline {
    watch: Stopwatch,
    within: Duration,
}

impl Deadline {
    /// It begins now.
    pub fn within(within: Duration) -> Deadline {
        Deadline { watch: Stopwatch::start(), within }
    }

    /// Whether it has passed.
    pub fn is_over(&self) -> bool {
        self.left().is_zero()
    }

    fn left(&self) -> Duration {
        self.within.saturating_sub(self.watch.elapsed())
    }
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection that never blocks by itself.
#[derive(Debug)]
pub struct Socket {
    stream: Stream,
    name: String,
    interrupts: Rc<Interrupts>,
}

impl Socket {
    /// Connects to `place` within `timeout`.
    ///
    /// # Errors
    /// [`Error::Connect`].
    pub fn connect(place: &Place, timeout: Duration, interrupts: Rc<Interrupts>) -> Result<Socket, Error> {
        let name = place.to_string();
        let connected = match place {
            Place::Tcp(host, port) => tcp(host, *port, timeout).map(Stream::Tcp),
            Place::Unix(path) => UnixStream::connect(path)
                .and_then(|stream| stream.set_nonblocking(true).map(|()| Stream::Unix(stream))),
        };
        match connected {
            Ok(stream) => Ok(Socket { stream, name, interrupts }),
            Err(source) => Err(Error::Connect { address: name, source }),
        }
    }

    /// Whether Ctrl-C was pressed since the last time.
    pub fn was_interrupted(&self) -> bool {
        self.interrupts.take()
    }

    /// The server, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads what is there, at most as much as fits; `None` when nothing is, 0 at the end.
    ///
    /// # Errors
    /// [`Error::Broken`].
    pub fn try_read(&mut self, space: &mut [u8]) -> Result<Option<usize>, Error> {
        let read = match &mut self.stream {
            Stream::Tcp(stream) => stream.read(space),
            Stream::Unix(stream) => stream.read(space),
        };
        self.unless_blocked(read)
    }

    /// Writes what can be written at once; `None` when nothing can.
    ///
    /// # Errors
    /// [`Error::Broken`].
    pub fn try_write(&mut self, bytes: &[u8]) -> Result<Option<usize>, Error> {
        let written = match &mut self.stream {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
        };
        self.unless_blocked(written)
    }

    fn unless_blocked(&self, done: io::Result<usize>) -> Result<Option<usize>, Error> {
        match done {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Ok(None)
            }
            Err(source) => Err(Error::Broken { address: self.name.clone(), source }),
        }
    }

    /// Waits until there is something to read.
    ///
    /// # Errors
    /// [`Error::Interrupted`], or [`Error::Silent`] when the deadline has passed.
    pub fn wait_readable(&self, deadline: Option<&Deadline>) -> Result<(), Error> {
        self.wait(PollFlags::POLLIN, deadline)
    }

    /// Waits until something can be written.
    ///
    /// # Errors
    /// As [`Socket::wait_readable`].
    pub fn wait_writable(&self, deadline: Option<&Deadline>) -> Result<(), Error> {
        self.wait(PollFlags::POLLOUT, deadline)
    }

    fn wait(&self, events: PollFlags, deadline: Option<&Deadline>) -> Result<(), Error> {
        loop {
            let left = deadline.map_or(TICK, |deadline| deadline.left().min(TICK));
            let mut waited_for = vec![PollFd::new(self.as_fd(), events)];
            waited_for
                .extend(self.interrupts.0.as_ref().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)));
            wait_for(&mut waited_for, left)
                .map_err(|source| Error::Broken { address: self.name.clone(), source })?;
            let is_ready = waited_for[0].any().unwrap_or(true);
            if self.interrupts.take() {
                return Err(Error::Interrupted);
            }
            if is_ready {
                return Ok(());
            }
            if let Some(deadline) = deadline.filter(|deadline| deadline.left().is_zero()) {
                return Err(Error::Silent { address: self.name.clone(), within: deadline.within });
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.stream {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }
}

/// Waits until one of them is ready, at most for `limit`.
///
/// # Errors
/// What the system says; an interrupted wait is none.
pub fn wait_for(fds: &mut [PollFd<'_>], limit: Duration) -> io::Result<()> {
    // Rounded up, so that a rest below a millisecond is not waited for in a busy loop.
    let millis = limit.as_micros().div_ceil(1000).min(u128::from(u16::MAX)) as u16;
    match poll(fds, PollTimeout::from(millis)) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn tcp(host: &str, port: u16, timeout: Duration) -> io::Result<TcpStream> {
    let deadline = Deadline::within(timeout);
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for addr in (host, port).to_socket_addrs()? {
        // A limit of nothing is refused by the system.
        match TcpStream::connect_timeout(&addr, deadline.left().max(Duration::from_millis(1))) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                let keepalive =
                    TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3).with_retries(3);
                SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
                stream.set_nonblocking(true)?;
                return Ok(stream);
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

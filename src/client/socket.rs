//! Bytes to and from a server. Nothing waits without looking up: every wait has a bound, or ends with Ctrl-C and
//! with the connection.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::rc::Rc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use socket2::{Domain, Protocol, SockAddr, TcpKeepalive, Type};

use super::Error;
use super::address::Place;
use crate::clock::Stopwatch;

/// How long one wait lasts until its bound is looked at.
const TICK: Duration = Duration::from_millis(500);
/// How soon something is tried again that does not say when it can go on.
const SOON: Duration = Duration::from_millis(20);
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

/// A connection that never blocks by itself.
#[derive(Debug)]
pub struct Socket {
    stream: socket2::Socket,
    name: String,
    interrupts: Rc<Interrupts>,
}

impl Socket {
    /// Connects to `place` within `timeout`, the search for its address included.
    ///
    /// # Errors
    /// [`Error::Connect`], or [`Error::Interrupted`].
    pub fn connect(place: &Place, timeout: Duration, interrupts: Rc<Interrupts>) -> Result<Socket, Error> {
        let name = place.to_string();
        let deadline = Deadline::within(timeout);
        let connected = match place {
            Place::Tcp(host, port) => addresses(host, *port, &deadline, &interrupts)
                .and_then(|addrs| connect_any(&addrs, &deadline, &interrupts)),
            Place::Unix(path) => connect_unix(path, &deadline, &interrupts),
        };
        match connected {
            Ok(stream) => Ok(Socket { stream, name, interrupts }),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(Error::Interrupted),
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
        let read = self.stream.read(space);
        self.unless_blocked(read)
    }

    /// Writes what can be written at once; `None` when nothing can.
    ///
    /// # Errors
    /// [`Error::Broken`].
    pub fn try_write(&mut self, bytes: &[u8]) -> Result<Option<usize>, Error> {
        let written = self.stream.write(bytes);
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
        match is_ready(Some(self.as_fd()), events, deadline, &self.interrupts) {
            Ok(true) => Ok(()),
            Ok(false) => {
                let within = deadline.map_or(Duration::ZERO, |deadline| deadline.within);
                Err(Error::Silent { address: self.name.clone(), within })
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(Error::Interrupted),
            Err(source) => Err(Error::Broken { address: self.name.clone(), source }),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Waits for a descriptor, or for nothing but the deadline; false when that has passed.
///
/// # Errors
/// [`io::ErrorKind::Interrupted`] after Ctrl-C, which is meant here and not the system's interrupted call.
fn is_ready(
    fd: Option<BorrowedFd<'_>>,
    events: PollFlags,
    deadline: Option<&Deadline>,
    interrupts: &Interrupts,
) -> io::Result<bool> {
    loop {
        let mut waited_for: Vec<PollFd<'_>> = fd.iter().map(|fd| PollFd::new(*fd, events)).collect();
        waited_for.extend(interrupts.0.as_ref().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)));
        wait_for(&mut waited_for, deadline.map_or(TICK, |deadline| deadline.left().min(TICK)))?;
        let is_ready = fd.is_some() && waited_for[0].any().unwrap_or(true);
        if interrupts.take() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if is_ready {
            return Ok(true);
        }
        if deadline.is_some_and(Deadline::is_over) {
            return Ok(false);
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

fn too_late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "connection timed out")
}

/// The addresses of a host.
fn addresses(
    host: &str,
    port: u16,
    deadline: &Deadline,
    interrupts: &Interrupts,
) -> io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let (found, resolved) = mpsc::channel();
    let host = host.to_string();
    // Nothing ends the system's resolver; where it takes too long it is left to itself.
    std::thread::Builder::new().name("resolver".into()).spawn(move || {
        let addrs = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
        // Whether anybody still waits is not known here.
        let _ = found.send(addrs);
    })?;
    loop {
        match resolved.recv_timeout(deadline.left().min(SOON)) {
            Ok(addrs) => return addrs,
            Err(RecvTimeoutError::Disconnected) => return Err(io::Error::other("the resolver has ended")),
            Err(RecvTimeoutError::Timeout) if interrupts.take() => {
                return Err(io::ErrorKind::Interrupted.into());
            }
            Err(RecvTimeoutError::Timeout) if deadline.is_over() => return Err(too_late()),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Connects to the first address that answers. The time that is left is shared between those that are left, so that
/// one which does not answer leaves some for the others.
fn connect_any(
    addrs: &[SocketAddr],
    deadline: &Deadline,
    interrupts: &Interrupts,
) -> io::Result<socket2::Socket> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for (addr, left) in addrs.iter().zip((1..=addrs.len()).rev()) {
        let share = Deadline::within(deadline.left() / u32::try_from(left).unwrap_or(u32::MAX));
        match connect_tcp(*addr, &share, interrupts) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => failure = error,
            done => return done,
        }
    }
    Err(failure)
}

fn connect_tcp(
    addr: SocketAddr,
    deadline: &Deadline,
    interrupts: &Interrupts,
) -> io::Result<socket2::Socket> {
    let stream = socket2::Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    stream.set_nonblocking(true)?;
    match stream.connect(&addr.into()) {
        Err(error) if error.raw_os_error() == Some(Errno::EINPROGRESS as i32) => {
            if !is_ready(Some(stream.as_fd()), PollFlags::POLLOUT, Some(deadline), interrupts)? {
                return Err(too_late());
            }
            if let Some(error) = stream.take_error()? {
                return Err(error);
            }
        }
        done => done?,
    }
    stream.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3).with_retries(3);
    stream.set_tcp_keepalive(&keepalive)?;
    Ok(stream)
}

fn connect_unix(path: &Path, deadline: &Deadline, interrupts: &Interrupts) -> io::Result<socket2::Socket> {
    let addr = SockAddr::unix(path)?;
    let stream = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    stream.set_nonblocking(true)?;
    loop {
        match stream.connect(&addr) {
            // The server has too many to accept, and the system does not say when it has fewer.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done.map(|()| stream),
        }
        if deadline.is_over() {
            return Err(too_late());
        }
        let pause = Deadline::within(deadline.left().min(SOON));
        is_ready(None, PollFlags::empty(), Some(&pause), interrupts)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};

    /// Far longer than any of this takes.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// A listener that nobody can connect to any more, and what keeps it so.
    fn full(domain: Domain, addr: &SockAddr) -> (socket2::Socket, Vec<socket2::Socket>) {
        let listener = socket2::Socket::new(domain, Type::STREAM, None).expect("a socket");
        listener.bind(addr).expect("a free address");
        listener.listen(0).expect("it listens");
        let addr = listener.local_addr().expect("its address");
        let waiting = (0..8).map(|_| {
            let stream = socket2::Socket::new(domain, Type::STREAM, None).expect("a socket");
            stream.set_nonblocking(true).expect("a socket option");
            // The first of them wait to be accepted; the others show that there is no more room.
            let _ = stream.connect(&addr);
            stream
        });
        let waiting = waiting.collect();
        (listener, waiting)
    }

    fn loopback() -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 0).into()
    }

    #[test]
    fn an_address_that_does_not_answer_leaves_time_for_the_next_one() {
        let (silent, _waiting) = full(Domain::IPV4, &loopback().into());
        let silent = silent.local_addr().expect("its address").as_socket().expect("an address");
        let listener = TcpListener::bind(loopback()).expect("a free port");
        let answers = listener.local_addr().expect("its address");
        let connect = |addrs: &[SocketAddr], within| {
            connect_any(addrs, &Deadline::within(within), &Interrupts::default())
        };
        let stream = connect(&[silent, answers], Duration::from_secs(1)).expect("the second one");
        assert_eq!(stream.peer_addr().expect("a peer").as_socket(), Some(answers));
        let error = connect(&[silent, silent], Duration::from_millis(20)).expect_err("nobody answers");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let error = connect(&[], PATIENCE).expect_err("nobody is asked");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn connecting_to_a_server_that_accepts_nobody_ends_in_time_and_by_ctrl_c() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("full.sock");
        let _full = full(Domain::UNIX, &SockAddr::unix(&path).expect("an address"));
        let (silent, _waiting) = full(Domain::IPV4, &loopback().into());
        let silent = silent.local_addr().expect("its address").as_socket().expect("an address");
        let places = [Place::Unix(path), Place::Tcp(silent.ip().to_string(), silent.port())];
        for place in &places {
            let connect = |within, interrupts| Socket::connect(place, within, interrupts).err();
            let error = connect(Duration::from_millis(20), Rc::default());
            assert!(matches!(error, Some(Error::Connect { .. })), "{place}: {error:?}");
        }
        // The signal is for this thread alone.
        let interrupts = Rc::new(Interrupts::watch().expect("a descriptor"));
        for place in &places {
            nix::sys::signal::raise(Signal::SIGINT).expect("a signal");
            let error = Socket::connect(place, PATIENCE, Rc::clone(&interrupts)).err();
            assert!(matches!(error, Some(Error::Interrupted)), "{place}: {error:?}");
        }
        assert!(!interrupts.take(), "each has taken its own");
    }

    #[test]
    fn a_host_has_its_addresses_and_a_number_is_one() {
        let find = |host: &str| addresses(host, 7, &Deadline::within(PATIENCE), &Interrupts::default());
        assert_eq!(find("10.0.0.5").expect("an address"), [([10, 0, 0, 5], 7).into()]);
        assert_eq!(find("::1").expect("an address").len(), 1);
        assert!(find("localhost").expect("addresses").iter().all(|addr| addr.ip().is_loopback()));
    }
}

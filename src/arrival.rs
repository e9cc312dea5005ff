//! Hot path
//!
//! Arrival: reads a socket, and says how long ago the bytes came.
//!
//! Between the arrival of bytes and the thread that reads them lies what it takes to wake that thread, some tens of
//! microseconds or, when the machine is busy, much more. Neither the target nor the wire has taken that time. So
//! the kernel is asked to stamp what it receives, and a time of arrival is that stamp.

use std::io::{self, IoSliceMut};
use std::mem::{align_of, size_of};
use std::os::fd::{AsFd, AsRawFd};
use std::task::{Context, Poll, ready};

use nix::libc::{cmsghdr, timespec};
use nix::sys::socket::sockopt::ReceiveTimestampns;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::clock;

/// Room for one stamp beside the bytes, and then some for how the kernel aligns it.
const STAMP_BYTES: usize = 2 * (size_of::<cmsghdr>() + size_of::<timespec>());

/// Where the kernel lays what it says beside the bytes: headers, which are read in place.
#[repr(align(16))]
struct Beside([u8; STAMP_BYTES]);

const _: () = assert!(align_of::<Beside>() >= align_of::<cmsghdr>());

/// Bytes that were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrived {
    /// How many; none when the peer has closed its side.
    pub bytes: usize,
    /// Nanoseconds since the last of them came; zero where the kernel does not say.
    pub age_ns: u64,
}

/// Asks the kernel to stamp what comes over a socket from now on, or not to any more.
///
/// # Errors
/// Where it does not know how; [`poll_read`] then reads without stamps.
pub fn stamp(socket: &impl AsFd, is_wanted: bool) -> io::Result<()> {
    Ok(setsockopt(socket, ReceiveTimestampns, &is_wanted)?)
}

/// Reads once. Safe to drop half-way.
///
/// # Errors
/// Those of the socket.
pub fn poll_read(
    stream: &TcpStream,
    context: &mut Context<'_>,
    buffer: &mut [u8],
) -> Poll<io::Result<Arrived>> {
    loop {
        ready!(stream.poll_read_ready(context))?;
        let mut part = None;
        let read = stream.try_io(Interest::READABLE, || {
            let arrived = read(stream, buffer)?;
            if arrived.bytes == 0 || arrived.bytes == buffer.len() {
                return Ok(arrived);
            }
            // The socket is empty now, and says so when that changes: nobody has to try again to find out.
            part = Some(arrived);
            Err(io::ErrorKind::WouldBlock.into())
        });
        match (part, read) {
            (Some(arrived), _) | (None, Ok(arrived)) => return Poll::Ready(Ok(arrived)),
            (None, Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
            (None, Err(error)) => return Poll::Ready(Err(error)),
        }
    }
}

/// Reads once what has come by now, also what the runtime has not heard of yet.
///
/// # Errors
/// Those of the socket; [`io::ErrorKind::WouldBlock`] when there is nothing.
pub fn read(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<Arrived> {
    let mut parts = [IoSliceMut::new(buffer)];
    let mut beside = Beside([0; STAMP_BYTES]);
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut beside.0), MsgFlags::empty())?;
    // A stamp that does not fit is as good as none.
    let stamp = message.cmsgs().ok().and_then(|mut all| {
        all.find_map(|one| match one {
            ControlMessageOwned::ScmTimestampns(stamp) => Some(stamp),
            _ => None,
        })
    });
    Ok(Arrived { bytes: message.bytes, age_ns: stamp.map_or(0, |stamp| clock::wall_age_ns(stamp.into())) })
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;
    use crate::clock::Stopwatch;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let near = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("listening");
        let (far, _) = listener.accept().await.expect("connected");
        (near, far)
    }

    #[tokio::test(flavor = "current_thread")]
    async fn bytes_that_have_waited_are_as_old_as_that() {
        let (near, mut far) = pair().await;
        stamp(&near, true).expect("Linux stamps");
        let before = Stopwatch::start();
        far.write_all(b"hello").await.expect("sent");
        let after = Stopwatch::start();
        while after.elapsed().as_millis() < 5 {}
        let mut buffer = [0; 16];
        let arrived = poll_fn(|context| poll_read(&near, context, &mut buffer)).await.expect("read");
        assert_eq!(&buffer[..arrived.bytes], b"hello");
        assert!(arrived.age_ns >= 5_000_000, "{} ns", arrived.age_ns);
        assert!(u128::from(arrived.age_ns) <= before.elapsed().as_nanos());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn without_stamps_everything_has_just_come() {
        let (near, mut far) = pair().await;
        far.write_all(b"hello").await.expect("sent");
        let mut buffer = [0; 16];
        let arrived = poll_fn(|context| poll_read(&near, context, &mut buffer)).await.expect("read");
        assert_eq!(arrived, Arrived { bytes: 5, age_ns: 0 });
    }

    /// Whole and partial reads, an empty socket in between, and the end.
    #[tokio::test(flavor = "current_thread")]
    async fn nothing_is_lost_at_any_size_of_reads() {
        let (near, mut far) = pair().await;
        stamp(&near, true).expect("Linux stamps");
        let sent: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        let expected = sent.clone();
        let writer = tokio::spawn(async move {
            for part in sent.chunks(7919) {
                far.write_all(part).await.expect("sent");
                tokio::task::yield_now().await;
            }
        });
        let (mut got, mut sizes) = (Vec::new(), [4096, 1, 7919, 65536].into_iter().cycle());
        loop {
            let mut buffer = vec![0; sizes.next().unwrap_or(1)];
            let arrived = poll_fn(|context| poll_read(&near, context, &mut buffer)).await.expect("read");
            if arrived.bytes == 0 {
                break;
            }
            got.extend_from_slice(&buffer[..arrived.bytes]);
        }
        writer.await.expect("no panic");
        assert!(got == expected);
    }
}

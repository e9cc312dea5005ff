//! Wire: a connection that sends many commands at once and takes short replies, without keeping them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use redis::ConnectionAddr;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::{Datastore, Error};

/// Room for replies: thousands of short ones, and the longest line that is taken.
const INBOX: usize = 64 << 10;

/// A reply of one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply<'a> {
    /// `+OK`.
    Status,
    /// `:1`.
    Number(i64),
    /// `$-1`.
    Nil,
    /// `-ERR ...`, without the minus.
    Error(&'a str),
}

/// Why an exchange ended early.
#[derive(Debug)]
pub(super) enum Broken {
    /// The connection.
    Io(io::Error),
    /// Bytes that are no short reply, or replies that nobody asked for.
    Protocol(String),
    /// What the caller made of a reply.
    Caller(Error),
}

impl Broken {
    /// As an error of the datastore.
    pub(super) fn at(self, server: &Datastore, command: &'static str) -> Error {
        let url = server.url().to_owned();
        match self {
            Broken::Io(error) => Error::Unreachable { url, message: describe(&error) },
            Broken::Protocol(got) => Error::Answer { url, command, got },
            Broken::Caller(error) => error,
        }
    }
}

fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the server closed the connection".to_owned(),
        _ => error.to_string(),
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl Stream for TcpStream {}
impl Stream for UnixStream {}

/// One connection, logged in.
pub(super) struct Wire {
    stream: Box<dyn Stream>,
    inbox: Vec<u8>,
    /// Bytes of `inbox` that are not read yet.
    filled: usize,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").field("filled", &self.filled).finish_non_exhaustive()
    }
}

impl Wire {
    /// Connects and logs in as the shared connection does.
    pub(super) async fn open(server: &Datastore) -> Result<Wire, Error> {
        let info = server.info();
        let broken = |error| Broken::Io(error).at(server, "connecting");
        let stream: Box<dyn Stream> = match info.addr() {
            ConnectionAddr::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(broken)?;
                stream.set_nodelay(true).map_err(broken)?;
                Box::new(stream)
            }
            ConnectionAddr::Unix(path) => Box::new(UnixStream::connect(path).await.map_err(broken)?),
            _ => {
                let message = "bulk loads need redis:// or unix://".to_owned();
                return Err(Error::Url { url: server.url().to_owned(), message });
            }
        };
        let mut wire = Wire { stream, inbox: vec![0; INBOX], filled: 0 };
        let (mut login, mut commands) = (Vec::new(), 0);
        let settings = info.redis_settings();
        if let Some(password) = settings.password() {
            let mut auth = redis::cmd("AUTH");
            if let Some(user) = settings.username() {
                auth.arg(user);
            }
            auth.arg(password).write_packed_command(&mut login);
            commands += 1;
        }
        if settings.db() != 0 {
            redis::cmd("SELECT").arg(settings.db()).write_packed_command(&mut login);
            commands += 1;
        }
        let taken = |_: usize, reply: Reply<'_>| match reply {
            Reply::Error(text) if settings.password().is_some() && !text.starts_with("LOADING") => {
                Err(Error::Auth { url: server.url().to_owned(), message: text.to_owned() })
            }
            Reply::Error(text) => Err(server.refusal("SELECT", text)),
            _ => Ok(()),
        };
        wire.exchange(&login, commands, taken).await.map_err(|error| error.at(server, "AUTH"))?;
        Ok(wire)
    }

    /// Sends `out` and hands each of as many `replies` to `each`, in order. Replies are read while the
    /// rest is still being sent, so neither side waits for the other to read.
    pub(super) async fn exchange(
        &mut self,
        out: &[u8],
        replies: usize,
        mut each: impl FnMut(usize, Reply<'_>) -> Result<(), Error>,
    ) -> Result<(), Broken> {
        let (mut sent, mut taken) = (0, 0);
        std::future::poll_fn(|cx| {
            loop {
                if sent == out.len() && taken == replies {
                    return Poll::Ready(Ok(()));
                }
                let mut waits = true;
                if sent < out.len()
                    && let Poll::Ready(wrote) = Pin::new(&mut *self.stream).poll_write(cx, &out[sent..])
                {
                    match wrote.map_err(Broken::Io)? {
                        0 => return Poll::Ready(Err(Broken::Io(io::ErrorKind::WriteZero.into()))),
                        bytes => sent += bytes,
                    }
                    waits = false;
                }
                if self.poll_read(cx).map_err(Broken::Io)? {
                    self.take(&mut taken, replies, &mut each)?;
                    waits = false;
                }
                if waits {
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    /// Whether something came.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut room = ReadBuf::new(&mut self.inbox[self.filled..]);
        match Pin::new(&mut *self.stream).poll_read(cx, &mut room) {
            Poll::Pending => Ok(false),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(())) => match room.filled().len() {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                bytes => {
                    self.filled += bytes;
                    Ok(true)
                }
            },
        }
    }

    /// Takes all replies that are whole and moves the rest to the front.
    fn take(
        &mut self,
        taken: &mut usize,
        replies: usize,
        each: &mut impl FnMut(usize, Reply<'_>) -> Result<(), Error>,
    ) -> Result<(), Broken> {
        let mut start = 0;
        while let Some(end) = memchr::memchr(b'\n', &self.inbox[start..self.filled]) {
            let line = &self.inbox[start..start + end + 1];
            let reply = reply_of(line).ok_or_else(|| Broken::Protocol(shown(line)))?;
            if *taken == replies {
                return Err(Broken::Protocol(format!("more replies than commands: {}", shown(line))));
            }
            each(*taken, reply).map_err(Broken::Caller)?;
            *taken += 1;
            start += end + 1;
        }
        self.inbox.copy_within(start..self.filled, 0);
        self.filled -= start;
        if self.filled == self.inbox.len() {
            return Err(Broken::Protocol(shown(&self.inbox)));
        }
        Ok(())
    }
}

/// A whole line as a reply; `None` for anything else.
fn reply_of(line: &[u8]) -> Option<Reply<'_>> {
    let line = line.strip_suffix(b"\r\n")?;
    let (kind, rest) = line.split_first()?;
    match kind {
        b'+' => Some(Reply::Status),
        b':' => Some(Reply::Number(std::str::from_utf8(rest).ok()?.parse().ok()?)),
        b'$' if rest == b"-1" => Some(Reply::Nil),
        b'-' => Some(Reply::Error(std::str::from_utf8(rest).unwrap_or("an error that is no text"))),
        _ => None,
    }
}

/// The beginning of what came, as text.
fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(100)]).escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_replies_are_told_apart() {
        for (line, reply) in [
            (&b"+OK\r\n"[..], Some(Reply::Status)),
            (b":17\r\n", Some(Reply::Number(17))),
            (b"$-1\r\n", Some(Reply::Nil)),
            (b"-OOM no room\r\n", Some(Reply::Error("OOM no room"))),
            (b"$5\r\n", None),
            (b"*1\r\n", None),
            (b":x\r\n", None),
            (b"+OK\n", None),
            (b"\r\n", None),
        ] {
            assert_eq!(reply_of(line), reply, "{line:?}");
        }
    }

    #[tokio::test]
    async fn replies_come_in_any_pieces_and_none_may_be_left_over() {
        let (mut wire, far) = pair();
        let answering = tokio::spawn(async move {
            for piece in [&b"+O"[..], b"K\r\n:1\r", b"\n:0\r\n$-1\r\n"] {
                far.writable().await.expect("open");
                assert_eq!(far.try_write(piece).expect("room"), piece.len());
                tokio::task::yield_now().await;
            }
            far
        });
        let mut seen = Vec::new();
        wire.exchange(b"anything", 4, |index, reply| {
            seen.push((index, format!("{reply:?}")));
            Ok(())
        })
        .await
        .expect("four replies");
        let kinds: Vec<&str> = seen.iter().map(|(_, kind)| kind.as_str()).collect();
        assert_eq!(kinds, ["Status", "Number(1)", "Number(0)", "Nil"]);

        drop(answering.await.expect("it answers"));
        let error = wire.exchange(b"", 1, |_, _| Ok(())).await.expect_err("closed");
        assert!(matches!(error, Broken::Io(_)), "{error:?}");

        for said in [&b"+OK\r\n+OK\r\n"[..], b"+a line that is longer than the inbox", b"*0\r\n"] {
            let (mut wire, far) = pair();
            far.writable().await.expect("open");
            far.try_write(said).expect("room");
            let error = wire.exchange(b"x", 1, |_, _| Ok(())).await.expect_err("no single reply");
            assert!(matches!(error, Broken::Protocol(_)), "{error:?}");
        }
    }

    fn pair() -> (Wire, UnixStream) {
        let (near, far) = UnixStream::pair().expect("a pair");
        (Wire { stream: Box::new(near), inbox: vec![0; 16], filled: 0 }, far)
    }
}

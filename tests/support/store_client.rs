//! A client that speaks to a store by bytes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use runner::wire::resp::{ReplyLimits, encode_command, reply_len};

/// A connection that sends bytes and reads whole replies.
pub struct Client {
    /// The socket.
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects; replies must then come within three seconds.
    pub fn connect(addr: SocketAddr) -> Client {
        let stream = TcpStream::connect(addr).expect("the server listens");
        stream.set_nodelay(true).expect("a socket option");
        stream.set_read_timeout(Some(Duration::from_secs(3))).expect("a socket option");
        Client { stream, buffer: Vec::new() }
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// The next reply; what is left when the server closes first, or `(no reply)` when none comes.
    pub fn reply(&mut self) -> Vec<u8> {
        loop {
            let found = reply_len(&self.buffer, &ReplyLimits::default()).expect("a valid reply");
            if let Some(reply) = found {
                return self.buffer.drain(..reply.len).collect();
            }
            let mut chunk = [0; 65536];
            match self.stream.read(&mut chunk) {
                Ok(0) => return std::mem::take(&mut self.buffer),
                Ok(read) => self.buffer.extend_from_slice(&chunk[..read]),
                Err(_) => return b"(no reply)".to_vec(),
            }
        }
    }

    /// Sends a command.
    pub fn ask(&mut self, args: &[&str]) {
        let mut command = Vec::new();
        encode_command(&mut command, args);
        self.send(&command);
    }

    /// Sends a command and reads its reply.
    pub fn call(&mut self, args: &[&str]) -> String {
        self.ask(args);
        String::from_utf8_lossy(&self.reply()).into_owned()
    }

    /// Everything until the server closes.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.buffer);
        // A reset counts as closed.
        let _ = self.stream.read_to_end(&mut rest);
        rest
    }
}

/// A reply that can be read.
pub fn show(reply: &[u8]) -> String {
    reply.escape_ascii().to_string()
}

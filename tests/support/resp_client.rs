//! A connection that sends bytes and reads whole replies, and says what they are in one line.

#![allow(dead_code, reason = "not every test that includes this file uses all of it")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use runner::wire::resp::{ReplyLimits, encode_command, reply_len};

pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub fn connect(addr: SocketAddr) -> Client {
        let stream = TcpStream::connect(addr).expect("the server listens");
        stream.set_nodelay(true).expect("a socket option");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket option");
        Client { stream, buffer: Vec::new() }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// Sends a command, words separated by blanks, and does not wait for its reply.
    pub fn tell(&mut self, words: &str) {
        let mut command = Vec::new();
        encode_command(&mut command, words.split(' ').collect::<Vec<_>>());
        self.send(&command);
    }

    /// The next reply with its control characters escaped; what is left when the server closes first.
    pub fn reply(&mut self) -> String {
        loop {
            let found = reply_len(&self.buffer, &ReplyLimits::default()).expect("a valid reply");
            if let Some(reply) = found {
                return self.buffer.drain(..reply.len).as_slice().escape_ascii().to_string();
            }
            let mut chunk = [0; 16384];
            match self.stream.read(&mut chunk).expect("a reply in time") {
                0 => return std::mem::take(&mut self.buffer).escape_ascii().to_string(),
                read => self.buffer.extend_from_slice(&chunk[..read]),
            }
        }
    }

    pub fn ask(&mut self, words: &str) -> String {
        self.tell(words);
        self.reply()
    }

    /// Whether this connection has a reply that it was not asked for yet; the server has to have nothing left to do.
    pub fn is_silent(&mut self) -> bool {
        // What follows is answered after everything that is on its way.
        self.ask("ECHO is-silent") == r"$9\r\nis-silent\r\n"
    }
}

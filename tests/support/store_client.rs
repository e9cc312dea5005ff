//! A connection to a store that sends commands and reads whole replies.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use runner::wire::resp::{ReplyLimits, encode_command, reply_len};

/// A connection.
pub struct Client {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects.
    ///
    /// # Panics
    /// When nobody listens there.
    pub fn connect(addr: SocketAddr) -> Client {
        let stream = TcpStream::connect(addr).expect("the server listens");
        stream.set_nodelay(true).expect("a socket option");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket option");
        Client { stream, buffer: Vec::new() }
    }

    /// Sends a command without waiting for its reply.
    #[allow(dead_code, reason = "not every test that includes this file needs it")]
    pub fn send(&mut self, args: &[&str]) {
        let mut command = Vec::new();
        encode_command(&mut command, args);
        // The server may have closed the connection; the reply tells.
        let _ = self.stream.write_all(&command);
    }

    /// The next reply; what is left when the server has closed the connection.
    pub fn reply(&mut self) -> String {
        loop {
            let found = reply_len(&self.buffer, &ReplyLimits::default()).expect("a valid reply");
            if let Some(reply) = found {
                let reply: Vec<u8> = self.buffer.drain(..reply.len).collect();
                return String::from_utf8_lossy(&reply).into_owned();
            }
            let mut chunk = [0; 65536];
            match self.stream.read(&mut chunk) {
                Ok(0) | Err(_) => {
                    return String::from_utf8_lossy(&std::mem::take(&mut self.buffer)).into_owned();
                }
                Ok(read) => self.buffer.extend_from_slice(&chunk[..read]),
            }
        }
    }

    /// Sends a command and waits for its reply.
    pub fn call(&mut self, args: &[&str]) -> String {
        self.send(args);
        self.reply()
    }
}

//! What the store knows about one client, apart from its socket.

use std::net::SocketAddr;

use super::reply::Replies;

/// One client.
#[derive(Debug)]
pub struct Session {
    /// Its number, never used twice.
    pub id: u64,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// Where it has connected to.
    pub local: SocketAddr,
    /// The descriptor of its socket, for CLIENT LIST.
    pub fd: i32,
    /// CLIENT SETNAME
    pub name: Vec<u8>,
    /// CLIENT SETINFO LIB-NAME
    pub lib_name: Vec<u8>,
    /// CLIENT SETINFO LIB-VER
    pub lib_version: Vec<u8>,
    /// SELECT
    pub db: usize,
    /// It has given the password, or there is none.
    pub authenticated: bool,
    /// CLIENT NO-EVICT ON
    pub no_evict: bool,
    /// When it came, in milliseconds of the wall clock.
    pub created_ms: i64,
    /// When it sent its last command.
    pub active_ms: i64,
    /// Its last command.
    pub last_command: &'static str,
    /// Close when everything is sent.
    pub closing: bool,
    /// Close now, and send nothing more.
    pub killed: bool,
    /// What it will be sent.
    pub out: Replies,
}

impl Session {
    /// A client that has just connected.
    pub fn new(id: u64, peer: SocketAddr, local: SocketAddr, now_ms: i64, output_limit: usize) -> Session {
        Session {
            id,
            peer,
            local,
            fd: -1,
            name: Vec::new(),
            lib_name: Vec::new(),
            lib_version: Vec::new(),
            db: 0,
            authenticated: true,
            no_evict: false,
            created_ms: now_ms,
            active_ms: now_ms,
            last_command: "NULL",
            closing: false,
            killed: false,
            out: Replies::new(output_limit),
        }
    }

    /// Its line in CLIENT LIST, without the end of line.
    pub fn describe(&self, now_ms: i64) -> String {
        let seconds = |since: i64| (now_ms - since).max(0) / 1000;
        let flags = if self.no_evict { "e" } else { "N" };
        let waiting = self.out.len();
        format!(
            "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={flags} db={} sub=0 psub=0 ssub=0 \
             multi=-1 qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl={waiting} oll=0 \
             omem={waiting} tot-mem={} events=r cmd={} user=default redir=-1 resp={}",
            self.id,
            self.peer,
            self.local,
            self.fd,
            String::from_utf8_lossy(&self.name),
            seconds(self.created_ms),
            seconds(self.active_ms),
            self.db,
            size_of::<Session>() + waiting,
            self.last_command,
            if self.out.is_resp3() { 3 } else { 2 },
        )
    }
}

//! What INFO, SLOWLOG and LATENCY tell about commands that have run.

use std::collections::{BTreeMap, VecDeque};

use super::latency::Histogram;
use crate::wire::resp::Args;

/// Counters of the server.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counters {
    /// Commands that were run, or refused.
    pub commands: u64,
    /// Error replies.
    pub errors: u64,
    /// Connections that were accepted.
    pub connections: u64,
    /// Connections that were refused because there were too many.
    pub rejected: u64,
    /// Bytes that came in.
    pub bytes_in: u64,
    /// Bytes that went out.
    pub bytes_out: u64,
    /// Clients that were closed because their output grew too large.
    pub output_limit_closed: u64,
    /// Reads from sockets.
    pub reads: u64,
    /// Writes to sockets.
    pub writes: u64,
    /// Microseconds that the search for expired keys took.
    pub expire_us: u64,
}

/// What is counted for one command.
#[derive(Debug, Clone, Default)]
pub struct CommandStats {
    /// How often it ran.
    pub calls: u64,
    /// For how long, in ticks of the processor.
    pub ticks: u64,
    /// How often it was refused before it ran.
    pub rejected: u64,
    /// How often it ran and answered an error.
    pub failed: u64,
    /// How often it took how long; `None` until it has run.
    pub histogram: Option<Histogram>,
}

/// Kinds of errors that are counted apart; all others are counted together.
const MAX_ERROR_KINDS: usize = 128;

/// How many errors were answered, by the first word of each.
#[derive(Debug, Default)]
pub struct ErrorStats(BTreeMap<String, u64>);

impl ErrorStats {
    /// Counts an error reply.
    pub fn count(&mut self, text: &str) {
        let word = text.split(' ').next().unwrap_or_default();
        let word = if word.len() > 64 { "ERR" } else { word };
        if let Some(count) = self.0.get_mut(word) {
            *count += 1;
        } else if self.0.len() < MAX_ERROR_KINDS {
            self.0.insert(word.to_string(), 1);
        }
    }

    /// First words and their counts.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(word, count)| (word.as_str(), *count))
    }
}

/// Arguments of a command that the log shows.
const SHOWN_ARGS: usize = 32;
/// Bytes of an argument that the log shows.
const SHOWN_BYTES: usize = 128;

/// One slow command.
#[derive(Debug, Clone)]
pub struct SlowCommand {
    /// Its number.
    pub id: u64,
    /// When it ended, in seconds of the wall clock.
    pub at_s: u64,
    /// How long it took.
    pub micros: u64,
    /// Its arguments, long ones and long lists of them cut.
    pub args: Vec<Vec<u8>>,
    /// Who has sent it.
    pub client: String,
    /// The name of who has sent it.
    pub client_name: Vec<u8>,
}

/// The commands that took long.
#[derive(Debug)]
pub struct SlowLog {
    entries: VecDeque<SlowCommand>,
    next_id: u64,
    /// `slowlog-max-len`
    max_len: usize,
}

impl Default for SlowLog {
    fn default() -> SlowLog {
        SlowLog { entries: VecDeque::new(), next_id: 0, max_len: 128 }
    }
}

impl SlowLog {
    /// Keeps at most `max_len` from now on.
    pub fn set_max_len(&mut self, max_len: usize) {
        self.max_len = max_len;
        self.entries.truncate(max_len);
    }

    /// Adds one, with its number.
    pub fn add(&mut self, command: SlowCommand) {
        self.entries.push_front(SlowCommand { id: self.next_id, ..command });
        self.next_id += 1;
        self.entries.truncate(self.max_len);
    }

    /// The newest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &SlowCommand> {
        self.entries.iter()
    }

    /// Forgets all; numbers go on.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// The arguments as the log shows them.
    pub fn shown(args: Args<'_>) -> Vec<Vec<u8>> {
        let shown = if args.len() > SHOWN_ARGS { SHOWN_ARGS - 1 } else { args.len() };
        let mut found: Vec<Vec<u8>> = args.iter().take(shown).map(shown_argument).collect();
        if shown < args.len() {
            found.push(format!("... ({} more arguments)", args.len() - shown).into_bytes());
        }
        found
    }
}

fn shown_argument(arg: &[u8]) -> Vec<u8> {
    match arg.get(..SHOWN_BYTES) {
        Some(start) if arg.len() > SHOWN_BYTES => {
            [start, format!("... ({} more bytes)", arg.len() - SHOWN_BYTES).as_bytes()].concat()
        }
        _ => arg.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::resp::OwnedArgs;

    #[test]
    fn long_commands_are_cut_where_redis_cuts_them() {
        let many: OwnedArgs = std::iter::repeat_n(&b"x"[..], 40).collect();
        let shown = SlowLog::shown(many.args());
        assert_eq!((shown.len(), &shown[31][..]), (32, &b"... (9 more arguments)"[..]));
        let long: OwnedArgs = [&[b'y'; 200][..]].into_iter().collect();
        assert!(SlowLog::shown(long.args())[0].ends_with(b"yy... (72 more bytes)"));
    }
}

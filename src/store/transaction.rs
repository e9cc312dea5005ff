//! MULTI: commands that wait for EXEC.

use super::command::Row;
use crate::wire::resp::{Args, OwnedArgs};

/// A transaction that has begun.
#[derive(Debug, Default)]
pub struct Transaction {
    queue: Vec<(&'static Row, OwnedArgs)>,
    flags: u32,
    bytes: usize,
    /// A command was refused while it was queued: EXEC will refuse too.
    pub aborted: bool,
}

impl Transaction {
    /// Adds a command.
    pub fn push(&mut self, row: &'static Row, args: Args<'_>) {
        let args = OwnedArgs::from_args(args);
        self.bytes += args.bytes();
        self.flags |= row.command.flags;
        self.queue.push((row, args));
    }

    /// How many commands wait.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Bytes that they take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The flags of all its commands together.
    pub fn flags(&self) -> u32 {
        self.flags
    }

    /// Its commands in their order.
    pub fn into_commands(self) -> Vec<(&'static Row, OwnedArgs)> {
        self.queue
    }
}

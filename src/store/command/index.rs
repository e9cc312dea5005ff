//! Hot path
//!
//! All rows of the table, found by name.

use std::sync::LazyLock;

use super::{
    Command, HIDDEN, acl, clients, cluster, command_info, config, connection, functions, hashes, keys,
    latency, lists, modules, pubsub, replication, server, sets, slowlog, sort, sorted_sets, streams, strings,
    transactions,
};

/// A row with its number.
#[derive(Debug)]
pub struct Row {
    /// What is known about the command.
    pub command: &'static Command,
    /// Its position among all rows.
    pub id: usize,
    /// The position of its first sub-command; the others follow.
    first_sub: usize,
}

/// All commands.
#[derive(Debug)]
pub struct Index {
    rows: Vec<Row>,
    /// Those that are not hidden, without sub-commands.
    commands: Vec<&'static Command>,
    /// Open addressing by the hash of the name: position in `rows` plus one, 0 for none.
    slots: Vec<u16>,
}

const SLOTS: usize = 1024;

/// Every family.
const FAMILIES: &[&[Command]] = &[
    connection::COMMANDS,
    clients::COMMANDS,
    server::COMMANDS,
    acl::COMMANDS,
    cluster::COMMANDS,
    command_info::COMMANDS,
    config::COMMANDS,
    latency::COMMANDS,
    modules::COMMANDS,
    replication::COMMANDS,
    slowlog::COMMANDS,
    transactions::COMMANDS,
    functions::COMMANDS,
    pubsub::COMMANDS,
    keys::COMMANDS,
    strings::COMMANDS,
    hashes::COMMANDS,
    lists::COMMANDS,
    lists::BLOCKING_COMMANDS,
    sort::COMMANDS,
    sorted_sets::COMMANDS,
    sets::COMMANDS,
    streams::COMMANDS,
];

static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let commands: Vec<&'static Command> = FAMILIES.iter().copied().flatten().collect();
    let mut slots = vec![0; SLOTS];
    for (position, command) in commands.iter().enumerate() {
        let mut slot = slot_of(command.name.as_bytes());
        while slots[slot] != 0 {
            slot = (slot + 1) % SLOTS;
        }
        slots[slot] = position as u16 + 1;
    }
    let mut rows: Vec<Row> = Vec::new();
    let mut first_sub = commands.len();
    for &command in &commands {
        rows.push(Row { command, id: rows.len(), first_sub });
        first_sub += command.subcommands.len();
    }
    for &command in commands.iter().flat_map(|command| command.subcommands).collect::<Vec<_>>().iter() {
        rows.push(Row { command, id: rows.len(), first_sub });
    }
    let commands = commands.into_iter().filter(|command| command.flags & HIDDEN == 0).collect();
    Index { rows, commands, slots }
});

/// Where the search for a name begins. Upper and lower case begin at the same place.
#[inline]
fn slot_of(name: &[u8]) -> usize {
    let mut mixed = name.len() as u64;
    for &byte in name.iter().take(12) {
        mixed = mixed.rotate_left(7) ^ u64::from(byte | 0x20);
    }
    (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54) as usize
}

impl Index {
    /// The one of this process.
    pub fn shared() -> &'static Index {
        &INDEX
    }

    /// All rows, those of sub-commands too.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// All commands that COMMAND shows.
    pub fn commands(&self) -> &[&'static Command] {
        &self.commands
    }

    /// The row of a command, in whatever case its name is written.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<&Row> {
        let mut slot = slot_of(name);
        while let Some(position) = usize::from(self.slots[slot]).checked_sub(1) {
            let row = &self.rows[position];
            if row.command.name.len() == name.len() && row.command.name.as_bytes().eq_ignore_ascii_case(name)
            {
                return Some(row);
            }
            slot = (slot + 1) % SLOTS;
        }
        None
    }

    /// The row of a sub-command of `row`.
    pub fn find_sub(&self, row: &Row, name: &[u8]) -> Option<&Row> {
        let matches = |command: &Command| {
            let own = command.name.split_once('|').map_or(command.name, |(_, own)| own);
            own.as_bytes().eq_ignore_ascii_case(name)
        };
        let position = row.command.subcommands.iter().position(matches)?;
        self.rows.get(row.first_sub + position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_found_in_any_case() {
        let index = Index::shared();
        for command in index.commands() {
            let upper = command.name.to_ascii_uppercase();
            for name in [command.name, &upper] {
                assert_eq!(index.find(name.as_bytes()).map(|row| row.command.name), Some(command.name));
            }
            let row = index.find(command.name.as_bytes()).expect("its row");
            for sub in command.subcommands {
                let name = sub.name.split_once('|').expect("a bar").1.to_ascii_uppercase();
                let found = index.find_sub(row, name.as_bytes()).map(|row| (row.command.name, row.id));
                let expected = index.rows.iter().position(|row| row.command.name == sub.name);
                assert_eq!(found, expected.map(|id| (sub.name, id)));
            }
        }
        assert!(index.find(b"").is_none() && index.find(&[b'x'; 1000]).is_none());
    }

    #[test]
    fn no_two_rows_have_one_name() {
        let mut names: Vec<&str> = Index::shared().rows.iter().map(|row| row.command.name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
        assert!(names.len() * 2 < SLOTS);
    }
}

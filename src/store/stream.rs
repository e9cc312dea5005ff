//! Streams: entries with increasing ids, kept in nodes so that trimming is cheap, and the groups that
//! read them.

pub mod entries;
pub mod groups;
pub mod ids;
pub mod node;
mod radix;

use std::collections::BTreeMap;

use entries::Entries;
use groups::Group;

/// A stream.
#[derive(Debug, Clone, Default)]
pub struct Stream {
    /// What was added.
    pub entries: Entries,
    /// Who reads it, by the name of the group.
    pub groups: BTreeMap<Box<[u8]>, Group>,
}

impl Stream {
    /// About how many allocations it is made of.
    pub fn effort(&self) -> usize {
        self.entries.node_count() + self.groups.values().map(|group| 1 + group.pending().len()).sum::<usize>()
    }

    /// About how many bytes it takes.
    pub fn bytes(&self) -> usize {
        let groups: usize = self.groups.iter().map(|(name, group)| name.len() + group.bytes()).sum();
        self.entries.bytes() + groups
    }
}

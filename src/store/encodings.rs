//! How large a value may grow in its small form: the settings that OBJECT ENCODING shows the effect of.

use super::settings::newer_name;

/// The limits of the small forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encodings {
    /// `hash-max-listpack-entries`: fields of a packed hash.
    pub hash_entries: usize,
    /// `hash-max-listpack-value`: bytes of a field or value in a packed hash.
    pub hash_value: usize,
    /// `list-max-listpack-size`: entries of one chunk of a list, or -1 to -5 for 4 to 64 KiB.
    pub list_size: i64,
    /// `set-max-intset-entries`: members of a set of integers.
    pub set_integers: usize,
    /// `zset-max-listpack-entries`: members of a packed sorted set.
    pub sorted_set_entries: usize,
    /// `zset-max-listpack-value`: bytes of a member of a packed sorted set.
    pub sorted_set_value: usize,
    /// `stream-node-max-bytes`: bytes of one node of a stream; 0 for no limit.
    pub stream_node_bytes: usize,
    /// `stream-node-max-entries`: entries of one node of a stream; 0 for no limit.
    pub stream_node_entries: usize,
}

impl Default for Encodings {
    /// Those of Redis 7.0.
    fn default() -> Encodings {
        Encodings {
            hash_entries: 512,
            hash_value: 64,
            list_size: -2,
            set_integers: 512,
            sorted_set_entries: 128,
            sorted_set_value: 64,
            stream_node_bytes: 4096,
            stream_node_entries: 100,
        }
    }
}

impl Encodings {
    /// Takes over the value of a setting, if it is one of these limits.
    pub fn set(&mut self, name: &str, value: &str) {
        let name = newer_name(name);
        if name == "list-max-listpack-size" {
            self.list_size = value.parse().unwrap_or(self.list_size);
            return;
        }
        let limit = match name {
            "hash-max-listpack-entries" => &mut self.hash_entries,
            "hash-max-listpack-value" => &mut self.hash_value,
            "set-max-intset-entries" => &mut self.set_integers,
            "zset-max-listpack-entries" => &mut self.sorted_set_entries,
            "zset-max-listpack-value" => &mut self.sorted_set_value,
            "stream-node-max-bytes" => &mut self.stream_node_bytes,
            "stream-node-max-entries" => &mut self.stream_node_entries,
            _ => return,
        };
        *limit = value.parse().unwrap_or(*limit);
    }
}

//! Keyspace notifications: which are wanted, and those that wait to be published.

use std::fmt;

/// A class of events; several are a sum. The letters are those of `notify-keyspace-events`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Class(u16);

impl Class {
    /// `K`: publish to `__keyspace@<db>__:<key>`.
    const KEYSPACE: Class = Class(1);
    /// `E`: publish to `__keyevent@<db>__:<event>`.
    const KEYEVENT: Class = Class(1 << 1);
    /// `g`
    pub const GENERIC: Class = Class(1 << 2);
    /// `$`
    pub const STRING: Class = Class(1 << 3);
    /// `l`
    pub const LIST: Class = Class(1 << 4);
    /// `s`
    pub const SET: Class = Class(1 << 5);
    /// `h`
    pub const HASH: Class = Class(1 << 6);
    /// `z`
    pub const SORTED_SET: Class = Class(1 << 7);
    /// `x`
    pub const EXPIRED: Class = Class(1 << 8);
    /// `e`
    pub const EVICTED: Class = Class(1 << 9);
    /// `t`
    pub const STREAM: Class = Class(1 << 10);
    /// `m`: a key that was read and is not there.
    pub const KEY_MISS: Class = Class(1 << 11);
    /// `d`
    const MODULE: Class = Class(1 << 12);
    /// `n`: a key that is new. Not among those of `A`.
    pub const NEW: Class = Class(1 << 13);
    /// What `A` stands for.
    const ALL: Class = Class(0b1_0111_1111_1100);

    const LETTERS: [(u8, Class); 14] = [
        (b'g', Class::GENERIC),
        (b'$', Class::STRING),
        (b'l', Class::LIST),
        (b's', Class::SET),
        (b'h', Class::HASH),
        (b'z', Class::SORTED_SET),
        (b'x', Class::EXPIRED),
        (b'e', Class::EVICTED),
        (b't', Class::STREAM),
        (b'd', Class::MODULE),
        (b'n', Class::NEW),
        (b'K', Class::KEYSPACE),
        (b'E', Class::KEYEVENT),
        (b'm', Class::KEY_MISS),
    ];

    /// Whether the two have something in common.
    #[inline]
    pub fn meets(self, other: Class) -> bool {
        self.0 & other.0 != 0
    }

    fn with(self, other: Class) -> Class {
        Class(self.0 | other.0)
    }

    /// Reads the value of `notify-keyspace-events`; `None` when it holds another letter.
    pub fn parse(text: &[u8]) -> Option<Class> {
        text.iter().try_fold(Class::default(), |sum, letter| match letter {
            b'A' => Some(sum.with(Class::ALL)),
            letter => Class::LETTERS.iter().find(|(own, _)| own == letter).map(|(_, class)| sum.with(*class)),
        })
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.0 & Class::ALL.0 == Class::ALL.0;
        if all {
            f.write_str("A")?;
        }
        for (letter, class) in Class::LETTERS {
            // With `A`, Redis leaves out `n` too, although it is not part of it.
            if self.meets(class) && !(all && class.meets(Class::ALL.with(Class::NEW))) {
                write!(f, "{}", char::from(letter))?;
            }
        }
        Ok(())
    }
}

/// Something that happened to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What, as in the name of the channel.
    pub name: &'static str,
    /// In which database.
    pub db: usize,
    /// To which key.
    pub key: Box<[u8]>,
}

/// The events that are wanted and not yet published.
#[derive(Debug, Default)]
pub struct Events {
    wanted: Class,
    waiting: Vec<Event>,
}

impl Events {
    /// Wants those of `class` from now on; nothing unless it names a kind of channel too.
    pub fn want(&mut self, class: Class) {
        self.wanted = class;
    }

    /// Keeps an event if it is wanted.
    #[inline]
    pub fn add(&mut self, class: Class, name: &'static str, db: usize, key: &[u8]) {
        if self.wanted.meets(class) {
            self.keep(name, db, key);
        }
    }

    #[cold]
    fn keep(&mut self, name: &'static str, db: usize, key: &[u8]) {
        if self.wanted.meets(Class::KEYSPACE.with(Class::KEYEVENT)) {
            self.waiting.push(Event { name, db, key: key.into() });
        }
    }

    /// Whether some wait.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Hands out those that wait, each as channel and message, in their order.
    pub fn take(&mut self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut messages = Vec::new();
        for Event { name, db, key } in std::mem::take(&mut self.waiting) {
            if self.wanted.meets(Class::KEYSPACE) {
                let channel = [format!("__keyspace@{db}__:").as_bytes(), &key].concat();
                messages.push((channel, name.as_bytes().to_vec()));
            }
            if self.wanted.meets(Class::KEYEVENT) {
                messages.push((format!("__keyevent@{db}__:{name}").into_bytes(), key.into_vec()));
            }
        }
        messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_read_and_shown_as_redis_shows_them() {
        for (text, shown) in [
            ("", ""),
            ("KEA", "AKE"),
            ("AKE", "AKE"),
            ("g$lshzxetdKE", "AKE"),
            ("Kx", "xK"),
            ("EK$", "$KE"),
            ("KEAmn", "AKEm"),
            ("KEn", "nKE"),
            ("Em", "Em"),
        ] {
            assert_eq!(Class::parse(text.as_bytes()).map(|class| class.to_string()).as_deref(), Some(shown));
        }
        assert_eq!(Class::parse(b"KQ"), None);
    }

    #[test]
    fn only_what_is_wanted_is_kept_and_goes_to_both_channels() {
        let mut events = Events::default();
        events.add(Class::STRING, "set", 0, b"k");
        events.want(Class::parse(b"KE$").expect("letters"));
        events.add(Class::STRING, "set", 3, b"k");
        events.add(Class::GENERIC, "del", 3, b"k");
        let messages = events.take();
        let text: Vec<String> =
            messages.iter().map(|(c, m)| format!("{} {}", c.escape_ascii(), m.escape_ascii())).collect();
        assert_eq!(text, ["__keyspace@3__:k set", "__keyevent@3__:set k"]);
        assert!(events.is_empty());
    }
}

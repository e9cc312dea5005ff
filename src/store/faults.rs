//! Faults that a test asks for: some of the commands are slow, fail, or lose their connection.

use std::time::Duration;

/// What happens to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Harm {
    /// It runs, and its reply waits so long. What the client sends meanwhile waits too.
    Latency(Duration),
    /// It does not run; this is the reply, with its code (`LOADING …`) and without line ends.
    Error(String),
    /// It does not run, and the connection is closed.
    Disconnect,
}

/// A fault: which commands, how many of them, and what happens to them.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// The name of a command in any case, or `None` for all.
    pub command: Option<String>,
    /// The share of them that is hit, from 0 for none to 1 for all.
    pub share: f64,
    /// What happens.
    pub harm: Harm,
}

/// The faults of one store.
#[derive(Debug, Default)]
pub struct Faults {
    faults: Vec<Fault>,
    injected: u64,
}

impl Faults {
    /// Replaces all faults.
    pub fn set(&mut self, faults: Vec<Fault>) {
        self.faults = faults;
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// How many commands were hit so far.
    pub fn injected(&self) -> u64 {
        self.injected
    }

    /// What happens to the command `name` (`config|get` is hit as `config` too). `random` gives a
    /// number for each fault that it may be hit by.
    pub fn hit(&mut self, name: &str, mut random: impl FnMut() -> u64) -> Option<Harm> {
        let family = name.split('|').next().unwrap_or(name);
        let meant = |fault: &&Fault| {
            fault
                .command
                .as_ref()
                .is_none_or(|wanted| wanted.eq_ignore_ascii_case(name) || wanted.eq_ignore_ascii_case(family))
        };
        // 53 bits are what a float can tell apart.
        let mut drawn = || (random() >> 11) as f64 / (1u64 << 53) as f64;
        let fault = self.faults.iter().filter(meant).find(|fault| drawn() < fault.share)?;
        self.injected += 1;
        Some(fault.harm.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(command: Option<&str>, share: f64, harm: Harm) -> Fault {
        Fault { command: command.map(str::to_string), share, harm }
    }

    #[test]
    fn a_share_of_the_named_commands_is_hit() {
        let mut faults = Faults::default();
        faults.set(vec![fault(Some("GET"), 0.25, Harm::Disconnect)]);
        // Numbers that are spread evenly over their range.
        let mut state = 0u64;
        let mut random = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            state
        };
        let hits = (0..10_000).filter(|_| faults.hit("get", &mut random).is_some()).count();
        assert!((2450..2550).contains(&hits), "{hits}");
        assert_eq!(faults.hit("set", &mut random), None);
        assert_eq!(faults.injected(), hits as u64);
    }

    #[test]
    fn all_and_none_are_exact_and_sub_commands_belong_to_their_command() {
        let mut faults = Faults::default();
        let error = Harm::Error("LOADING wait".into());
        faults
            .set(vec![fault(Some("ping"), 0.0, Harm::Disconnect), fault(Some("config"), 1.0, error.clone())]);
        assert_eq!(faults.hit("ping", || 0), None);
        assert_eq!(faults.hit("config|get", || u64::MAX), Some(error));
        faults.set(Vec::new());
        assert!(faults.is_empty());
    }
}

//! Tallies: what a script counted, and what it cost.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Hook;

/// The time that calls of one hook took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HookTime {
    /// Calls, failed ones too.
    pub calls: u64,
    /// All of them together.
    pub total_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

impl HookTime {
    pub(super) fn add(&mut self, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.calls += 1;
        self.total_ns = self.total_ns.saturating_add(ns);
        self.max_ns = self.max_ns.max(ns);
    }

    fn merge(&mut self, other: &HookTime) {
        self.calls += other.calls;
        self.total_ns = self.total_ns.saturating_add(other.total_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
    }
}

/// How often a `check` passed and failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Check {
    /// `check(name, ok)` with `ok` true.
    pub passed: u64,
    /// `check(name, ok)` with `ok` false or nil.
    pub failed: u64,
}

/// What a script counted, and what it cost. Names beyond the thousandth share `(more names)`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tallies {
    /// `metrics.counter(name)` by name.
    pub counters: BTreeMap<String, f64>,
    /// `check(name, ok)` by name.
    pub checks: BTreeMap<String, Check>,
    /// Calls and time by hook.
    pub hooks: BTreeMap<Hook, HookTime>,
    /// Lines printed, those that were not shown too.
    pub printed: u64,
}

impl Tallies {
    /// Adds what another worker's script counted.
    pub fn merge(&mut self, other: &Tallies) {
        for (name, n) in &other.counters {
            *self.counters.entry(name.clone()).or_default() += n;
        }
        for (name, counts) in &other.checks {
            let mine = self.checks.entry(name.clone()).or_default();
            mine.passed += counts.passed;
            mine.failed += counts.failed;
        }
        for (hook, time) in &other.hooks {
            self.hooks.entry(hook.clone()).or_default().merge(time);
        }
        self.printed += other.printed;
    }

    /// What the hooks of requests and responses cost: those that a run calls again and again.
    pub fn of_requests(&self) -> HookTime {
        let mut sum = HookTime::default();
        for hook in [Hook::Request, Hook::Response] {
            if let Some(time) = self.hooks.get(&hook) {
                sum.merge(time);
            }
        }
        sum
    }
}

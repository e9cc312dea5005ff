//! What the server tells about itself is counted here.

use super::Engine;
use crate::store::command;
use crate::store::latency::Sample;
use crate::store::rates::Totals;

impl Engine {
    /// Commands, bytes in and bytes out so far.
    pub fn totals(&self) -> Totals {
        [self.stats.commands, self.stats.bytes_in, self.stats.bytes_out]
    }

    /// Notes how much has happened, now and then.
    #[inline]
    pub fn sample(&mut self) {
        if self.rates.is_due(self.now_us) {
            let totals = self.totals();
            self.rates.sample(totals, command::used_bytes(), self.now_us);
        }
    }

    /// CONFIG RESETSTAT
    pub fn reset_stats(&mut self) {
        self.keyspace.reset_counters();
        self.stats = Default::default();
        self.command_stats.fill(Default::default());
        self.error_stats = Default::default();
        self.rates.clear(command::used_bytes());
    }

    /// Keeps what takes so many milliseconds from now on; nothing with 0.
    pub fn watch_latency(&mut self, millis: u64) {
        self.latency_ticks = match millis {
            0 => u64::MAX,
            millis => self.tick_rate.ticks(millis.saturating_mul(1000)),
        };
    }

    /// Keeps how long something took, if it took long enough.
    pub fn note_latency(&mut self, event: &'static str, ticks: u64) {
        if ticks >= self.latency_ticks {
            let millis = (self.tick_rate.micros(ticks) / 1000.0) as u64;
            self.latency.add(event, Sample { at_s: self.now_us / 1_000_000, millis });
        }
    }
}

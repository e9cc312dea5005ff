//! Events: what was done to a run while it went, as `events.csv` and in `plan.json`.

use serde::{Deserialize, Serialize};

use crate::plan::events::{Deed, Event};
use crate::recorder::summary::EventRow;
use crate::report::csv::table;
use crate::report::figures::to_micros;
use crate::units::{Nanos, Tps};

/// The name of the file.
pub const NAME: &str = "events.csv";

/// Columns of `events.csv`.
pub const EVENTS: &str = "n,at_us,event,rate,stage";

/// `events.csv`: a row for each event, in their order.
pub fn csv(rows: &[EventRow]) -> Vec<u8> {
    let columns: Vec<String> = EVENTS.split(',').map(str::to_string).collect();
    let rows = rows.iter().map(|row| {
        vec![
            row.n.to_string(),
            to_micros(row.at.0).to_string(),
            row.event.to_string(),
            row.rate.map_or_else(String::new, |rate| rate.to_string()),
            row.stage.clone(),
        ]
    });
    table(&columns, rows)
}

/// An event in `plan.json`, from which it can be done again exactly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedEvent {
    /// The first request that is not due before.
    pub n: u64,
    /// From when on it holds.
    pub at_ns: u64,
    /// What was done.
    pub event: String,
    /// The new rate per second, where that was it.
    pub rate: Option<f64>,
    /// The same in millionths of a request per hour, which is what is reckoned with.
    pub rate_units: Option<u64>,
    /// The stage, from 0.
    pub stage: usize,
}

impl PlannedEvent {
    /// As it is written.
    pub fn of(event: &Event) -> PlannedEvent {
        let rate = match event.deed {
            Deed::Rate(rate) => Some(rate),
            _ => None,
        };
        PlannedEvent {
            n: event.n,
            at_ns: event.at.0,
            event: event.deed.word().to_string(),
            rate: rate.map(Tps::as_f64),
            rate_units: rate.map(Tps::units),
            stage: event.stage,
        }
    }

    /// As it was done; `None` where nobody knows what that was.
    pub fn event(&self) -> Option<Event> {
        let deed = match (self.event.as_str(), self.rate_units) {
            ("pause", None) => Deed::Pause,
            ("resume", None) => Deed::Resume,
            ("stop", None) => Deed::Stop,
            ("rate", Some(units)) if units <= Tps::MAX.units() => Deed::Rate(Tps::from_units(units)),
            _ => return None,
        };
        Some(Event { n: self.n, at: Nanos(self.at_ns), deed, stage: self.stage })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_as_it_was_written() {
        let rate = Deed::Rate(Tps::from_units(1_234_567_891));
        for deed in [Deed::Pause, Deed::Resume, rate, Deed::Stop] {
            let event = Event { n: 7, at: Nanos(1_250_000_000), deed, stage: 2 };
            let text = serde_json::to_string(&PlannedEvent::of(&event)).expect("JSON");
            let read: PlannedEvent = serde_json::from_str(&text).expect("JSON");
            assert_eq!(read.event(), Some(event));
        }
        let odd = PlannedEvent {
            n: 0,
            at_ns: 0,
            event: "faster".to_string(),
            rate: None,
            rate_units: None,
            stage: 0,
        };
        assert_eq!(odd.event(), None);
    }

    #[test]
    fn the_file_has_a_row_for_each_event() {
        let row = |event: &'static str, rate: Option<Tps>| EventRow {
            n: 300,
            at: Nanos(3_002_000_000),
            event: event.into(),
            rate,
            stage: "up".to_string(),
        };
        let text = csv(&[row("rate", Some(Tps::per_second(250))), row("stop", None)]);
        let expected = "n,at_us,event,rate,stage\n300,3002000,rate,250,up\n300,3002000,stop,,up\n";
        assert_eq!(String::from_utf8(text).as_deref(), Ok(expected));
    }
}

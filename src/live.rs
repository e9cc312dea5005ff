//! Live: a run while it goes, for whoever looks at it from outside.
//!
//! ```text
//! collector ── Board ── watch channel, which keeps only the newest State ──┬── page, API (serve)
//!                                                                         ├── metrics (telemetry)
//!                                                                         └── link: the program that started the run
//! ```
//!
//! The collector never waits for anybody who looks: it puts a new [`State`] in the place of the last one. Who
//! looks takes the newest when ready for one, and of its points only those that it has not seen ([`Seen`]).

mod board;
mod control;
mod link;
mod state;

pub use board::{Board, Moment};
pub use control::{Action, Control, Controlled};
pub use link::{Wheel, tell_parent, watch_child};
pub use state::{
    Bar, Change, Closed, Counts, End, Facts, LatencyCounts, Now, OF_NO_SECOND, OUTCOMES, Percentile, Phase,
    Point, Seen, Spread, Stage, State, Threshold, ThresholdState, View,
};

/// The most points of a history. A longer run has its seconds joined, two by two, as often as it takes.
pub const POINTS: usize = 3600;

/// Changes that are remembered.
pub const MAX_CHANGES: usize = 200;

/// Stages that are told apart in counts; what happens in later ones is counted with the last of these.
pub const MAX_STAGES: usize = 100;

/// The most characters of a text from outside.
const MAX_TEXT: usize = 300;

/// The upper bounds of the buckets that latencies are counted in, in microseconds: 1, 2.5 and 5 times a power of
/// ten, from 50 µs to 10 s. What takes longer is counted without a bound.
pub const BOUNDS_US: [u64; 17] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];

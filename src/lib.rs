//! `runner`: what happens to a TCP service when it gets exactly this load?
//!
//! ```text
//! scenarios/*.yaml      what the user wrote
//!      │  scenario     types only, unknown keys refused, every problem with its place
//!      ▼
//!   Scenario ── plan ──►  Plan        what will happen: due times, keys, connections, limits
//!                          │
//!   Redis records          │
//!      │  feed             │          prefetch → Lua → frames ready before they are due
//!      ▼                   ▼
//!   handoff ring ──►    engine        workers: one thread, one runtime, its own connections
//!                          │  ▲
//!                 TCP      ▼  │
//!                     responder (ours) or the service under test
//!                          │
//!                  completions { n, times, response, outcome }
//!              ┌───────────┴────────────┐
//!          recorder                  mapping
//!   per-worker shards, HDR       batched writes to Redis, journal when it is away
//!              └───────────┬────────────┘
//!                       ledger: does it balance? ──► verdict ──► report
//! ```
//!
//! The modules in reading order; each imports only from above.

// What numbers and texts mean.
pub mod seeded;
pub mod template;
pub mod units;

// What everything stands on.
pub mod arrival;
pub mod clock;
pub mod handoff;
pub mod ledger;
pub mod script;
pub mod steer;
pub mod wire;

// What was typed, and what will happen.
pub mod plan;
pub mod scenario;

// Both ends of the wire, and what is counted there.
pub mod engine;
pub mod recorder;
pub mod responder;
pub mod simulation;

// Records and responses.
pub mod datastore;
pub mod feed;
pub mod mapping;
pub mod records;
pub mod store;

// What the run is held against.
pub mod thresholds;

// What people see.
pub mod app;
pub mod cli;
pub mod client;
pub mod live;
pub mod report;
pub mod serve;
pub mod telemetry;

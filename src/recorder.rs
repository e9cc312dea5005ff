//! Recorder: what was measured, counted where it happens and merged when somebody looks.
//!
//! Each worker counts in its own [`shard::Shard`], without locks. Numbers are kept in *windows*: one
//! for each second and one for each stage of the schedule. A request belongs to the windows of its
//! **due** time, so every row of `seconds.csv` adds up over workers and machines, and a window is
//! handed over once all its requests have ended.

pub mod histogram;
pub mod shard;
pub mod summary;

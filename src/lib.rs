//! `runner`: what happens to a TCP service when it gets exactly this load?

pub mod units;

pub mod clock;
pub mod store;
pub mod wire;

//! `runner`: what happens to a TCP service when it gets exactly this load?

pub mod template;
pub mod units;

pub mod clock;

pub mod script;

pub mod datastore;
pub mod records;

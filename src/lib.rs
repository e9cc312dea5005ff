//! `runner`: what happens to a TCP service when it gets exactly this load?

pub mod seeded;
pub mod template;
pub mod units;

pub mod clock;
pub mod handoff;
pub mod ledger;
pub mod script;
pub mod wire;

pub mod scenario;

pub mod plan;
pub mod recorder;

pub mod datastore;
pub mod records;

pub mod feed;
pub mod mapping;

pub mod engine;
pub mod responder;
pub mod store;

//! Plan: what will happen, before anything happens.

pub mod connections;
pub mod keys;
mod poisson;
pub mod schedule;
pub mod segment;

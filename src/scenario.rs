//! What the user wrote: the scenario file as types, with every problem at its place.

pub mod schema;

//! Wire: encode and decode, no I/O, shared by engine, responder and store.

pub mod resp;

//! Shape: from records to frames.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crate::feed::payload::{Filling, Payloads, Writer};
use crate::feed::{Error, Kept, Totals};
use crate::handoff::{Chunk, Fate, Item};
use crate::ledger::Outcome;
use crate::script::{Built, Record, Script};
use crate::units::Nanos;
use crate::wire::{self, Codec};

/// Different reasons of misfits that are told apart.
const MAX_MISFITS: usize = 16;

/// One request before its record is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub n: u64,
    pub id: u64,
    pub due: Nanos,
    pub stage: u16,
    pub kind: u8,
}

/// Requests with their records.
#[derive(Debug)]
pub(super) struct Fetched {
    pub wanted: Vec<Wanted>,
    pub keys: Vec<Vec<u8>>,
    pub values: Vec<Option<Vec<u8>>>,
}

pub(super) struct Shaper {
    codec: Codec,
    script: Option<Rc<RefCell<Script>>>,
    keep: Option<Kept>,
    payloads: Arc<Payloads>,
    writer: Writer,
    payload: Vec<u8>,
    totals: Totals,
}

impl Shaper {
    pub(super) fn new(
        codec: Codec,
        script: Option<Rc<RefCell<Script>>>,
        keep: Option<Kept>,
        payloads: Arc<Payloads>,
    ) -> Shaper {
        let script = script.filter(|script| script.borrow().hooks().request);
        let (payload, totals) = (Vec::new(), Totals::default());
        Shaper { codec, script, keep, payloads, writer: Writer::default(), payload, totals }
    }

    /// The totals of the feed: those of fetching with those of shaping.
    pub(super) fn totals(self, fetching: Totals) -> Totals {
        let mut totals = fetching;
        totals.merge(&self.totals);
        totals
    }

    /// Turns fetched records into the items and frames of a chunk.
    pub(super) fn shape(&mut self, fetched: &Fetched, chunk: &mut Chunk) -> Result<(), Error> {
        let rows = fetched.wanted.iter().zip(&fetched.keys).zip(&fetched.values);
        for ((wanted, key), value) in rows {
            let start = chunk.bytes.len() as u32;
            let fate = match value {
                Some(value) => self.frame(wanted, key, value, &mut chunk.bytes)?,
                None => {
                    self.totals.no_record += 1;
                    Fate::Drop(Outcome::NoRecord)
                }
            };
            let frame = start..chunk.bytes.len() as u32;
            let Wanted { n, due, stage, kind, .. } = *wanted;
            chunk.items.push(Item { n, due_ns: due.0, stage, kind, fate, frame });
        }
        Ok(())
    }

    fn frame(&mut self, wanted: &Wanted, key: &[u8], value: &[u8], out: &mut Vec<u8>) -> Result<Fate, Error> {
        let encoded = match &self.script {
            None if !self.payloads.is_empty() => {
                let filling = Filling { n: wanted.n, id: wanted.id, key, value };
                self.writer.write(&self.payloads, wanted.kind.into(), &filling, self.codec, out)
            }
            None => self.codec.encode_record(out, wanted.n, key, value),
            Some(script) => {
                let record = Record { id: wanted.id, key, value, seq: wanted.n, due: wanted.due };
                self.payload.clear();
                if script.borrow_mut().request(&record, &mut self.payload)? == Built::Dropped {
                    return Ok(Fate::Drop(Outcome::Script));
                }
                self.codec.encode_request(out, wanted.n, &self.payload)
            }
        };
        match encoded {
            Ok(()) => {
                if let Some(keep) = &self.keep {
                    keep.borrow_mut().insert(wanted.n, value.into());
                }
                Ok(Fate::Send)
            }
            Err(error) => {
                self.misfit(&error);
                Ok(Fate::Drop(if self.script.is_some() { Outcome::Script } else { Outcome::NoRecord }))
            }
        }
    }

    fn misfit(&mut self, error: &wire::Error) {
        let text = error.to_string();
        let known = self.totals.misfits.len() < MAX_MISFITS || self.totals.misfits.contains_key(&text);
        *self.totals.misfits.entry(if known { text } else { "(more)".to_string() }).or_default() += 1;
    }
}

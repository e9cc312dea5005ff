//! Shape: from records to frames.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crate::feed::payload::{Filling, Payloads, Writer};
use crate::feed::texts::Texts;
use crate::feed::{Error, Kept, Totals};
use crate::handoff::{Chunk, Fate, Item};
use crate::ledger::Outcome;
use crate::records::generator::Generator;
use crate::script::{Built, Record, Script};
use crate::units::Nanos;
use crate::wire::{self, Codec, Framing};

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
    pub records: Records,
}

/// The records of some requests.
#[derive(Debug)]
pub(super) enum Records {
    /// Read from a datastore, which may not have them all.
    Read { keys: Texts, values: Vec<Option<Vec<u8>>> },
    /// In no datastore: each is made when its frame is.
    Made,
}

/// Makes the records that are in no datastore, as far as frames hold them.
#[derive(Debug)]
struct Maker {
    generator: Arc<Generator>,
    needs_keys: bool,
    needs_values: bool,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Maker {
    #[inline]
    fn make(&mut self, id: u64) -> (&[u8], &[u8]) {
        self.key.clear();
        self.value.clear();
        if self.needs_keys {
            self.generator.key(id, &mut self.key);
        }
        if self.needs_values {
            self.generator.value(id, &mut self.value);
        }
        (&self.key, &self.value)
    }
}

pub(super) struct Shaper {
    maker: Maker,
    encoder: Encoder,
}

/// Makes frames out of records.
struct Encoder {
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
        generator: Arc<Generator>,
    ) -> Shaper {
        let maker = Maker {
            generator,
            // A hook gets both, and a Redis server is sent the key with the value.
            needs_keys: script.is_some()
                || !payloads.is_empty()
                || matches!(codec.framing, Framing::Resp { .. }),
            needs_values: script.is_some() || payloads.use_values(),
            key: Vec::new(),
            value: Vec::new(),
        };
        let script = script.filter(|script| script.borrow().hooks().request);
        let (payload, totals) = (Vec::new(), Totals::default());
        let writer = Writer::default();
        Shaper { maker, encoder: Encoder { codec, script, keep, payloads, writer, payload, totals } }
    }

    /// The totals of the feed: those of fetching with those of shaping.
    pub(super) fn totals(self, fetching: Totals) -> Totals {
        let mut totals = fetching;
        totals.merge(&self.encoder.totals);
        totals
    }

    /// Turns fetched records into the items and frames of a chunk.
    pub(super) fn shape(&mut self, fetched: &Fetched, chunk: &mut Chunk) -> Result<(), Error> {
        for (index, wanted) in fetched.wanted.iter().enumerate() {
            let start = chunk.bytes.len() as u32;
            let fate = match &fetched.records {
                Records::Read { keys, values } => match &values[index] {
                    Some(value) => self.encoder.frame(wanted, keys.get(index), value, &mut chunk.bytes)?,
                    None => {
                        self.encoder.totals.no_record += 1;
                        Fate::Drop(Outcome::NoRecord)
                    }
                },
                Records::Made => {
                    let (key, value) = self.maker.make(wanted.id);
                    self.encoder.frame(wanted, key, value, &mut chunk.bytes)?
                }
            };
            let frame = start..chunk.bytes.len() as u32;
            let Wanted { n, due, stage, kind, .. } = *wanted;
            chunk.items.push(Item { n, due_ns: due.0, stage, kind, fate, frame });
        }
        Ok(())
    }
}

impl Encoder {
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

//! `requests.csv`: a row for each request, in the order in which they ended on their worker.

use std::sync::{Mutex, PoisonError};

use crate::handoff::{Batch, Completion};
use crate::ledger::Outcome;
use crate::report::csv::Rows;
use crate::report::figures::to_micros;
use crate::report::{Error, Folder};

/// Columns of `requests.csv`.
pub const REQUESTS: &str =
    "n,key,request_id,response_id,port,connection,intended_us,sent_us,received_us,outcome";

/// The most bytes of a response that are written. Response ids are far shorter; a foreign service may
/// answer with anything.
const MAX_RESPONSE_ID: usize = 1024;

/// The file, shared by the threads that handle completions.
#[derive(Debug)]
pub struct RequestsCsv {
    ports: Vec<u16>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rows: Rows,
    key: Vec<u8>,
}

impl RequestsCsv {
    /// Begins the file. `ports` are the target's, in the order of the plan's addresses.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(folder: &Folder, ports: Vec<u16>) -> Result<RequestsCsv, Error> {
        let rows = Rows::new(folder, "requests.csv", REQUESTS)?;
        Ok(RequestsCsv { ports, state: Mutex::new(State { rows, key: Vec::new() }) })
    }

    /// Writes a row for each completion. `key_of` appends the record key of a request number.
    ///
    /// 1. `request_id` is the request number, which is what goes over the wire.
    /// 2. What was never sent has no port, no connection and no `sent_us`.
    /// 3. What was not matched has no `response_id` and no `received_us`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn batch(&self, batch: &Batch, key_of: impl Fn(u64, &mut Vec<u8>)) -> Result<(), Error> {
        // A thread that died while it wrote has left at worst a part of a row.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { rows, key } = &mut *state;
        for item in &batch.items {
            key.clear();
            key_of(item.n, key);
            self.write(rows, item, key, &batch.bytes)?;
        }
        Ok(())
    }

    fn write(&self, rows: &mut Rows, item: &Completion, key: &[u8], bytes: &[u8]) -> Result<(), Error> {
        let (sent, matched) = (item.outcome.was_sent(), item.outcome == Outcome::Matched);
        let mut numbers = [itoa::Buffer::new(); 5];
        let [n, port, intended, sent_us, received_us] = &mut numbers;
        let n = n.format(item.n);
        let port = self.ports.get(usize::from(item.address)).filter(|_| sent).map(|&p| port.format(p));
        let connection = if sent { format!("{}.{}", item.slot, item.generation) } else { String::new() };
        let body = bytes.get(item.body.start as usize..item.body.end as usize).unwrap_or_default();
        let body = if matched { &body[..body.len().min(MAX_RESPONSE_ID)] } else { &[] };
        rows.row([
            n.as_bytes(),
            String::from_utf8_lossy(key).as_bytes(),
            n.as_bytes(),
            String::from_utf8_lossy(body).as_bytes(),
            port.unwrap_or_default().as_bytes(),
            connection.as_bytes(),
            intended.format(to_micros(item.due_ns)).as_bytes(),
            if sent { sent_us.format(to_micros(item.sent_ns)).as_bytes() } else { &[] },
            if matched { received_us.format(to_micros(item.received_ns)).as_bytes() } else { &[] },
            item.outcome.word().as_bytes(),
        ])
    }

    /// Finishes the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(self) -> Result<(), Error> {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner).rows.finish()
    }
}

//! `requests.csv`: a row for each request, in the order in which they ended on their worker.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;

use crate::handoff::{Batch, Completion};
use crate::ledger::Outcome;
use crate::report::csv::Rows;
use crate::report::figures::to_micros;
use crate::report::timeline::rows;
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

/// The numbers of the requests in `requests.csv` of a folder that ended in one of these ways, as they stand
/// there; `None` where there is no such file.
///
/// # Errors
/// When it cannot be read.
pub fn numbers_of(folder: &Path, outcomes: &[&str]) -> Result<Option<Vec<u64>>, Error> {
    #[derive(Deserialize)]
    struct Line {
        n: u64,
        outcome: String,
    }
    let mut numbers = Vec::new();
    let found = rows(folder, "requests.csv", |line: Line| {
        if outcomes.contains(&line.outcome.as_str()) {
            numbers.push(line.n);
        }
        Ok(())
    })?;
    Ok(found.then_some(numbers))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn completion(n: u64, outcome: Outcome, body: std::ops::Range<u32>) -> Completion {
        let (sent_ns, received_ns) = if outcome.was_sent() { (1_000_400, 2_000_500) } else { (0, 0) };
        Completion {
            n,
            due_ns: 1_000_000,
            sent_ns,
            received_ns,
            outcome,
            address: 1,
            slot: 4,
            generation: 2,
            body,
        }
    }

    fn written(batch: &Batch) -> String {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = Folder::create(dir.path()).expect("made");
        let requests = RequestsCsv::new(&folder, vec![9000, 9001]).expect("begun");
        let key_of = |n: u64, key: &mut Vec<u8>| key.extend_from_slice(format!("record:{n}").as_bytes());
        requests.batch(batch, key_of).expect("written");
        requests.finish().expect("finished");
        fs::read_to_string(dir.path().join("requests.csv")).expect("there")
    }

    #[test]
    fn a_request_has_the_columns_of_the_contract_and_only_what_happened_to_it() {
        let batch = Batch {
            items: vec![
                completion(0, Outcome::Matched, 0..4),
                completion(1, Outcome::TimedOut, 0..0),
                completion(2, Outcome::Late, 0..0),
            ],
            bytes: b"id-7".to_vec(),
        };
        assert_eq!(
            written(&batch),
            "n,key,request_id,response_id,port,connection,intended_us,sent_us,received_us,outcome\n\
             0,record:0,0,id-7,9001,4.2,1000,1000,2001,matched\n\
             1,record:1,1,,9001,4.2,1000,1000,,timed_out\n\
             2,record:2,2,,,,1000,,,late\n"
        );
    }

    #[test]
    fn what_a_foreign_service_answers_is_quoted_bounded_and_always_text() {
        let mut bytes = b"a,\"b\"\n\xff".to_vec();
        bytes.resize(5000, b'x');
        let batch = Batch { items: vec![completion(0, Outcome::Matched, 0..5000)], bytes };
        let text = written(&batch);
        let mut reader = ::csv::Reader::from_reader(text.as_bytes());
        let row = reader.records().next().expect("a row").expect("that reads back");
        assert!(row[3].starts_with("a,\"b\"\n\u{fffd}x") && row[3].len() < 1100);
        assert_eq!(&row[9], "matched");
    }

    #[test]
    fn a_body_that_lies_outside_of_its_batch_is_empty() {
        let batch = Batch { items: vec![completion(0, Outcome::Matched, 3..9)], bytes: vec![1] };
        assert!(written(&batch).contains("0,record:0,0,,9001"));
    }

    #[test]
    fn threads_share_the_file_and_no_row_is_torn() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = Folder::create(dir.path()).expect("made");
        let requests = RequestsCsv::new(&folder, vec![1, 2]).expect("begun");
        std::thread::scope(|scope| {
            for worker in 0..4u64 {
                let requests = &requests;
                scope.spawn(move || {
                    for n in 0..500 {
                        let items = vec![completion(n * 4 + worker, Outcome::Matched, 0..2)];
                        let batch = Batch { items, bytes: b"ok".to_vec() };
                        requests.batch(&batch, |_, key| key.extend_from_slice(b"k")).expect("written");
                    }
                });
            }
        });
        requests.finish().expect("finished");
        let mut reader = ::csv::Reader::from_path(dir.path().join("requests.csv")).expect("there");
        let mut numbers: Vec<u64> =
            reader.records().map(|row| row.expect("a whole row")[0].parse().expect("a number")).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..2000).collect::<Vec<_>>());
    }
}

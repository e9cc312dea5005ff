//! Journal: mappings that wait in a file while Redis is away.
//!
//! One JSON object a line. The first says how mappings look and for which ports, each other is one
//! response. A journal is read front to back while more is appended, and emptied when it has been
//! worked off.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::handoff::{Batch, Completion};
use crate::ledger::Outcome;
use crate::mapping::Error;
use crate::mapping::form::Config;

/// The longest line that is read back: the largest response that a scenario allows, in hexadecimal,
/// with room.
const MAX_LINE: u64 = (2 << 30) + (1 << 16);

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// How mappings look.
    pub mapping: Config,
    /// Ports of the target's addresses, in the plan's order.
    pub ports: Vec<u16>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    record: u64,
    n: u64,
    address: u16,
    slot: u32,
    generation: u32,
    due_ns: u64,
    sent_ns: u64,
    received_ns: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<String>,
    /// A response that is not text, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<String>,
}

/// Responses that were read back, each with the id of its record.
#[derive(Debug, Default)]
pub struct ReadBack {
    /// The responses.
    pub batch: Batch,
    /// The ids of their records.
    pub records: Vec<u64>,
}

/// A journal that is being written, and read again when Redis returns.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    header: Header,
    file: Option<BufWriter<File>>,
    reader: Option<BufReader<File>>,
    lines_read: u64,
    /// Responses that were appended and not yet worked off.
    pending: u64,
}

impl Journal {
    /// A journal at `path`. The file is made when the first response is appended.
    pub fn new(path: PathBuf, header: Header) -> Journal {
        Journal { path, header, file: None, reader: None, lines_read: 0, pending: 0 }
    }

    /// Opens the journal that a run has left.
    ///
    /// # Errors
    /// When it cannot be read or its first line makes no sense.
    pub fn open(path: PathBuf) -> Result<Journal, Error> {
        let failed = |source| Error::Journal { path: path.display().to_string(), source };
        let mut reader = BufReader::new(File::open(&path).map_err(failed)?);
        let first = read_line(&mut reader).map_err(failed)?;
        let header = serde_json::from_str(&first).map_err(|error| Error::JournalLine {
            path: path.display().to_string(),
            line: 1,
            message: error.to_string(),
        })?;
        let mut pending = 0;
        while !read_line(&mut reader).map_err(failed)?.is_empty() {
            pending += 1;
        }
        let file = OpenOptions::new().append(true).open(&path).map_err(failed)?;
        Ok(Journal { file: Some(BufWriter::new(file)), pending, ..Journal::new(path.clone(), header) })
    }

    /// A journal for the same mappings in a file beside this one.
    pub fn beside(&self, word: &str) -> Journal {
        Journal::new(self.path.with_extension(format!("{word}.journal")), self.header.clone())
    }

    /// How mappings look.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Responses that wait in it.
    pub fn pending(&self) -> u64 {
        self.pending
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Journal { path: self.path.display().to_string(), source }
    }

    /// Appends the matched responses of a batch. They are in the file, though perhaps not on the
    /// disk, after [`Journal::flush`].
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn append(&mut self, batch: &Batch, record_of: impl Fn(u64) -> u64) -> Result<(), Error> {
        for item in batch.items.iter().filter(|item| item.outcome == Outcome::Matched) {
            self.append_one(batch, item, record_of(item.n))?;
        }
        Ok(())
    }

    /// Appends one response, whose bytes are in `batch`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn append_one(&mut self, batch: &Batch, item: &Completion, record: u64) -> Result<(), Error> {
        if self.file.is_none() {
            let file = File::create(&self.path).map_err(|source| self.failed(source))?;
            let mut file = BufWriter::new(file);
            write_line(&mut file, &self.header).map_err(|source| self.failed(source))?;
            self.file = Some(file);
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        let body = &batch.bytes[item.body.start as usize..item.body.end as usize];
        // Escaped control characters are six times as long, hexadecimal only twice.
        let text = std::str::from_utf8(body).ok().filter(|text| !text.contains(char::is_control));
        let line = Line {
            record,
            n: item.n,
            address: item.address,
            slot: item.slot,
            generation: item.generation,
            due_ns: item.due_ns,
            sent_ns: item.sent_ns,
            received_ns: item.received_ns,
            response: text.map(str::to_string),
            bytes: text.is_none().then(|| hex(body)),
        };
        let written = write_line(file, &line);
        self.pending += u64::from(written.is_ok());
        written.map_err(|source| self.failed(source))
    }

    /// The error of a journal that holds less than it did.
    pub fn shortened(&self) -> Error {
        let message = "it ends before its last response".to_string();
        Error::JournalLine { path: self.path.display().to_string(), line: self.lines_read, message }
    }

    /// Hands everything appended to the system.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn flush(&mut self) -> Result<(), Error> {
        let flushed = self.file.as_mut().map_or(Ok(()), Write::flush);
        flushed.map_err(|source| self.failed(source))
    }

    /// Reads the next responses, at most `limit`. They stay pending until [`Journal::done`].
    ///
    /// # Errors
    /// When the file cannot be read, or a line makes no sense.
    pub fn read(&mut self, limit: usize) -> Result<ReadBack, Error> {
        self.flush()?;
        if self.reader.is_none() {
            let file = File::open(&self.path).map_err(|source| self.failed(source))?;
            let mut reader = BufReader::new(file);
            read_line(&mut reader).map_err(|source| self.failed(source))?;
            self.lines_read = 1;
            self.reader = Some(reader);
        }
        let mut back = ReadBack::default();
        while back.records.len() < limit {
            let Some(reader) = &mut self.reader else { break };
            let text = read_line(reader).map_err(|source| self.failed(source))?;
            if text.is_empty() {
                break;
            }
            self.lines_read += 1;
            self.take_line(&text, &mut back)?;
        }
        Ok(back)
    }

    fn take_line(&self, text: &str, back: &mut ReadBack) -> Result<(), Error> {
        let wrong = |message: String| Error::JournalLine {
            path: self.path.display().to_string(),
            line: self.lines_read,
            message,
        };
        let line: Line = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let body = match (line.response, line.bytes) {
            (Some(text), None) => text.into_bytes(),
            (None, Some(digits)) => {
                unhex(&digits).ok_or_else(|| wrong("`bytes` is not hexadecimal".to_string()))?
            }
            _ => return Err(wrong("a line has either `response` or `bytes`".to_string())),
        };
        let start = back.batch.bytes.len() as u32;
        back.batch.bytes.extend_from_slice(&body);
        back.batch.items.push(Completion {
            n: line.n,
            due_ns: line.due_ns,
            sent_ns: line.sent_ns,
            received_ns: line.received_ns,
            outcome: Outcome::Matched,
            address: line.address,
            slot: line.slot,
            generation: line.generation,
            body: start..start + body.len() as u32,
        });
        back.records.push(line.record);
        Ok(())
    }

    /// A journal beside this one, for those of its responses that must stay.
    pub fn successor(&self) -> Journal {
        Journal::new(self.path.with_extension("journal.part"), self.header.clone())
    }

    /// Everything has been worked off but what `successor` holds, which takes the place of the file.
    ///
    /// # Errors
    /// When the file cannot be written or renamed.
    pub fn succeed(&mut self, mut successor: Journal) -> Result<(), Error> {
        if successor.pending == 0 {
            return self.done(self.pending);
        }
        successor.flush()?;
        std::fs::rename(&successor.path, &self.path).map_err(|source| self.failed(source))?;
        successor.path.clone_from(&self.path);
        *self = successor;
        Ok(())
    }

    /// `count` responses have been worked off. The last one removes the file.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn done(&mut self, count: u64) -> Result<(), Error> {
        self.pending -= count.min(self.pending);
        if self.pending > 0 || self.file.is_none() {
            return Ok(());
        }
        (self.file, self.reader, self.lines_read) = (None, None, 0);
        std::fs::remove_file(&self.path).map_err(|source| self.failed(source))
    }

    /// What was read last was not worked off: read it again next time.
    pub fn rewind(&mut self, worked_off: u64) {
        // Going back to the front and skipping is simple and happens once an outage.
        self.reader = None;
        let skipped = (|| {
            let mut reader = BufReader::new(File::open(&self.path)?);
            reader.seek(SeekFrom::Start(0))?;
            for _ in 0..=worked_off {
                read_line(&mut reader)?;
            }
            io::Result::Ok(reader)
        })();
        self.reader = skipped.ok();
        self.lines_read = worked_off + 1;
    }
}

fn write_line(file: &mut BufWriter<File>, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *file, line)?;
    file.write_all(b"\n")
}

/// A line without its end; empty at the end of the file, or when the last line is not finished.
fn read_line(reader: &mut BufReader<File>) -> io::Result<String> {
    let mut line = Vec::new();
    std::io::Read::take(&mut *reader, MAX_LINE).read_until(b'\n', &mut line)?;
    if line.len() as u64 == MAX_LINE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a line has no end"));
    }
    if line.pop() != Some(b'\n') {
        return Ok(String::new());
    }
    String::from_utf8(line).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    if !digits.is_ascii() || !digits.len().is_multiple_of(2) {
        return None;
    }
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::form::Into;

    fn header() -> Header {
        let mapping = Config {
            into: Into::Hash,
            key: "response:{key}".to_string(),
            fields: [("response_id".to_string(), "{response.id}".to_string())].into(),
            ttl_ms: 0,
            run: "r".to_string(),
            record_key: "record:{id}".to_string(),
        };
        Header { mapping, ports: vec![9000] }
    }

    fn batch(numbers: std::ops::Range<u64>) -> Batch {
        let mut batch = Batch::default();
        for n in numbers {
            let start = batch.bytes.len() as u32;
            // Every third response is no text.
            batch.bytes.extend_from_slice(if n % 3 == 0 { &[0xff, 0, 1] } else { b"an id" });
            let (outcome, body) = (Outcome::Matched, start..batch.bytes.len() as u32);
            let (due_ns, sent_ns, received_ns) = (n, n + 1, n + 2);
            let completion = Completion {
                n,
                due_ns,
                sent_ns,
                received_ns,
                outcome,
                address: 0,
                slot: 1,
                generation: 2,
                body,
            };
            batch.items.push(completion);
        }
        batch
    }

    #[test]
    fn what_is_appended_is_read_back_in_order_and_the_file_goes_when_all_is_done() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("mapping.journal");
        let mut journal = Journal::new(path.clone(), header());
        assert!(!path.exists());
        journal.append(&batch(0..10), |n| n + 100).expect("written");
        let first = journal.read(4).expect("read");
        assert_eq!(first.records, [100, 101, 102, 103]);
        assert_eq!(first.batch.bytes[..8], *b"\xff\x00\x01an id");
        journal.done(4).expect("six left");
        journal.append(&batch(10..12), |n| n + 100).expect("written while being read");
        let rest = journal.read(100).expect("read");
        assert_eq!(rest.records, (104..112).collect::<Vec<_>>());
        journal.rewind(4);
        assert_eq!(journal.read(100).expect("again").records, rest.records);
        assert_eq!(journal.pending(), 8);
        journal.done(8).expect("all done");
        assert!(!path.exists());
    }

    #[test]
    fn a_journal_that_a_run_left_is_opened_and_a_torn_last_line_is_no_response() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("mapping.journal");
        let mut journal = Journal::new(path.clone(), header());
        journal.append(&batch(0..3), |n| n).expect("written");
        journal.flush().expect("flushed");
        let mut file = OpenOptions::new().append(true).open(&path).expect("there");
        file.write_all(b"{\"record\":3,").expect("torn");
        let mut opened = Journal::open(path.clone()).expect("a journal");
        assert_eq!((opened.pending(), opened.header()), (3, &header()));
        assert_eq!(opened.read(10).expect("read").records, [0, 1, 2]);
        std::fs::write(&path, "nonsense\n").expect("written");
        assert!(matches!(Journal::open(path), Err(Error::JournalLine { line: 1, .. })));
    }
}

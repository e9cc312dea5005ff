//! `counts.csv`: all latencies of a run, exactly, as counts of HDR buckets. Percentiles of several runs
//! cannot be added; these can, so that parts of a run can be made one, and seconds can be joined.
//!
//! A row for each second of the schedule, then one for each stage and each kind of request. A histogram is
//! the compressed V2 form in base64 that all HDR implementations read; values are nanoseconds. What has no
//! samples is empty.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};

use crate::recorder::histogram::{Latencies, MAX_NS};
use crate::report::csv::Rows;
use crate::report::{Error, Folder};

/// The name of the file.
pub const NAME: &str = "counts.csv";

/// Its columns.
pub const COLUMNS: &str = "scope,index,response_time,service_time,lag";

/// What the latencies of a row are those of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// A second of the schedule, counted from 0.
    Second,
    /// A stage, in the order of `stages.csv`.
    Stage,
    /// A kind of request, in the order of `mix.csv`.
    Kind,
}

impl Scope {
    const ALL: [Scope; 3] = [Scope::Second, Scope::Stage, Scope::Kind];

    /// The word used in the file.
    pub const fn word(self) -> &'static str {
        match self {
            Scope::Second => "second",
            Scope::Stage => "stage",
            Scope::Kind => "kind",
        }
    }
}

/// The file while it is written.
pub struct CountsCsv {
    rows: Rows,
    serializer: V2DeflateSerializer,
    bytes: Vec<u8>,
}

impl std::fmt::Debug for CountsCsv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CountsCsv").field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl CountsCsv {
    /// Begins the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(folder: &Folder) -> Result<CountsCsv, Error> {
        let rows = Rows::new(folder, NAME, COLUMNS)?;
        Ok(CountsCsv { rows, serializer: V2DeflateSerializer::new(), bytes: Vec::new() })
    }

    /// Writes a row and gives it to the system; nothing where nothing was sent.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn row(&mut self, scope: Scope, index: u64, latencies: &Latencies) -> Result<(), Error> {
        let Latencies { response, service, lag } = latencies;
        if response.is_empty() && service.is_empty() && lag.is_empty() {
            return Ok(());
        }
        let mut fields = vec![scope.word().to_string(), index.to_string()];
        for histogram in [response, service, lag] {
            fields.push(self.encoded(histogram)?);
        }
        self.rows.row(fields)?;
        self.rows.flush()
    }

    fn encoded(&mut self, histogram: &Histogram<u64>) -> Result<String, Error> {
        let encoded = cell(histogram, &mut self.serializer, &mut self.bytes);
        encoded.map_err(|error| self.rows.failed(io::Error::other(error)))
    }

    /// Finishes the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(self) -> Result<(), Error> {
        self.rows.finish()
    }
}

/// The file while it is read, row by row; only one row is in memory.
pub struct Reader {
    path: PathBuf,
    rows: ::csv::StringRecordsIntoIter<io::BufReader<File>>,
    decoder: Deserializer,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("path", &self.path).finish_non_exhaustive()
    }
}

/// What a row says: whose latencies, the number of the second, stage or kind, and the latencies.
pub type Row = (Scope, u64, Latencies);

impl Reader {
    /// Opens the file of a folder; `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn open(folder: &Path) -> Result<Option<Reader>, Error> {
        let path = folder.join(NAME);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Read { path, source }),
        };
        let rows = ::csv::Reader::from_reader(io::BufReader::new(file)).into_records();
        Ok(Some(Reader { path, rows, decoder: Deserializer::new() }))
    }

    /// The next row; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Content`].
    pub fn next_row(&mut self) -> Result<Option<Row>, Error> {
        let Some(row) = self.rows.next() else { return Ok(None) };
        let row = row.map_err(|error| {
            let line = error.position().map_or(0, ::csv::Position::line);
            self.wrong(line, error.to_string())
        })?;
        let line = row.position().map_or(0, ::csv::Position::line);
        let scope = Scope::ALL.into_iter().find(|scope| Some(scope.word()) == row.get(0));
        let index = row.get(1).and_then(|text| text.parse().ok());
        let (Some(scope), Some(index)) = (scope, index) else {
            let what = "a row begins with second, stage or kind, and a number".to_string();
            return Err(self.wrong(line, what));
        };
        let mut latencies = Latencies::default();
        let Latencies { response, service, lag } = &mut latencies;
        for (place, text) in [response, service, lag].into_iter().zip(row.iter().skip(2)) {
            if !text.is_empty() {
                add(&mut self.decoder, text, place).map_err(|what| self.wrong(line, what))?;
            }
        }
        Ok(Some((scope, index, latencies)))
    }

    /// What is said of a row that no run writes.
    pub(super) fn wrong(&self, line: u64, what: String) -> Error {
        Error::Content { path: self.path.clone(), line, what }
    }
}

/// Reads the file of a folder to its end. Returns whether there is one.
///
/// # Errors
/// [`Error::Read`], [`Error::Content`], and whatever `take` answers.
pub fn read(
    folder: &Path,
    mut take: impl FnMut(Scope, u64, Latencies) -> Result<(), Error>,
) -> Result<bool, Error> {
    let Some(mut reader) = Reader::open(folder)? else { return Ok(false) };
    while let Some((scope, index, latencies)) = reader.next_row()? {
        take(scope, index, latencies)?;
    }
    Ok(true)
}

fn cell(
    histogram: &Histogram<u64>,
    serializer: &mut V2DeflateSerializer,
    bytes: &mut Vec<u8>,
) -> Result<String, String> {
    if histogram.is_empty() {
        return Ok(String::new());
    }
    bytes.clear();
    serializer.serialize(histogram, bytes).map_err(|error| error.to_string())?;
    Ok(STANDARD.encode(bytes))
}

/// Three histograms as cells of this file.
pub(super) fn cells(latencies: &Latencies) -> [String; 3] {
    let (mut serializer, mut bytes) = (V2DeflateSerializer::new(), Vec::new());
    let Latencies { response, service, lag } = latencies;
    // Cannot fail: it is written into memory, and counts of requests fit.
    [response, service, lag].map(|one| cell(one, &mut serializer, &mut bytes).unwrap_or_default())
}

/// What [`cells`] has written; the text says what is wrong with it.
pub(super) fn of_cells(cells: [&str; 3]) -> Result<Latencies, String> {
    let (mut decoder, mut latencies) = (Deserializer::new(), Latencies::default());
    let Latencies { response, service, lag } = &mut latencies;
    for (place, text) in [response, service, lag].into_iter().zip(cells) {
        if !text.is_empty() {
            add(&mut decoder, text, place)?;
        }
    }
    Ok(latencies)
}

fn add(decoder: &mut Deserializer, text: &str, place: &mut Histogram<u64>) -> Result<(), String> {
    let bytes = STANDARD.decode(text).map_err(|error| format!("a histogram is not base64: {error}"))?;
    let read: Result<Histogram<u64>, _> = decoder.deserialize(&mut bytes.as_slice());
    let histogram = read.map_err(|error| format!("a histogram cannot be read: {error}"))?;
    // What is beyond would be counted in the last bucket, and no one would see it.
    if histogram.max() > place.high() || histogram.sigfig() != place.sigfig() {
        return Err(format!("a histogram has other bounds than 1 ns to {MAX_NS} ns with 3 digits"));
    }
    place.add(&histogram).map_err(|error| format!("a histogram does not fit: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(seed: u64) -> Latencies {
        let mut latencies = Latencies::default();
        for value in 1..2000u64 {
            latencies.response.saturating_record(value * value * seed);
            latencies.service.saturating_record(value * 991);
        }
        latencies
    }

    #[test]
    fn what_is_written_reads_back_bucket_for_bucket() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = Folder::create(dir.path()).expect("made");
        let mut counts = CountsCsv::new(&folder).expect("begun");
        counts.row(Scope::Second, 0, &some(3)).expect("written");
        counts.row(Scope::Second, 1, &Latencies::default()).expect("left out");
        counts.row(Scope::Stage, 7, &some(5)).expect("written");
        counts.finish().expect("finished");
        let mut rows = Vec::new();
        let found = read(dir.path(), |scope, index, latencies| {
            rows.push((scope, index, latencies));
            Ok(())
        });
        assert!(found.expect("whole"));
        assert_eq!(rows.len(), 2);
        for ((scope, index, latencies), expected) in
            rows.iter().zip([(Scope::Second, 0, some(3)), (Scope::Stage, 7, some(5))])
        {
            assert_eq!((*scope, *index), (expected.0, expected.1));
            assert_eq!(latencies.response, expected.2.response);
            assert_eq!(latencies.service, expected.2.service);
            assert!(latencies.lag.is_empty());
        }
    }

    #[test]
    fn a_folder_without_the_file_has_no_counts_and_a_broken_file_says_where() {
        let dir = tempfile::tempdir().expect("a folder");
        assert!(!read(dir.path(), |_, _, _| Ok(())).expect("no file is no failure"));
        for row in ["second,0,!!!,,", "minute,0,,,", "second,-1,,,", "second,0,aGVsbG8=,,"] {
            std::fs::write(dir.path().join(NAME), format!("{COLUMNS}\n{row}\n")).expect("written");
            let error = read(dir.path(), |_, _, _| Ok(())).expect_err("refused").to_string();
            assert!(error.contains("counts.csv") && error.contains("line 2"), "{error}");
        }
    }
}

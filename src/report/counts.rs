//! `counts.csv`: all latencies of a run, exactly, as counts of HDR buckets. Percentiles of several runs
//! cannot be added; these can, so that parts of a run can be made one, and seconds can be joined.
//!
//! A row for each second of the schedule, then one for each stage and each kind of request. A histogram is
//! the compressed V2 form in base64 that all HDR implementations read; values are nanoseconds. What has no
//! samples is empty.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::ZlibDecoder;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};

use crate::recorder::histogram::{DIGITS, Latencies, MAX_NS};
use crate::report::csv::Rows;
use crate::report::reading::Table;
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

/// Counts of a histogram as all are here: 33 powers of two from 2^10 on, with 1,024 buckets each (the first has
/// twice as many, and is counted as two).
const BUCKETS: usize = 33 * 1024;

/// The most bytes of a count.
const MAX_COUNT: usize = 9;

/// The most bytes of a histogram that is not compressed.
const MAX_PLAIN: usize = HEADER + BUCKETS * MAX_COUNT;

/// The most characters of a cell. Compressing makes no histogram longer by so much as the kibibyte.
const MAX_CELL: usize = (MAX_PLAIN + 1024).div_ceil(3) * 4;

/// Bytes before the counts.
const HEADER: usize = 40;

/// What a histogram begins with, compressed and not.
const COMPRESSED: [u8; 4] = 0x1c84_9314_u32.to_be_bytes();
const PLAIN: [u8; 4] = 0x1c84_9313_u32.to_be_bytes();

/// The file while it is read, row by row. Only the counts of a row that are not zero cost anything, so a day of
/// seconds is read in seconds.
pub struct Reader {
    path: PathBuf,
    table: Table,
    plain: Vec<u8>,
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
    /// [`Error::Read`], [`Error::Content`].
    pub fn open(folder: &Path) -> Result<Option<Reader>, Error> {
        let Some(table) = Table::open(folder, NAME)? else { return Ok(None) };
        let reader = Reader { path: folder.join(NAME), table, plain: Vec::new() };
        if !reader.table.columns().iter().eq(COLUMNS.split(',')) {
            return Err(reader.wrong(1, format!("the columns are not {COLUMNS}")));
        }
        Ok(Some(reader))
    }

    /// Goes on to the next row and says what it is of; `None` at the end. [`Reader::add_to`] has its latencies.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Content`].
    pub fn advance(&mut self) -> Result<Option<(Scope, u64)>, Error> {
        let Some(row) = self.table.next_row()? else { return Ok(None) };
        let scope = Scope::ALL.into_iter().find(|scope| Some(scope.word()) == row.get(0));
        let index = row.get(1).and_then(|text| text.parse().ok());
        let (Some(scope), Some(index)) = (scope, index) else {
            let what = "a row begins with second, stage or kind, and a number".to_string();
            return Err(self.table.wrong(what));
        };
        Ok(Some((scope, index)))
    }

    /// Adds the latencies of the row to others.
    ///
    /// # Errors
    /// [`Error::Content`].
    pub fn add_to(&mut self, sum: &mut Latencies) -> Result<(), Error> {
        let Latencies { response, service, lag } = sum;
        for (place, text) in [response, service, lag].into_iter().zip(self.table.row().iter().skip(2)) {
            if !text.is_empty() {
                add(text, &mut self.plain, place).map_err(|what| self.table.wrong(what))?;
            }
        }
        Ok(())
    }

    /// The next row with its latencies; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Content`].
    pub fn next_row(&mut self) -> Result<Option<Row>, Error> {
        let Some((scope, index)) = self.advance()? else { return Ok(None) };
        let mut latencies = Latencies::default();
        self.add_to(&mut latencies)?;
        Ok(Some((scope, index, latencies)))
    }

    /// The line of the row that was read last.
    pub(super) fn line(&self) -> u64 {
        self.table.line()
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
    let (mut plain, mut latencies) = (Vec::new(), Latencies::default());
    let Latencies { response, service, lag } = &mut latencies;
    for (place, text) in [response, service, lag].into_iter().zip(cells) {
        if !text.is_empty() {
            add(text, &mut plain, place)?;
        }
    }
    Ok(latencies)
}

/// Adds the histogram that stands in a cell to another. `plain` is room that is used again.
///
/// The deserializer of the package makes a new histogram for each cell, allocates whatever a cell announces, and
/// overflows on a count that none has. Here nothing is believed:
///
/// 1. A cell is no longer than the longest histogram of ours.
/// 2. What is compressed in it is not either; more is not unpacked.
/// 3. Its header is the one that all of ours have, so it has the same bounds and buckets.
/// 4. A count is a zig-zag LEB128 number of at most nine bytes, and a negative one stands for so many zeros. No
///    bucket lies behind the last.
pub(super) fn add(text: &str, plain: &mut Vec<u8>, place: &mut Histogram<u64>) -> Result<(), String> {
    if text.len() > MAX_CELL {
        return Err(format!("a histogram has {} characters, more than {MAX_CELL}", text.len()));
    }
    let bytes = STANDARD.decode(text).map_err(|error| format!("a histogram is not base64: {error}"))?;
    // A cookie and the length of what follows, which the cell itself has already said.
    let packed = bytes.strip_prefix(&COMPRESSED).and_then(|rest| rest.get(4..));
    let packed = packed.ok_or("a histogram is not in the compressed V2 form")?;
    plain.clear();
    let unpacked = ZlibDecoder::new(packed).take(MAX_PLAIN as u64 + 1).read_to_end(plain);
    unpacked.map_err(|error| format!("a histogram cannot be unpacked: {error}"))?;
    let counts = plain.get(HEADER..).filter(|counts| plain[..HEADER] == header(counts.len()));
    let Some(mut counts) = counts.filter(|_| plain.len() <= MAX_PLAIN) else {
        return Err(format!(
            "a histogram has other bounds than 1 ns to {MAX_NS} ns with 3 digits, or is cut"
        ));
    };
    let mut index = 0usize;
    while let Some(number) = leb128(&mut counts).map_err(str::to_string)? {
        let zeros = (number >> 1) + 1;
        if number & 1 == 1 {
            index =
                usize::try_from(zeros).ok().and_then(|zeros| index.checked_add(zeros)).unwrap_or(usize::MAX);
            continue;
        }
        if index >= BUCKETS {
            return Err("a histogram has more buckets than one".to_string());
        }
        if number > 0 {
            place.saturating_record_n(lowest(index), number >> 1);
        }
        index += 1;
    }
    Ok(())
}

/// What stands before so many bytes of counts: cookie, length, an offset of 0, digits, bounds, and a ratio of 1.
fn header(length: usize) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(&PLAIN);
    header[4..8].copy_from_slice(&(length as u32).to_be_bytes());
    header[12..16].copy_from_slice(&u32::from(DIGITS).to_be_bytes());
    header[16..24].copy_from_slice(&1u64.to_be_bytes());
    header[24..32].copy_from_slice(&MAX_NS.to_be_bytes());
    header[32..].copy_from_slice(&1f64.to_be_bytes());
    header
}

/// Takes a number off the front: seven bits a byte, the lowest first, and all eight of the ninth. `None` at the end.
fn leb128(bytes: &mut &[u8]) -> Result<Option<u64>, &'static str> {
    let mut number = 0;
    for place in 0..MAX_COUNT {
        let Some((&byte, rest)) = bytes.split_first() else {
            return if place == 0 { Ok(None) } else { Err("a histogram ends within a count") };
        };
        *bytes = rest;
        if place + 1 == MAX_COUNT {
            return Ok(Some(number | u64::from(byte) << (7 * place)));
        }
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            break;
        }
    }
    Ok(Some(number))
}

/// The smallest value of a bucket: the first 2,048 buckets are 1 ns wide, and each further 1,024 twice as wide as those
/// before.
fn lowest(index: usize) -> u64 {
    let (power, place) = (index / 1024, (index % 1024) as u64);
    if power < 2 { index as u64 } else { (place + 1024) << (power - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::histogram::histogram;
    use proptest::prelude::*;
    use std::io::Write;

    fn some(seed: u64) -> Latencies {
        let mut latencies = Latencies::default();
        for value in 1..2000u64 {
            latencies.response.saturating_record(value * value * seed);
            latencies.service.saturating_record(value * 991);
        }
        latencies
    }

    fn cell(histogram: &Histogram<u64>) -> String {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new().serialize(histogram, &mut bytes).expect("written");
        STANDARD.encode(&bytes)
    }

    /// A cell with these bytes in place of a histogram.
    fn packed(plain: &[u8]) -> String {
        let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(plain).expect("packed");
        let packed = packer.finish().expect("packed");
        STANDARD.encode([&COMPRESSED[..], &(packed.len() as u32).to_be_bytes(), &packed].concat())
    }

    fn with_counts(counts: &[u8]) -> String {
        packed(&[&header(counts.len())[..], counts].concat())
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
    fn an_hour_and_what_counts_as_one_reads_back() {
        for longest in [3_599_199_999_999, 3_599_200_000_000, MAX_NS, u64::MAX] {
            let mut written = histogram();
            written.saturating_record_n(longest, 3);
            let mut read = histogram();
            add(&cell(&written), &mut Vec::new(), &mut read).expect("our own");
            assert_eq!((read.max(), read.len()), (written.max(), 3), "{longest}");
            assert_eq!(read, written);
        }
    }

    #[test]
    fn every_bucket_reads_back_from_the_fullest_histogram() {
        assert_eq!(histogram().distinct_values(), BUCKETS);
        let mut written = histogram();
        (0..BUCKETS).for_each(|index| written.saturating_record_n(lowest(index), u64::MAX >> 12));
        let text = cell(&written);
        assert!(text.len() < MAX_CELL);
        let mut read = histogram();
        add(&text, &mut Vec::new(), &mut read).expect("our own");
        assert_eq!(read, written);
    }

    proptest! {
        #[test]
        fn any_values_read_back_beside_what_was_there(
            values in prop::collection::vec((0..MAX_NS, 1..1u64 << 40), 0..50),
        ) {
            let mut written = histogram();
            values.iter().for_each(|&(value, count)| written.saturating_record_n(value, count));
            let mut read = histogram();
            read.saturating_record_n(77, 5);
            add(&cell(&written), &mut Vec::new(), &mut read).expect("our own");
            written.saturating_record_n(77, 5);
            prop_assert_eq!(read, written);
        }

        #[test]
        fn damaged_bytes_are_refused_or_read_but_never_end_the_program(
            counts in prop::collection::vec(prop_oneof![any::<u8>(), Just(0xff)], 0..40),
            cut in 0..60usize,
        ) {
            let text = with_counts(&counts);
            let _ = add(&text, &mut Vec::new(), &mut histogram());
            let _ = add(&text[..cut.min(text.len())], &mut Vec::new(), &mut histogram());
        }
    }

    #[test]
    fn what_a_cell_announces_is_not_believed() {
        let refused = |text: &str, words: &str| {
            let error = add(text, &mut Vec::new(), &mut histogram()).expect_err(words);
            assert!(error.contains(words), "{error}");
        };
        // Four gibibytes of counts, which are not there.
        let mut announced = header(3);
        announced[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
        refused(&packed(&[&announced[..], &[2, 2, 2]].concat()), "or is cut");
        // Much from little: zeros pack well.
        let mut plain = Vec::new();
        let bomb = packed(&vec![0; 16 << 20]);
        assert!(add(&bomb, &mut plain, &mut histogram()).is_err());
        assert!(bomb.len() < MAX_CELL && plain.len() <= MAX_PLAIN + 1);
        refused(&"A".repeat(MAX_CELL + 4), "characters");
        let mut other = Histogram::<u64>::new_with_bounds(1, MAX_NS, 2).expect("bounds");
        other.saturating_record(7);
        refused(&cell(&other), "other bounds");
        // The most negative number there is, twice, and a count behind it.
        refused(&with_counts(&[[0xff; 9].as_slice(), &[0xff; 9], &[2]].concat()), "more buckets");
        refused(&with_counts(&[0x80]), "ends within a count");
        refused(&STANDARD.encode(b"hello"), "V2");
    }

    #[test]
    fn a_folder_without_the_file_has_no_counts_and_a_broken_file_says_where() {
        let dir = tempfile::tempdir().expect("a folder");
        assert!(!read(dir.path(), |_, _, _| Ok(())).expect("no file is no failure"));
        for row in ["second,0,!!!,,", "minute,0,,,", "second,-1,,,", "second,0,aGVsbG8=,,", "second,0,,"] {
            std::fs::write(dir.path().join(NAME), format!("{COLUMNS}\n{row}\n")).expect("written");
            let error = read(dir.path(), |_, _, _| Ok(())).expect_err("refused").to_string();
            assert!(error.contains("counts.csv") && error.contains("line 2"), "{error}");
        }
    }
}

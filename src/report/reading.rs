//! Reading: the CSV files of a run, row by row, long after it.
//!
//! A file may have been cut, edited or damaged since: rows are of bounded length, cells are what they were before
//! they were guarded against spreadsheets, and whatever no run writes is an error that says where.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use ::csv::{ErrorKind as CsvErrorKind, Position, StringRecord};
use serde::de::DeserializeOwned;

use crate::report::{Error, csv};

/// The most bytes without a line break. The longest rows are those of `counts.csv`, with three histograms of at most
/// 0.4 MB each.
const MAX_LINE: usize = 2 << 20;

/// A CSV file of a run.
pub(super) struct Table {
    path: PathBuf,
    reader: ::csv::Reader<Lines<File>>,
    columns: StringRecord,
    row: StringRecord,
    line: u64,
}

impl Table {
    /// Opens a file of a folder; `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Read`], and [`Error::Content`] where it does not begin with the names of columns.
    pub(super) fn open(folder: &Path, name: &str) -> Result<Option<Table>, Error> {
        let path = folder.join(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Read { path, source }),
        };
        let mut reader = ::csv::ReaderBuilder::new().buffer_capacity(1 << 16).from_reader(Lines::new(file));
        let columns = reader.headers().cloned().map_err(|error| unreadable(&path, error))?;
        Ok(Some(Table { path, reader, columns, row: StringRecord::new(), line: 1 }))
    }

    /// The names of its columns.
    pub(super) fn columns(&self) -> &StringRecord {
        &self.columns
    }

    /// The next row, with its cells as they were before they were guarded; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Content`].
    pub(super) fn next_row(&mut self) -> Result<Option<&StringRecord>, Error> {
        let read = self.reader.read_record(&mut self.row);
        if !read.map_err(|error| unreadable(&self.path, error))? {
            return Ok(None);
        }
        self.line = self.row.position().map_or(0, Position::line);
        unguard(&mut self.row);
        Ok(Some(&self.row))
    }

    /// The line of the row that was read last.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// The row that was read last.
    pub(super) fn row(&self) -> &StringRecord {
        &self.row
    }

    /// The next row as what its columns are; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Content`].
    pub(super) fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        if self.next_row()?.is_none() {
            return Ok(None);
        }
        self.row.deserialize(Some(&self.columns)).map(Some).map_err(|error| self.wrong(error.to_string()))
    }

    /// What is said of a row that no run writes: the one that was read last.
    pub(super) fn wrong(&self, what: String) -> Error {
        Error::Content { path: self.path.clone(), line: self.line, what }
    }
}

/// Takes the apostrophes off that keep spreadsheets from running a cell.
pub(super) fn unguard(row: &mut StringRecord) {
    if row.iter().any(|cell| cell.starts_with('\'')) {
        *row = row.iter().map(csv::unguarded).collect();
    }
}

fn unreadable(path: &Path, error: ::csv::Error) -> Error {
    let path = path.to_path_buf();
    let line = error.position().map_or(0, Position::line);
    let what = error.to_string();
    match error.into_kind() {
        CsvErrorKind::Io(source) if source.kind() != ErrorKind::InvalidData => Error::Read { path, source },
        _ => Error::Content { path, line, what },
    }
}

/// Bytes of a text whose lines are not too long: a row is held in memory as a whole.
struct Lines<R> {
    inner: R,
    /// Bytes since the last line break.
    length: usize,
}

impl<R> Lines<R> {
    fn new(inner: R) -> Lines<R> {
        Lines { inner, length: 0 }
    }
}

impl<R: Read> Read for Lines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.length = match buffer[..read].iter().rposition(|&byte| byte == b'\n') {
            Some(at) => read - at - 1,
            None => self.length + read,
        };
        if self.length > MAX_LINE {
            let what = format!("a line is longer than {MAX_LINE} bytes");
            return Err(io::Error::new(ErrorKind::InvalidData, what));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(text: &[u8]) -> (tempfile::TempDir, Result<Option<Table>, Error>) {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("a.csv"), text).expect("written");
        let table = Table::open(dir.path(), "a.csv");
        (dir, table)
    }

    #[test]
    fn a_row_comes_without_its_guard_and_a_damaged_one_says_where() {
        let (_dir, table) = open(b"a,b\n'=1,''-x\n'5,'\n1\n");
        let mut table = table.expect("readable").expect("there");
        assert_eq!(table.next::<(String, String)>().expect("a row"), Some(("=1".into(), "'-x".into())));
        assert_eq!(table.next::<(String, String)>().expect("a row"), Some(("'5".into(), "'".into())));
        let error = table.next::<(String, String)>().expect_err("one cell").to_string();
        assert!(error.contains("a.csv, line 4"), "{error}");
        let (_dir, table) = open(b"a\nx\n");
        let error =
            table.expect("readable").expect("there").next::<(u64,)>().expect_err("a word").to_string();
        assert!(error.contains("a.csv, line 2"), "{error}");
        let (_dir, table) = open(b"a\n\xff\n");
        let error = table.expect("readable").expect("there").next::<(String,)>().expect_err("no text");
        assert!(matches!(error, Error::Content { line: 2, .. }), "{error}");
        let dir = tempfile::tempdir().expect("a folder");
        assert!(Table::open(dir.path(), "none.csv").expect("no failure").is_none());
    }

    #[test]
    fn a_line_without_an_end_is_refused_before_all_of_it_is_in_memory() {
        let mut text = b"a\n".to_vec();
        text.resize(MAX_LINE, b'x');
        text.push(b'\n');
        let (_dir, table) = open(&text);
        let row =
            table.expect("readable").expect("there").next::<(String,)>().expect("as long as is allowed");
        assert_eq!(row.map(|row| row.0.len()), Some(MAX_LINE - 2));
        text.extend(vec![b'x'; MAX_LINE + (1 << 17)]);
        let (_dir, table) = open(&text);
        let mut table = table.expect("readable").expect("there");
        table.next::<(String,)>().expect("the first row");
        let error = table.next::<(String,)>().expect_err("too long");
        assert!(matches!(error, Error::Content { .. }) && error.to_string().contains("longer"), "{error}");
    }
}

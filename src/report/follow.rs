//! Follow: `seconds.csv` while a run is still writing it, read by another process.

use std::collections::HashSet;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use csv::{ReaderBuilder, StringRecord};
use serde::Deserialize;

use crate::report::Error;
use crate::report::reading::unguard;

/// The most that is read at once; what is left comes with the next reading.
const MAX_READ: u64 = 1 << 20;

/// The file in the folder of a run.
const NAME: &str = "seconds.csv";

/// A row of `seconds.csv`, as far as progress is concerned. Times are in microseconds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct Second {
    /// Which second of the schedule, from 0.
    pub second: u64,
    /// The stage it begins in.
    pub stage: String,
    /// Requests due in it.
    pub scheduled: u64,
    /// Requests sent.
    pub sent: u64,
    /// Responses matched.
    pub matched: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Requests that timed out.
    pub timed_out: u64,
    /// Requests dropped.
    pub dropped: u64,
    /// Requests in flight at its end.
    pub in_flight: u64,
    /// Connections open at its end.
    pub connections: u64,
    /// Median response time.
    pub response_p50_us: u64,
    /// 99th percentile of the response time.
    pub response_p99_us: u64,
    /// 99th percentile of the lag.
    pub lag_p99_us: u64,
}

/// Reads the seconds of a run as they come; of one that is made of several, those of each in turn.
#[derive(Debug)]
pub struct Follower {
    folder: PathBuf,
    /// Folders within it whose seconds have been turned to.
    known: HashSet<PathBuf>,
    place: PathBuf,
    file: Option<File>,
    /// What has been read of a line that is not yet whole.
    rest: Vec<u8>,
    columns: Option<StringRecord>,
}

impl Follower {
    /// Follows the run in this folder, which need not be there yet.
    pub fn new(folder: &Path) -> Follower {
        Follower {
            folder: folder.to_path_buf(),
            known: HashSet::new(),
            place: folder.join(NAME),
            file: None,
            rest: Vec::new(),
            columns: None,
        }
    }

    /// The seconds that have been written since the last time. Rows that make no sense are left out.
    ///
    /// # Errors
    /// When a file is there and cannot be read.
    pub fn read(&mut self) -> Result<Vec<Second>, Error> {
        // One run goes on at a time: what was before these is whole, and is read to its end first.
        let next = self.next_folders();
        let (mut seconds, mut ended) = self.read_on()?;
        for folder in next {
            if !ended {
                break;
            }
            self.place = folder.join(NAME);
            self.known.insert(folder);
            (self.file, self.columns) = (None, None);
            self.rest.clear();
            let (more, to_its_end) = self.read_on()?;
            seconds.extend(more);
            ended = to_its_end;
        }
        Ok(seconds)
    }

    /// Folders of runs that have not been turned to, in the order in which they were made.
    fn next_folders(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().filter_map(Result::ok);
        let mut folders: Vec<_> = entries
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| {
                (
                    entry.metadata().and_then(|data| data.created().or_else(|_| data.modified())).ok(),
                    entry.path(),
                )
            })
            .filter(|(_, path)| !self.known.contains(path))
            .collect();
        folders.sort();
        folders.into_iter().map(|(_, path)| path).collect()
    }

    /// What has been added to the file, and whether that was all.
    fn read_on(&mut self) -> Result<(Vec<Second>, bool), Error> {
        let failed = |source| Error::Read { path: self.place.clone(), source };
        if self.file.is_none() {
            self.file = self.open().map_err(failed)?;
        }
        // The file that was opened is read to its end, whatever name it has got since.
        let Some(file) = &mut self.file else { return Ok((Vec::new(), true)) };
        let read = file.take(MAX_READ).read_to_end(&mut self.rest);
        let read = read.map_err(|source| Error::Read { path: self.place.clone(), source })?;
        let ended = (read as u64) < MAX_READ;
        let Some(end) = self.rest.iter().rposition(|&byte| byte == b'\n') else {
            return Ok((Vec::new(), ended));
        };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        Ok((self.rows(&whole), ended))
    }

    fn open(&self) -> std::io::Result<Option<File>> {
        for place in [self.place.with_extension("csv.part"), self.place.clone()] {
            match File::open(place) {
                Ok(file) => return Ok(Some(file)),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn rows(&mut self, lines: &[u8]) -> Vec<Second> {
        let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(lines);
        let mut seconds = Vec::new();
        for mut record in reader.records().filter_map(Result::ok) {
            unguard(&mut record);
            match &self.columns {
                None => self.columns = Some(record),
                Some(columns) => seconds.extend(record.deserialize(Some(columns)).ok()),
            }
        }
        seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Folder;
    use crate::report::csv::SECONDS;
    use std::io::Write;

    #[test]
    fn seconds_are_read_as_they_are_written_and_to_the_end() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("run");
        let mut follower = Follower::new(&path);
        assert_eq!(follower.read().expect("nothing yet"), []);
        let folder = Folder::create(&path).expect("a folder");
        let mut file = folder.file("seconds.csv").expect("a file");
        let mut write =
            |text: &str| file.write_all(text.as_bytes()).and_then(|()| file.flush()).expect("written");
        write(&format!("{SECONDS}\n0,\"'=a, b\",10,9,8,1,0,1,2,3,4,5,6,7,8,9,10\n1,b,1"));
        let seconds = follower.read().expect("one");
        assert_eq!((seconds.len(), seconds[0].stage.as_str(), seconds[0].matched), (1, "=a, b", 8));
        assert_eq!((seconds[0].in_flight, seconds[0].lag_p99_us), (2, 6));
        assert_eq!(follower.read().expect("half a line"), []);
        write("0,10,10,0,0,0,0,0,0,0,0,0,0,0,0\nnonsense\n");
        file.finish().expect("renamed");
        let seconds = follower.read().expect("the rest");
        assert_eq!((seconds.len(), seconds[0].second, seconds[0].sent), (1, 1, 10));
        let late = Follower::new(&path).read().expect("all of it");
        assert_eq!(late.len(), 2);
    }

    #[test]
    fn runs_of_one_folder_are_read_one_after_the_other() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut follower = Follower::new(dir.path());
        let sent = |follower: &mut Follower| {
            follower.read().expect("seconds").iter().map(|second| second.sent).collect::<Vec<_>>()
        };
        let row = |second: u64, sent: u64| format!("{second},s,1,{sent},0,0,0,0,0,0,0,0,0,0,0,0,0\n");
        let begin = |name: &str| {
            let folder = Folder::create(&dir.path().join(name)).expect("a folder");
            let mut file = folder.file("seconds.csv").expect("a file");
            file.write_all(format!("{SECONDS}\n").as_bytes()).and_then(|()| file.flush()).expect("written");
            file
        };
        let write = |file: &mut crate::report::PartFile, text: String| {
            file.write_all(text.as_bytes()).and_then(|()| file.flush()).expect("written");
        };
        let mut first = begin("2-b");
        write(&mut first, row(0, 1));
        assert_eq!(sent(&mut follower), [1]);
        // The end of the first comes with the beginning of the second.
        write(&mut first, row(1, 2));
        first.finish().expect("renamed");
        let mut second = begin("1-a");
        write(&mut second, row(0, 3));
        assert_eq!(sent(&mut follower), [2, 3]);
        write(&mut second, row(1, 4));
        assert_eq!(sent(&mut follower), [4]);
        assert_eq!(sent(&mut follower), Vec::<u64>::new());
    }
}

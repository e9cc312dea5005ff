//! Report: what a run shows and what it leaves behind.
//!
//! Everything here runs off the measured threads and reads what others have counted: the plan before
//! a run ([`dry_run`]), the live numbers ([`progress`]), rows as they come ([`csv`], [`requests`]) and
//! the summary at the end ([`screen`], [`json`]). [`health`] says what is to be doubted.

mod blocks;
pub mod compare;
pub mod counts;
pub mod csv;
pub mod dry_run;
pub mod events;
pub mod figures;
pub mod follow;
pub mod hdr;
pub mod health;
pub mod json;
pub mod junit;
pub mod merge;
mod page;
pub mod progress;
mod reading;
pub mod requests;
pub mod saved;
pub mod screen;
pub mod search;
pub mod series;
mod timeline;
pub mod verify;

pub use page::STYLE as PAGE_STYLE;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Why a report could not be made. Fits after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The run folder could not be made.
    #[error("create the run folder {path}: {source}; choose another place with --out or report.dir")]
    Create {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file could not be written.
    #[error("write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file could not be read.
    #[error("read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file of an earlier run could not be removed.
    #[error("remove {path}, which an earlier run has left: {source}; choose another folder with --out")]
    Remove {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A complete file could not be given its name.
    #[error("rename {path} into place: {source}")]
    Rename {
        /// The file with the name it still has.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file of a run folder holds what no run has written.
    #[error("read {path}, line {line}: {what}")]
    Content {
        /// The file.
        path: PathBuf,
        /// The line, from 1; 0 where it is not known.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
    /// A folder without `summary.json`.
    #[error("use the run {0}: it has no summary.json")]
    NotSummedUp(PathBuf),
    /// Runs that are no parts of one plan. The text says why.
    #[error("merge the runs: {0}")]
    Parts(String),
    /// A run of which no blocks are known.
    #[error("compare the run {0}: it has no blocks of seconds that are comparable")]
    NoBlocks(PathBuf),
    /// Runs that had different loads.
    #[error("compare {} and {}: they had different loads: {differs}", runs[0], runs[1])]
    Unlike {
        /// Their names.
        runs: [String; 2],
        /// What differs.
        differs: String,
    },
    /// Log lines could not be set up.
    #[error("set up logging: {0}")]
    Logging(String),
}

/// The plan of a run, written before its first request. Where it lies, a run has begun.
pub const PLAN: &str = "plan.json";

/// What people look at.
pub const PAGE: &str = "report.html";

/// The files in which a run leaves what it has measured.
pub const RESULTS: [&str; 13] = [
    "summary.csv",
    "stages.csv",
    "seconds.csv",
    "connections.csv",
    "errors.csv",
    "mix.csv",
    "requests.csv",
    events::NAME,
    counts::NAME,
    saved::NAME,
    hdr::NAME,
    PAGE,
    junit::NAME,
];

/// The run folder.
///
/// Every file is written as `<name>.part` while the run goes and renamed when it is complete, so a
/// name without `.part` is a whole file and a killed run still leaves what it had measured. So does a
/// file for which there was no room: it keeps its `.part`.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes the folder and those above it.
    ///
    /// # Errors
    /// [`Error::Create`].
    pub fn create(dir: &Path) -> Result<Folder, Error> {
        fs::create_dir_all(dir).map_err(|source| Error::Create { path: dir.to_path_buf(), source })?;
        Ok(Folder { path: dir.to_path_buf() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the [`RESULTS`] of an earlier run, so that none of them is taken for one of the run that begins. A
    /// folder in which no run has begun, and whatever else lies there, is left alone.
    ///
    /// # Errors
    /// [`Error::Remove`].
    pub fn begin_anew(&self) -> Result<(), Error> {
        if !self.path.join(PLAN).exists() {
            return Ok(());
        }
        for name in RESULTS {
            for path in [self.path.join(name), self.path.join(format!("{name}.part"))] {
                match fs::remove_file(&path) {
                    Err(source) if source.kind() != io::ErrorKind::NotFound => {
                        return Err(Error::Remove { path, source });
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Removes a file that says what is not true any more. Where that fails too there is nothing left to do.
    pub fn withdraw(&self, name: &str) {
        let _ = fs::remove_file(self.path.join(name));
    }

    /// Writes a whole file: either all of it appears under its name, or nothing does.
    ///
    /// # Errors
    /// [`Error::Write`], [`Error::Rename`].
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let mut file = self.file(name)?;
        file.write_all(bytes).map_err(|source| file.failed(source))?;
        file.finish()
    }

    /// Begins a file that is written while the run goes.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn file(&self, name: &str) -> Result<PartFile, Error> {
        let part = self.path.join(format!("{name}.part"));
        let file = File::create(&part).map_err(|source| Error::Write { path: part.clone(), source })?;
        Ok(PartFile {
            part,
            place: self.path.join(name),
            file: BufWriter::new(file),
            open: true,
            torn: false,
        })
    }
}

/// A file that gets its name when it is finished or dropped, so that a failed run keeps what it has. One that could
/// not be written keeps the name of a part: it ends somewhere within a row.
#[derive(Debug)]
pub struct PartFile {
    part: PathBuf,
    place: PathBuf,
    file: BufWriter<File>,
    open: bool,
    /// Whether something that was to be in it is not.
    torn: bool,
}

impl PartFile {
    /// Writes what is left and renames the file into place.
    ///
    /// # Errors
    /// [`Error::Write`], [`Error::Rename`].
    pub fn finish(mut self) -> Result<(), Error> {
        self.settle()
    }

    /// Where it will be.
    pub fn place(&self) -> &Path {
        &self.place
    }

    fn settle(&mut self) -> Result<(), Error> {
        if !std::mem::replace(&mut self.open, false) {
            return Ok(());
        }
        self.flush().map_err(|source| self.failed(source))?;
        if self.torn {
            return Err(self.failed(io::Error::other("what could not be written before is missing in it")));
        }
        fs::rename(&self.part, &self.place)
            .map_err(|source| Error::Rename { path: self.part.clone(), source })
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Write { path: self.part.clone(), source }
    }
}

impl Write for PartFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes);
        self.torn |= is_final(&written);
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.file.flush();
        self.torn |= is_final(&flushed);
        flushed
    }
}

/// Whether something was not written and will not be tried again.
fn is_final<T>(written: &io::Result<T>) -> bool {
    written.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::Interrupted)
}

impl Drop for PartFile {
    fn drop(&mut self) {
        // Nobody is left to tell; the `.part` file stays where this fails.
        let _ = self.settle();
    }
}

/// The name of a run: `<name>-<UTC time>`, such as `ramp-20261121T140501.123Z`.
pub fn run_id(name: &str, at: SystemTime) -> String {
    let Utc { year, month, day, hour, minute, second, milli } = Utc::of(at);
    format!("{name}-{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}.{milli:03}Z")
}

/// An instant as RFC 3339 with milliseconds, such as `2026-11-21T14:05:01.123Z`.
pub fn timestamp(at: SystemTime) -> String {
    let Utc { year, month, day, hour, minute, second, milli } = Utc::of(at);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// Reads what [`timestamp`] has written; `None` for anything else.
pub fn instant(text: &str) -> Option<SystemTime> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second, milli) = (number(11, 13)?, number(14, 16)?, number(17, 19)?, number(20, 23)?);
    // Counted as in `civil`: from March on, so that the leap day is the last of its year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * month + 2) / 5 + day.checked_sub(1)?;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    let seconds = days.checked_sub(719_468)? * 86_400 + hour * 3600 + minute * 60 + second;
    let at = UNIX_EPOCH + Duration::from_millis(seconds * 1000 + milli);
    // Whatever is no date reads back as another one.
    (timestamp(at) == text).then_some(at)
}

/// A date and time of day in UTC. Instants before 1970 are shown as its first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Utc {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
    milli: u32,
}

impl Utc {
    fn of(at: SystemTime) -> Utc {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
        let (year, month, day) = civil(days);
        Utc {
            year,
            month,
            day,
            hour: seconds / 3600,
            minute: seconds / 60 % 60,
            second: seconds % 60,
            milli: since.subsec_millis(),
        }
    }
}

/// Year, month and day of a number of days since 1970-01-01, in the Gregorian calendar.
///
/// Counted from 0000-03-01, so that the leap day is the last of its year: 400 years have 146,097
/// days, and the months from March on begin at day `(153 × month + 2) / 5` of the year.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests;

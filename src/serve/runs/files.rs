//! Files: what a run leaves behind, by name, as a stream.

use std::fs::{DirEntry, File, FileType};
use std::io::Read;
use std::path::{Path, PathBuf};

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Serialize;
use utoipa::ToSchema;

use crate::serve::problem::Problem;

/// Files that are listed.
const MAX_LISTED: usize = 5000;

/// Bytes that are read at once.
const PIECE: u64 = 256 << 10;

/// A file of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(in crate::serve) struct RunFile {
    /// Its name; one that ends with `.part` is still being written. That of a run among several begins with the
    /// folder of that run, as in `1-load.users=50/summary.csv`.
    #[schema(example = "summary.csv")]
    name: String,
    /// Its length in bytes.
    bytes: u64,
}

/// The files in the folder of a run, and in those of the runs that it is made of. None where there is no folder yet.
pub(super) fn list(folder: &Path) -> Vec<RunFile> {
    let mut files = Vec::new();
    let mut folders = Vec::new();
    for entry in entries(folder) {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => folders.extend(entry.file_name().into_string()),
            _ => files.extend(file(&entry, "")),
        }
    }
    files.sort_by(|a: &RunFile, b: &RunFile| a.name.cmp(&b.name));
    folders.sort();
    for name in folders {
        let mut within: Vec<RunFile> =
            entries(&folder.join(&name)).filter_map(|entry| file(&entry, &format!("{name}/"))).collect();
        within.sort_by(|a, b| a.name.cmp(&b.name));
        files.extend(within);
    }
    files.truncate(MAX_LISTED);
    files
}

fn entries(folder: &Path) -> impl Iterator<Item = DirEntry> {
    std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok)
}

/// A link is none: it may lead elsewhere.
fn file(entry: &DirEntry, before: &str) -> Option<RunFile> {
    entry.file_type().ok().filter(FileType::is_file)?;
    let name = format!("{before}{}", entry.file_name().to_str()?);
    Some(RunFile { name, bytes: entry.metadata().ok()?.len() })
}

/// One of them. Its name is looked up in the list, so that it leads nowhere else.
pub(super) async fn get(folder: PathBuf, name: String) -> Result<Response, Problem> {
    let content_type = content_type(&name);
    let shown: String = name.chars().take(60).collect();
    let found = move || {
        let listed = list(&folder).into_iter().find(|file| file.name == name)?;
        File::open(folder.join(listed.name)).ok()
    };
    let file = aside(found).await?.ok_or_else(|| {
        let help = "GET /api/v1/runs/{id} lists its files";
        Problem::not_found("no_such_file", format!("the run has no file {shown}"), help)
    })?;
    let headers =
        [(header::CONTENT_TYPE, content_type), (header::CONTENT_SECURITY_POLICY, "sandbox allow-scripts")];
    Ok((headers, stream_of(file)).into_response())
}

/// Does something that may wait for a disk, on a thread for such things.
pub(super) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Problem::shutting_down())
}

/// A file, piece by piece. Each takes a thread only while it is read, and is read when the client has taken the one
/// before: a slow client holds an open file, and nothing that others wait for.
fn stream_of(file: File) -> Body {
    Body::from_stream(stream::unfold(Some(file), |file| async move {
        let mut file = file?;
        let read = aside(move || {
            let mut piece = Vec::new();
            let read = (&mut file).take(PIECE).read_to_end(&mut piece);
            read.map(|_| (piece, file))
        });
        match read.await.ok()? {
            Ok((piece, _)) if piece.is_empty() => None,
            Ok((piece, file)) => Some((Ok(Bytes::from(piece)), Some(file))),
            Err(error) => Some((Err(error), None)),
        }
    }))
}

fn content_type(name: &str) -> &'static str {
    let name = name.strip_suffix(".part").unwrap_or(name);
    match name.rsplit_once('.').map(|(_, end)| end) {
        Some("csv") => "text/csv; charset=utf-8",
        Some("json") => "application/json",
        Some("yaml") => "application/yaml",
        Some("html") => "text/html; charset=utf-8",
        Some("xml") => "application/xml",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

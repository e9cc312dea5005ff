//! Data to standard output, talk to standard error.

use std::io::{self, Write};

use super::socket::Interrupts;
use super::{Error, paint};

/// Bytes of a long text that are written before it is looked whether more is wanted.
const PIECE: usize = 64 * 1024;

/// Says something beside the data, in one line, whatever a server has put into it.
pub fn say(text: &str) {
    // A stderr that is gone cannot be told so.
    let _ = writeln!(io::stderr(), "{}", paint::visible(text.as_bytes()));
}

/// Writes data at once, so that messages are seen as they come.
///
/// # Errors
/// [`Error::Output`].
pub fn print(bytes: &[u8]) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(Error::Output)
}

/// Writes a text of which a person may see enough before its end.
///
/// # Errors
/// [`Error::Interrupted`] when Ctrl-C has left out the rest, or [`Error::Output`].
pub fn print_until(text: &str, interrupts: &Interrupts) -> Result<(), Error> {
    let mut rest = text;
    loop {
        let mut end = rest.len().min(PIECE);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let (piece, left) = rest.split_at(end);
        print(piece.as_bytes())?;
        if left.is_empty() {
            return Ok(());
        }
        if interrupts.take() {
            return Err(Error::Interrupted);
        }
        rest = left;
    }
}

/// Whether output has failed because its reader has seen enough (`| head`), which is no failure.
pub fn is_unread(error: &Error) -> bool {
    matches!(error, Error::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
}

//! Hot path
//!
//! Several commands, parsed before the first of them runs.

use super::Error;
use super::args::{Args, Span};
use super::command::KEPT_ARGS;

/// Commands that were parsed one after the other, before the first of them runs.
#[derive(Debug, Default)]
pub struct Batch {
    commands: Vec<Parsing>,
    spans: Vec<Span>,
    /// The arguments of inline commands.
    inline: Vec<u8>,
}

/// One command of a batch.
#[derive(Debug, Clone, Copy)]
struct Parsing {
    /// Its arguments among the spans of the batch.
    spans: (usize, usize),
    /// Where its bytes begin, in the input or among the inline ones.
    base: usize,
    is_inline: bool,
    /// Where it ends in the input.
    end: usize,
}

/// Why a batch has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchEnd {
    /// It is full, or all of the input is parsed; what follows begins there.
    At(usize),
    /// The command that begins there is not complete.
    Incomplete(usize),
    /// What follows is no command.
    Error(Error),
}

impl Batch {
    /// Forgets all commands.
    #[inline]
    pub fn clear(&mut self) {
        self.commands.clear();
        self.spans.clear();
        self.inline.clear();
        if self.spans.capacity() > KEPT_ARGS {
            self.spans.shrink_to(KEPT_ARGS);
        }
    }

    /// How many commands.
    #[inline]
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// The command at `index`, and where it ends in `input`, which must be what was parsed.
    #[inline]
    pub fn get<'a>(&'a self, index: usize, input: &'a [u8]) -> Option<(Args<'a>, usize)> {
        let command = self.commands.get(index)?;
        let bytes = if command.is_inline { &self.inline[..] } else { input };
        let spans = &self.spans[command.spans.0..command.spans.1];
        Some((Args { bytes: bytes.get(command.base..)?, spans }, command.end))
    }

    #[inline]
    pub(super) fn push(&mut self, args: Args<'_>, base: usize, end: usize, is_inline: bool) {
        let first = self.spans.len();
        self.spans.extend_from_slice(args.spans);
        let base = if is_inline { self.inline.len() } else { base };
        if is_inline {
            self.inline.extend_from_slice(args.bytes);
        }
        self.commands.push(Parsing { spans: (first, self.spans.len()), base, is_inline, end });
    }
}

//! Hot path
//!
//! The arguments of a command, where they came in or kept for later.

use std::ops::Index;

/// Where an argument lies in the bytes that were parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub(super) start: u32,
    pub(super) len: u32,
}

/// The arguments of one command; the first is its name.
#[derive(Debug, Clone, Copy)]
pub struct Args<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) spans: &'a [Span],
}

impl<'a> Args<'a> {
    /// How many, with the name.
    #[inline]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is none, which a parsed command never has.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The argument at `index`, with the lifetime of the input.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        self.spans.get(index).map(|span| self.slice(*span))
    }

    /// The arguments from `index` on; none when there are fewer.
    #[inline]
    pub fn from(&self, index: usize) -> Args<'a> {
        Args { bytes: self.bytes, spans: self.spans.get(index..).unwrap_or_default() }
    }

    /// The first `count` arguments; all when there are fewer.
    #[inline]
    pub fn first(&self, count: usize) -> Args<'a> {
        Args { bytes: self.bytes, spans: self.spans.get(..count).unwrap_or(self.spans) }
    }

    /// All of them in order.
    #[inline]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone + use<'a> {
        let bytes = self.bytes;
        self.spans.iter().map(move |span| &bytes[span.start as usize..][..span.len as usize])
    }

    /// Two by two; a last odd one is left out.
    #[inline]
    pub fn pairs(&self) -> impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])> + Clone + use<'a> {
        let this = *self;
        self.spans.chunks_exact(2).map(move |pair| (this.slice(pair[0]), this.slice(pair[1])))
    }

    #[inline]
    fn slice(&self, span: Span) -> &'a [u8] {
        &self.bytes[span.start as usize..][..span.len as usize]
    }
}

impl Index<usize> for Args<'_> {
    type Output = [u8];

    /// # Panics
    /// When there are fewer arguments; a command's arity is checked before it runs.
    #[inline]
    fn index(&self, index: usize) -> &[u8] {
        self.slice(self.spans[index])
    }
}

/// A copy of a command that outlives the bytes it came in: queued, waiting, or logged.
#[derive(Debug, Clone, Default)]
pub struct OwnedArgs {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

impl OwnedArgs {
    /// A copy of `args`.
    pub fn from_args(args: Args<'_>) -> OwnedArgs {
        args.iter().collect()
    }

    /// The command, to run it.
    pub fn args(&self) -> Args<'_> {
        Args { bytes: &self.bytes, spans: &self.spans }
    }

    /// Forgets all arguments, and gives back space beyond `kept` bytes.
    pub fn clear(&mut self, kept: usize) {
        self.bytes.clear();
        self.bytes.shrink_to(kept);
        self.spans.clear();
    }

    /// Appends an argument.
    pub fn push(&mut self, arg: &[u8]) {
        let span = self.append(arg);
        self.spans.push(span);
    }

    /// Replaces the argument at `index`, when there is one.
    pub fn set(&mut self, index: usize, arg: &[u8]) {
        if index < self.spans.len() {
            self.spans[index] = self.append(arg);
        }
    }

    /// Bytes that it holds.
    pub fn bytes(&self) -> usize {
        self.bytes.capacity() + self.spans.capacity() * size_of::<Span>()
    }

    /// A parsed command is below 4 GiB, and what is added to one is an id.
    fn append(&mut self, arg: &[u8]) -> Span {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(arg);
        Span { start, len: arg.len() as u32 }
    }
}

impl<'a> FromIterator<&'a [u8]> for OwnedArgs {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(args: I) -> OwnedArgs {
        let args = args.into_iter();
        let mut owned = OwnedArgs { bytes: Vec::new(), spans: Vec::with_capacity(args.size_hint().0) };
        args.for_each(|arg| owned.push(arg));
        owned
    }
}

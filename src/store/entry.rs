//! Hot path
//!
//! One key with its value in one allocation; a table holds only its address.
//!
//! ```text
//! header: u64     bits 0..4 kind, bit 4 has expiry, bit 5 long key, bits 6..8 form of a string,
//!                 bits 8..25 inline length, bits 25..49 access clock, bits 49..64 key length
//! expiry: i64     only with bit 4: milliseconds of the wall clock
//! key
//! value           `Kind::Object`: the address of a boxed Object; else the inline bytes
//! ```
//!
//! A key of 32 KiB or more has bit 5, and its length in the bits 25..64: no access clock is kept for it.
//! The block is rounded up to eight bytes. A record of 100 bytes under `record:N` takes 128. This is
//! the only file of the store with raw memory in it.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::ops::Range;
use std::ptr::NonNull;

use super::value::Object;

/// The largest string that stands in the entry itself; larger ones get their own allocation.
pub const MAX_INLINE: usize = 64 * 1024;
/// The largest value of another type that stands in the entry itself.
pub const MAX_PACKED: usize = INLINE_MASK as usize;

const HEADER: usize = 8;
const EXPIRY: usize = 8;
const HAS_EXPIRY: u64 = 1 << 4;
const KIND_MASK: u64 = 0xf;
const LONG_KEY: u64 = 1 << 5;
const FORM_SHIFT: u32 = 6;
const FORM_MASK: u64 = 0b11;
const INLINE_SHIFT: u32 = 8;
const INLINE_MASK: u64 = 0x1_ffff;
const CLOCK_SHIFT: u32 = 25;
const CLOCK_MASK: u64 = 0xff_ffff;
const KEY_SHIFT: u32 = 49;
/// The first length of a key that does not fit above the clock.
const LONG_KEY_LEN: usize = 1 << (64 - KEY_SHIFT);

/// What the inline bytes of an entry are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    String,
    /// A small hash: fields and values one after the other.
    PackedHash,
    /// The value has its own allocation.
    Object,
}

/// How a string in an entry came to be. OBJECT tells the difference, nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As SET makes it: an integer when it reads as one, and then shared when it is small.
    Plain,
    /// Text, even when it reads as an integer.
    Text,
    /// As `Plain`, but never shared.
    Unshared,
}

/// A new value for an entry.
#[derive(Debug)]
pub enum Content<'a> {
    /// A string of at most [`MAX_INLINE`] bytes.
    String(&'a [u8]),
    /// A packed hash of at most [`MAX_PACKED`] bytes.
    PackedHash(&'a [u8]),
    /// Anything else.
    Object(Box<Object>),
}

/// A value as it is read.
#[derive(Debug, Clone, Copy)]
pub enum View<'a> {
    /// A string.
    String(&'a [u8]),
    /// A packed hash.
    PackedHash(&'a [u8]),
    /// Anything else.
    Object(&'a Object),
}

/// A key with its value and perhaps an expiry.
pub struct Entry(NonNull<u8>);

// SAFETY: an entry owns its block and everything in it, and nothing else points there.
unsafe impl Send for Entry {}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("key", &self.key().escape_ascii().to_string())
            .field("expiry", &self.expiry())
            .field("value", &self.view())
            .finish()
    }
}

impl Entry {
    /// Joins key, value and expiry (milliseconds of the wall clock).
    ///
    /// # Panics
    /// When an inline value is above [`MAX_PACKED`] or the key above 4 GiB: callers choose
    /// [`Content::Object`] for the first, and the parser's limits prevent the second.
    pub fn new(key: &[u8], content: Content<'_>, expiry: Option<i64>) -> Entry {
        let (kind, inline) = match &content {
            Content::String(bytes) => (Kind::String, *bytes),
            Content::PackedHash(bytes) => (Kind::PackedHash, *bytes),
            Content::Object(_) => (Kind::Object, &[][..]),
        };
        assert!(inline.len() <= MAX_PACKED && key.len() <= u32::MAX as usize, "entry too large");
        let header = kind as u64
            | if expiry.is_some() { HAS_EXPIRY } else { 0 }
            | (inline.len() as u64) << INLINE_SHIFT
            | key_bits(key.len());
        let layout = layout_of(header);
        // SAFETY: the layout is at least a header long.
        let block = unsafe { alloc(layout) };
        let Some(block) = NonNull::new(block) else { handle_alloc_error(layout) };
        let entry = Entry(block);
        // SAFETY: the block is aligned to eight bytes and holds header, expiry, key and value as the
        // header says; all four are written here, before anything reads them.
        unsafe {
            entry.0.cast::<u64>().write(header);
            if let Some(at) = expiry {
                entry.0.add(HEADER).cast::<i64>().write(at);
            }
            let start = key_start(header);
            entry.at(start).copy_from_nonoverlapping(NonNull::from(key).cast(), key.len());
            let value = entry.at(start + key.len());
            match content {
                Content::String(_) | Content::PackedHash(_) => {
                    value.copy_from_nonoverlapping(NonNull::from(inline).cast(), inline.len());
                }
                Content::Object(object) => value.cast().write_unaligned(Box::into_raw(object)),
            }
        }
        entry
    }

    #[inline]
    fn header(&self) -> u64 {
        // SAFETY: every block begins with its header.
        unsafe { self.0.cast::<u64>().read() }
    }

    fn set_header(&mut self, header: u64) {
        // SAFETY: every block begins with its header, and `&mut self` is the only access.
        unsafe { self.0.cast::<u64>().write(header) }
    }

    /// The address `offset` bytes into the block, which must not lie beyond its end.
    #[inline]
    unsafe fn at(&self, offset: usize) -> NonNull<u8> {
        // SAFETY: the caller keeps `offset` within the block.
        unsafe { self.0.add(offset) }
    }

    /// The key.
    #[inline]
    pub fn key(&self) -> &[u8] {
        let header = self.header();
        // SAFETY: the key stands there with that length, initialised, for as long as `self` is borrowed.
        unsafe { std::slice::from_raw_parts(self.at(key_start(header)).as_ptr(), key_len(header)) }
    }

    /// When it expires, in milliseconds of the wall clock.
    #[inline]
    pub fn expiry(&self) -> Option<i64> {
        // SAFETY: the flag says that the eight bytes after the header are the expiry.
        (self.header() & HAS_EXPIRY != 0).then(|| unsafe { self.at(HEADER).cast::<i64>().read() })
    }

    /// Whether it has expired at `now_ms`.
    #[inline]
    pub fn is_expired(&self, now_ms: i64) -> bool {
        self.expiry().is_some_and(|at| at <= now_ms)
    }

    /// Notes that it is used at `clock` (seconds; 24 bits count).
    #[inline]
    pub fn touch(&mut self, clock: u32) {
        let header = self.header();
        let new = header & !(CLOCK_MASK << CLOCK_SHIFT) | (u64::from(clock) & CLOCK_MASK) << CLOCK_SHIFT;
        // Most uses of a busy key fall into a second that is noted already.
        if new != header && header & LONG_KEY == 0 {
            self.set_header(new);
        }
    }

    /// When it was last used, as [`Entry::touch`] has noted it; `None` for a key that is too long.
    pub fn touched(&self) -> Option<u32> {
        let header = self.header();
        (header & LONG_KEY == 0).then_some((header >> CLOCK_SHIFT & CLOCK_MASK) as u32)
    }

    /// Seconds since it was last used. They start again after 194 days.
    pub fn idle_s(&self, clock: u32) -> u32 {
        self.touched().map_or(0, |touched| clock.wrapping_sub(touched) & CLOCK_MASK as u32)
    }

    /// How its string came to be.
    pub fn form(&self) -> Form {
        match self.header() >> FORM_SHIFT & FORM_MASK {
            1 => Form::Text,
            2 => Form::Unshared,
            _ => Form::Plain,
        }
    }

    /// Notes how its string came to be. A new value is plain.
    pub fn set_form(&mut self, form: Form) {
        let bits = match form {
            Form::Plain => 0,
            Form::Text => 1,
            Form::Unshared => 2,
        };
        self.set_header(self.header() & !(FORM_MASK << FORM_SHIFT) | bits << FORM_SHIFT);
    }

    /// What kind of value it holds.
    #[inline]
    pub fn kind(&self) -> Kind {
        match self.header() & KIND_MASK {
            k if k == Kind::String as u64 => Kind::String,
            k if k == Kind::PackedHash as u64 => Kind::PackedHash,
            _ => Kind::Object,
        }
    }

    /// The value.
    #[inline]
    pub fn view(&self) -> View<'_> {
        match self.kind() {
            Kind::String => View::String(self.inline()),
            Kind::PackedHash => View::PackedHash(self.inline()),
            // SAFETY: this kind holds an address that came from a box, owned by this entry.
            Kind::Object => View::Object(unsafe { &*self.object_address() }),
        }
    }

    /// The inline bytes; none for an object.
    #[inline]
    pub fn inline(&self) -> &[u8] {
        let header = self.header();
        // SAFETY: the inline value stands behind the key with that length, initialised.
        unsafe { std::slice::from_raw_parts(self.at(value_start(header)).as_ptr(), inline_len(header)) }
    }

    /// The object, when the value is one.
    pub fn object_mut(&mut self) -> Option<&mut Object> {
        // SAFETY: as in `view`, and `&mut self` is the only access.
        (self.kind() == Kind::Object).then(|| unsafe { &mut *self.object_address() })
    }

    /// The address in an entry of kind `Object`.
    unsafe fn object_address(&self) -> *mut Object {
        // SAFETY: the caller has checked the kind; the address stands behind the key.
        unsafe { self.at(value_start(self.header())).cast::<*mut Object>().read_unaligned() }
    }

    /// Replaces the value and the expiry. The key stays, and where the block is large enough, the block.
    pub fn replace(&mut self, content: Content<'_>, expiry: Option<i64>) {
        match content {
            Content::String(bytes) if self.kind() == Kind::String => {
                self.set_expiry(expiry);
                self.splice(0..inline_len(self.header()), bytes);
                if self.header() & FORM_MASK << FORM_SHIFT != 0 {
                    self.set_form(Form::Plain);
                }
            }
            content => {
                let touched = self.touched();
                *self = Entry::new(self.key(), content, expiry);
                touched.into_iter().for_each(|clock| self.touch(clock));
            }
        }
    }

    /// Replaces the inline bytes in `range` by `with`. Does nothing to an object.
    ///
    /// # Panics
    /// When the range lies outside of the inline bytes, or the result would be above [`MAX_PACKED`].
    pub fn splice(&mut self, range: Range<usize>, with: &[u8]) {
        let header = self.header();
        let old = inline_len(header);
        assert!(range.start <= range.end && range.end <= old, "range outside of the value");
        let new = old - range.len() + with.len();
        assert!(new <= MAX_PACKED, "entry too large");
        if self.kind() == Kind::Object {
            return;
        }
        let new_header = header & !(INLINE_MASK << INLINE_SHIFT) | (new as u64) << INLINE_SHIFT;
        let value = value_start(header);
        let tail = old - range.end;
        if new > old {
            self.resize(layout_of(header), layout_of(new_header));
        }
        // SAFETY: the block holds the larger of both lengths here. The tail moves within it, then the
        // new bytes, which belong to somebody else, fill the gap.
        unsafe {
            let to = self.at(value + range.start + with.len());
            self.at(value + range.end).copy_to(to, tail);
            let gap = self.at(value + range.start);
            gap.copy_from_nonoverlapping(NonNull::from(with).cast(), with.len());
        }
        if new < old {
            self.resize(layout_of(header), layout_of(new_header));
        }
        self.set_header(new_header);
    }

    /// Sets or removes the expiry.
    pub fn set_expiry(&mut self, expiry: Option<i64>) {
        let header = self.header();
        let len = block_len(header);
        match (header & HAS_EXPIRY != 0, expiry) {
            (false, None) => {}
            (true, Some(at)) => self.write_expiry(at),
            (false, Some(at)) => {
                self.resize(layout_of(header), layout_of(header | HAS_EXPIRY));
                // SAFETY: the block has grown by the expiry's eight bytes.
                unsafe { self.at(HEADER).copy_to(self.at(HEADER + EXPIRY), len - HEADER) };
                self.set_header(header | HAS_EXPIRY);
                self.write_expiry(at);
            }
            (true, None) => {
                // SAFETY: both ranges lie within the block, which shrinks afterwards.
                unsafe {
                    self.at(HEADER + EXPIRY).copy_to(self.at(HEADER), len - HEADER - EXPIRY);
                }
                self.set_header(header & !HAS_EXPIRY);
                self.resize(layout_of(header), layout_of(header & !HAS_EXPIRY));
            }
        }
    }

    /// The same value and expiry under another key.
    pub fn with_key(mut self, key: &[u8]) -> Entry {
        match self.object_mut().map(std::mem::take) {
            Some(object) => Entry::new(key, Content::Object(Box::new(object)), self.expiry()),
            None => self.duplicate(key),
        }
    }

    /// A copy of value and expiry under another key.
    pub fn duplicate(&self, key: &[u8]) -> Entry {
        let content = match self.view() {
            View::String(bytes) => Content::String(bytes),
            View::PackedHash(bytes) => Content::PackedHash(bytes),
            View::Object(object) => Content::Object(Box::new(object.clone())),
        };
        let mut copy = Entry::new(key, content, self.expiry());
        copy.set_form(self.form());
        copy
    }

    fn write_expiry(&mut self, at: i64) {
        // SAFETY: called only when the header has the flag, so that the place exists.
        unsafe { self.at(HEADER).cast::<i64>().write(at) }
    }

    fn resize(&mut self, old: Layout, new: Layout) {
        if old == new {
            return;
        }
        // SAFETY: the block was allocated with `old`; `new` is a header long at least.
        let block = unsafe { realloc(self.0.as_ptr(), old, new.size()) };
        let Some(block) = NonNull::new(block) else { handle_alloc_error(new) };
        self.0 = block;
    }

    /// Asks the processor to fetch the header and the key, which will be needed soon.
    #[inline]
    pub fn prefetch(&self) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch reads nothing and cannot fault.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(self.0.as_ptr().cast());
        }
    }

    /// Bytes of the block, without an object's own.
    pub fn block_bytes(&self) -> usize {
        layout_of(self.header()).size()
    }
}

impl Clone for Entry {
    fn clone(&self) -> Entry {
        self.duplicate(self.key())
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.kind() == Kind::Object {
            // SAFETY: the address came from a box, and nobody reads it after this.
            drop(unsafe { Box::from_raw(self.object_address()) });
        }
        // SAFETY: the block was allocated with this layout, which follows from its header.
        unsafe { dealloc(self.0.as_ptr(), layout_of(self.header())) }
    }
}

/// A key's length as it stands in the header.
#[inline]
fn key_bits(len: usize) -> u64 {
    if len < LONG_KEY_LEN { (len as u64) << KEY_SHIFT } else { LONG_KEY | (len as u64) << CLOCK_SHIFT }
}

#[inline]
fn key_len(header: u64) -> usize {
    let shift = if header & LONG_KEY == 0 { KEY_SHIFT } else { CLOCK_SHIFT };
    (header >> shift) as usize
}

#[inline]
fn inline_len(header: u64) -> usize {
    (header >> INLINE_SHIFT & INLINE_MASK) as usize
}

#[inline]
fn key_start(header: u64) -> usize {
    // Bit 4 becomes eight bytes without a branch.
    HEADER + ((header & HAS_EXPIRY) >> 1) as usize
}

#[inline]
fn value_start(header: u64) -> usize {
    key_start(header) + key_len(header)
}

#[inline]
fn block_len(header: u64) -> usize {
    let object = if header & KIND_MASK == Kind::Object as u64 { size_of::<*mut Object>() } else { 0 };
    value_start(header) + inline_len(header) + object
}

#[inline]
fn layout_of(header: u64) -> Layout {
    let size = block_len(header).next_multiple_of(8);
    // SAFETY: eight is a power of two, and the size is below 5 GiB.
    unsafe { Layout::from_size_align_unchecked(size, 8) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(entry: &Entry) -> &[u8] {
        match entry.view() {
            View::String(bytes) => bytes,
            other => panic!("not a string: {other:?}"),
        }
    }

    #[test]
    fn a_record_of_a_hundred_bytes_takes_one_block_of_128() {
        let entry = Entry::new(b"record:500000", Content::String(&[b'x'; 100]), None);
        assert_eq!(entry.block_bytes(), 128);
    }

    #[test]
    fn an_expiry_comes_and_goes_and_the_rest_stays() {
        let mut entry = Entry::new(b"key", Content::String(b"value"), None);
        for expiry in [Some(7), Some(8), None, None, Some(9), None] {
            entry.set_expiry(expiry);
            assert_eq!((entry.expiry(), entry.key(), text(&entry)), (expiry, &b"key"[..], &b"value"[..]));
        }
        entry.set_expiry(Some(10));
        assert!(!entry.is_expired(9) && entry.is_expired(10));
    }

    #[test]
    fn a_key_of_any_length_is_kept_and_the_clock_beside_it() {
        for len in [0, 1, 32_767, 32_768, 100_000] {
            let key = vec![b'k'; len];
            let mut entry = Entry::new(&key, Content::String(&[b'x'; MAX_INLINE]), Some(1));
            entry.touch(0xff_fffe);
            assert_eq!((entry.key(), text(&entry)), (&key[..], &[b'x'; MAX_INLINE][..]));
            let idle = if len < LONG_KEY_LEN { 7 } else { 0 };
            assert_eq!(entry.idle_s(5), idle, "{len}");
            entry.replace(Content::PackedHash(b"packed"), None);
            assert_eq!((entry.key(), entry.idle_s(5), entry.inline()), (&key[..], idle, &b"packed"[..]));
        }
    }

    #[test]
    fn the_form_of_a_string_goes_with_copies_and_ends_with_the_value() {
        let mut entry = Entry::new(b"key", Content::String(b"17"), Some(9));
        entry.set_form(Form::Text);
        entry.touch(3);
        let mut copy = entry.duplicate(b"other");
        assert_eq!(
            (copy.form(), copy.key(), text(&copy), copy.expiry()),
            (Form::Text, &b"other"[..], &b"17"[..], Some(9))
        );
        copy.replace(Content::String(b"18"), None);
        assert_eq!((copy.form(), entry.form(), entry.idle_s(4)), (Form::Plain, Form::Text, 1));
    }

    #[test]
    fn an_object_is_owned_and_dropped_with_its_entry() {
        let mut entry = Entry::new(b"key", Content::Object(Box::new(Object::Raw(vec![1, 2, 3]))), Some(5));
        let Some(Object::Raw(bytes)) = entry.object_mut() else { panic!("not raw") };
        bytes.push(4);
        entry.set_expiry(None);
        assert!(matches!(entry.view(), View::Object(Object::Raw(bytes)) if bytes == &[1, 2, 3, 4]));
        entry.replace(Content::String(b"short"), Some(6));
        assert_eq!((entry.key(), entry.expiry(), text(&entry)), (&b"key"[..], Some(6), &b"short"[..]));
        entry.replace(Content::Object(Box::new(Object::Raw(Vec::new()))), None);
        assert_eq!(entry.kind(), Kind::Object);
    }

    proptest! {
        #[test]
        fn a_splice_does_what_a_vector_would(
            key in prop::collection::vec(any::<u8>(), 0..20),
            start in prop::collection::vec(any::<u8>(), 0..60),
            edits in prop::collection::vec(
                (any::<prop::sample::Index>(), any::<prop::sample::Index>(),
                 prop::collection::vec(any::<u8>(), 0..60), any::<Option<i64>>()), 0..8),
        ) {
            let mut entry = Entry::new(&key, Content::String(&start), None);
            let mut model = start;
            for (a, b, with, expiry) in edits {
                let (a, b) = (a.index(model.len() + 1), b.index(model.len() + 1));
                let range = a.min(b)..a.max(b);
                entry.splice(range.clone(), &with);
                model.splice(range, with);
                entry.set_expiry(expiry);
                prop_assert_eq!(text(&entry), &model[..]);
                prop_assert_eq!(entry.key(), &key[..]);
                prop_assert_eq!(entry.expiry(), expiry);
            }
        }
    }
}

//! Hot path
//!
//! Lists: a deque of packed chunks.
//!
//! A small list is one chunk, which stands in the list itself. Elements are pushed and popped at both
//! ends in constant time; one in the middle is found by counting chunks from the nearer end.

mod chunk;

use std::collections::VecDeque;
use std::ops::Range;

use super::entry::{Entry, View};
use super::value::Object;
use chunk::{Chunk, packed_len};

/// One of the two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// LEFT: where the first element is.
    Head,
    /// RIGHT: where the last element is.
    Tail,
}

/// When an element begins a new chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes in a chunk. One element that is larger has a chunk of its own.
    chunk_bytes: u32,
    /// Elements in a chunk.
    chunk_elements: u32,
}

impl Default for Limits {
    /// Those of `list-max-listpack-size -2`.
    fn default() -> Limits {
        Limits::of_setting(-2)
    }
}

impl Limits {
    /// What a value of `list-max-listpack-size` means: -1 to -5 are 4 to 64 KiB a chunk, any other
    /// is a number of elements, which then share at most 8 KiB.
    pub fn of_setting(value: i64) -> Limits {
        let kib = match value {
            ..=-5 => 64,
            -4..=-1 => 2 << value.unsigned_abs(),
            _ => 8,
        };
        let elements = if value < 0 { u32::MAX } else { u32::try_from(value.max(1)).unwrap_or(u32::MAX) };
        Limits { chunk_bytes: kib * 1024, chunk_elements: elements }
    }
}

/// A list.
///
/// Only the list without elements has an empty chunk, and that is `front`.
#[derive(Debug, Default, Clone)]
pub struct List {
    len: usize,
    limits: Limits,
    front: Chunk,
    rest: VecDeque<Chunk>,
}

impl List {
    /// The list in an entry; `None` when it holds another type.
    #[inline]
    pub fn of(entry: &Entry) -> Option<&List> {
        match entry.view() {
            View::Object(Object::List(list)) => Some(list),
            _ => None,
        }
    }

    /// The list in an entry, to change it.
    #[inline]
    pub fn of_mut(entry: &mut Entry) -> Option<&mut List> {
        match entry.object_mut() {
            Some(Object::List(list)) => Some(list),
            _ => None,
        }
    }

    /// An empty list.
    pub fn new(limits: Limits) -> List {
        List { limits, ..List::default() }
    }

    /// How many elements.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that it holds on to, itself not counted.
    pub fn bytes(&self) -> usize {
        let chunks = self.rest.iter().map(Chunk::capacity).sum::<usize>();
        self.front.capacity() + chunks + self.rest.capacity() * size_of::<Chunk>()
    }

    #[inline]
    fn chunk(&self, index: usize) -> Option<&Chunk> {
        if index == 0 { Some(&self.front) } else { self.rest.get(index - 1) }
    }

    #[inline]
    fn chunk_mut(&mut self, index: usize) -> Option<&mut Chunk> {
        if index == 0 { Some(&mut self.front) } else { self.rest.get_mut(index - 1) }
    }

    /// How many chunks, at least one.
    pub fn chunks(&self) -> usize {
        1 + self.rest.len()
    }

    #[inline]
    fn end_chunk(&self, end: End) -> &Chunk {
        match end {
            End::Head => &self.front,
            End::Tail => self.rest.back().unwrap_or(&self.front),
        }
    }

    #[inline]
    fn end_chunk_mut(&mut self, end: End) -> &mut Chunk {
        match end {
            End::Head => &mut self.front,
            End::Tail => self.rest.back_mut().unwrap_or(&mut self.front),
        }
    }

    /// Adds an element at one end.
    #[inline]
    pub fn push(&mut self, end: End, element: &[u8]) {
        let limits = self.limits;
        self.len += 1;
        if self.end_chunk(end).accepts(packed_len(element.len()), limits) {
            self.end_chunk_mut(end).push(end, element, limits);
        } else {
            self.push_in_new_chunk(end, element);
        }
    }

    #[cold]
    fn push_in_new_chunk(&mut self, end: End, element: &[u8]) {
        let need = packed_len(element.len());
        let chunk = if need > self.limits.chunk_bytes as usize {
            Chunk::alone(element)
        } else {
            // It will probably be filled as the one before it was.
            let mut chunk = Chunk::with_room(end, need.max(self.end_chunk(end).used() / 4));
            chunk.push(end, element, self.limits);
            chunk
        };
        if self.front.count() == 0 {
            self.front = chunk;
            return;
        }
        match end {
            End::Head => {
                let full = std::mem::replace(&mut self.front, chunk);
                self.rest.push_front(full);
            }
            End::Tail => self.rest.push_back(chunk),
        }
    }

    /// The element at one end.
    #[inline]
    pub fn peek(&self, end: End) -> Option<&[u8]> {
        self.end_chunk(end).peek(end)
    }

    /// Removes the element at one end; whether there was one.
    #[inline]
    pub fn drop_one(&mut self, end: End) -> bool {
        if self.len == 0 {
            return false;
        }
        self.len -= 1;
        let chunk = self.end_chunk_mut(end);
        chunk.drop_one(end);
        if chunk.count() == 0 {
            self.drop_empty(end);
        } else if self.rest.is_empty() {
            self.front.shrink();
        }
        true
    }

    /// Removes the chunk at one end, which is empty.
    #[cold]
    fn drop_empty(&mut self, end: End) {
        match end {
            End::Head => self.front = self.rest.pop_front().unwrap_or_default(),
            End::Tail => drop(self.rest.pop_back()),
        }
        if self.rest.is_empty() {
            self.rest = VecDeque::new();
        }
    }

    /// Removes so many elements, at most all, at one end.
    fn drop_many(&mut self, end: End, mut elements: usize) {
        elements = elements.min(self.len);
        self.len -= elements;
        while elements > 0 {
            let chunk = self.end_chunk_mut(end);
            let dropped = chunk.count().min(elements);
            chunk.drop_many(end, dropped);
            if chunk.count() == 0 {
                self.drop_empty(end);
            } else {
                chunk.shrink();
            }
            elements -= dropped;
        }
    }

    /// Keeps the elements in a range and removes all others.
    pub fn keep(&mut self, range: Range<usize>) {
        let end = range.end.min(self.len);
        let start = range.start.min(end);
        self.drop_many(End::Tail, self.len - end);
        self.drop_many(End::Head, start);
    }

    /// The chunk of an element that is there, and its place in the chunk.
    fn locate(&self, index: usize) -> (usize, usize) {
        if index < self.front.count() {
            return (0, index);
        }
        if index < self.len / 2 {
            let mut left = index;
            let mut chunk = 0;
            while let Some(count) = self.chunk(chunk).map(Chunk::count).filter(|count| *count <= left) {
                left -= count;
                chunk += 1;
            }
            return (chunk, left);
        }
        let (mut chunk, mut start) = (self.chunks(), self.len);
        while start > index && chunk > 0 {
            chunk -= 1;
            start -= self.chunk(chunk).map_or(0, Chunk::count);
        }
        (chunk, index - start)
    }

    /// An element.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        if index >= self.len {
            return None;
        }
        let (chunk, index) = self.locate(index);
        self.chunk(chunk)?.get(index)
    }

    /// Replaces an element; whether it is there.
    pub fn set(&mut self, index: usize, element: &[u8]) -> bool {
        if index >= self.len {
            return false;
        }
        let limits = self.limits;
        let (at, within) = self.locate(index);
        let Some(chunk) = self.chunk_mut(at) else { return false };
        if chunk.count() == 1 {
            *chunk = Chunk::alone(element);
        } else if chunk.used() + chunk.growth(within, element) <= limits.chunk_bytes as usize {
            chunk.set(within, element);
        } else {
            chunk.remove(within);
            self.len -= 1;
            self.insert(index, element);
        }
        true
    }

    /// Adds an element before the one at `index`, or at the tail.
    pub fn insert(&mut self, index: usize, element: &[u8]) {
        if index == 0 {
            return self.push(End::Head, element);
        }
        if index >= self.len {
            return self.push(End::Tail, element);
        }
        let (limits, need) = (self.limits, packed_len(element.len()));
        let (mut at, within) = self.locate(index);
        self.len += 1;
        let Some(chunk) = self.chunk_mut(at) else { return };
        if chunk.accepts(need, limits) {
            return chunk.insert(within, element);
        }
        if within > 0 {
            // The chunk is full: its second part becomes one of its own.
            let tail = chunk.split_off(within);
            at += 1;
            self.rest.insert(at - 1, tail);
        }
        // Now the element belongs between the chunks `at - 1` and `at`.
        if let Some(before) = self.chunk_mut(at.wrapping_sub(1)).filter(|chunk| chunk.accepts(need, limits)) {
            before.push(End::Tail, element, limits);
        } else if let Some(after) = self.chunk_mut(at).filter(|chunk| chunk.accepts(need, limits)) {
            after.push(End::Head, element, limits);
        } else {
            // `at` is not 0: the element is not the first, so a chunk stands before it.
            self.rest.insert(at - 1, Chunk::alone(element));
        }
        self.join(at);
        self.join(at.saturating_sub(2));
    }

    /// Joins a chunk with the one behind it when both together make one.
    fn join(&mut self, at: usize) {
        let limits = self.limits;
        let (Some(chunk), Some(next)) = (self.chunk(at), self.chunk(at + 1)) else { return };
        if chunk.accepts_chunk(next, limits)
            && let Some(next) = self.rest.remove(at)
            && let Some(chunk) = self.chunk_mut(at)
        {
            chunk.append(&next);
        }
    }

    /// Removes up to `max` elements that equal `element`, those nearest to `end`; how many.
    pub fn remove_equal(&mut self, end: End, element: &[u8], max: usize) -> usize {
        let chunks = self.chunks();
        let mut removed = 0;
        let (mut touched, mut only) = (0, 0);
        for step in 0..chunks {
            let at = if end == End::Head { step } else { chunks - 1 - step };
            let Some(chunk) = self.chunk_mut(at) else { break };
            let here = chunk.remove_equal(end, element, max - removed);
            if here > 0 {
                removed += here;
                (touched, only) = (touched + 1, at);
            }
            if removed == max {
                break;
            }
        }
        self.len -= removed;
        match touched {
            0 => {}
            1 if self.chunk(only).is_some_and(|chunk| chunk.count() > 0) => {
                self.join(only);
                self.join(only.saturating_sub(1));
            }
            _ => self.tidy(),
        }
        removed
    }

    /// Removes empty chunks and joins those that make one.
    fn tidy(&mut self) {
        let limits = self.limits;
        let front = std::mem::take(&mut self.front);
        let rest = std::mem::take(&mut self.rest);
        let mut kept: VecDeque<Chunk> = VecDeque::new();
        for chunk in std::iter::once(front).chain(rest).filter(|chunk| chunk.count() > 0) {
            match kept.back_mut() {
                Some(last) if last.accepts_chunk(&chunk, limits) => last.append(&chunk),
                _ => kept.push_back(chunk),
            }
        }
        self.front = kept.pop_front().unwrap_or_default();
        self.rest = if kept.is_empty() { VecDeque::new() } else { kept };
    }

    /// The elements from `index` on, towards the tail.
    pub fn iter_from(&self, index: usize) -> Iter<'_> {
        if index >= self.len {
            return Iter { list: self, chunk: self.chunks(), left: &[] };
        }
        let (at, within) = self.locate(index);
        let left = self.chunk(at).map_or(&[][..], |chunk| &chunk.packed()[chunk.offset(within)..]);
        Iter { list: self, chunk: at, left }
    }

    /// All elements.
    pub fn iter(&self) -> Iter<'_> {
        self.iter_from(0)
    }

    /// The elements from `index` on, towards the head.
    pub fn iter_back_from(&self, index: usize) -> IterBack<'_> {
        if index >= self.len {
            return IterBack { list: self, chunk: 0, left: &[] };
        }
        let (at, within) = self.locate(index);
        let left = self.chunk(at).map_or(&[][..], |chunk| &chunk.packed()[..chunk.offset(within + 1)]);
        IterBack { list: self, chunk: at, left }
    }
}

/// Elements towards the tail.
#[derive(Debug, Clone)]
pub struct Iter<'a> {
    list: &'a List,
    chunk: usize,
    left: &'a [u8],
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.left.is_empty() {
            self.chunk += 1;
            self.left = self.list.chunk(self.chunk)?.packed();
        }
        let (element, left) = chunk::first(self.left)?;
        self.left = left;
        Some(element)
    }
}

/// Elements towards the head.
#[derive(Debug, Clone)]
pub struct IterBack<'a> {
    list: &'a List,
    chunk: usize,
    left: &'a [u8],
}

impl<'a> Iterator for IterBack<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.left.is_empty() {
            self.chunk = self.chunk.checked_sub(1)?;
            self.left = self.list.chunk(self.chunk)?.packed();
        }
        let (element, left) = chunk::last(self.left)?;
        self.left = left;
        Some(element)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque as Model;

    /// One change of a list.
    #[derive(Debug, Clone)]
    enum Edit {
        Push(bool, Vec<u8>),
        Pop(bool),
        Set(prop::sample::Index, Vec<u8>),
        Insert(prop::sample::Index, Vec<u8>),
        Remove(bool, Vec<u8>, usize),
        Keep(prop::sample::Index, prop::sample::Index),
    }

    fn end(head: bool) -> End {
        if head { End::Head } else { End::Tail }
    }

    fn element() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            6 => "[a-c]{0,2}".prop_map(String::into_bytes),
            3 => (0usize..300).prop_map(|len| vec![b'm'; len]),
            1 => prop::sample::select(vec![127, 128, 4000, 4096, 8190, 8192, 16_383, 16_384, 70_000])
                .prop_map(|len| vec![b'l'; len]),
        ]
    }

    fn edit() -> impl Strategy<Value = Edit> {
        let index = any::<prop::sample::Index>;
        prop_oneof![
            8 => (any::<bool>(), element()).prop_map(|(head, element)| Edit::Push(head, element)),
            4 => any::<bool>().prop_map(Edit::Pop),
            3 => (index(), element()).prop_map(|(at, element)| Edit::Set(at, element)),
            4 => (index(), element()).prop_map(|(at, element)| Edit::Insert(at, element)),
            2 => (any::<bool>(), element(), 0usize..4).prop_map(|(head, e, max)| Edit::Remove(head, e, max)),
            1 => (index(), index()).prop_map(|(a, b)| Edit::Keep(a, b)),
        ]
    }

    fn apply(list: &mut List, model: &mut Model<Vec<u8>>, edit: Edit) {
        match edit {
            Edit::Push(head, element) => {
                list.push(end(head), &element);
                if head { model.push_front(element) } else { model.push_back(element) }
            }
            Edit::Pop(head) => {
                let expected = if head { model.pop_front() } else { model.pop_back() };
                assert_eq!(list.peek(end(head)), expected.as_deref());
                assert_eq!(list.drop_one(end(head)), expected.is_some());
            }
            Edit::Set(at, element) => {
                let at = at.index(model.len() + 1);
                assert_eq!(list.set(at, &element), at < model.len());
                if let Some(place) = model.get_mut(at) {
                    *place = element;
                }
            }
            Edit::Insert(at, element) => {
                let at = at.index(model.len() + 1);
                list.insert(at, &element);
                model.insert(at, element);
            }
            Edit::Remove(head, element, max) => {
                let max = if max == 0 { usize::MAX } else { max };
                let mut places: Vec<usize> =
                    (0..model.len()).filter(|index| model[*index] == element).collect();
                if !head {
                    places.reverse();
                }
                places.truncate(max);
                assert_eq!(list.remove_equal(end(head), &element, max), places.len());
                places.sort_unstable();
                for place in places.into_iter().rev() {
                    model.remove(place);
                }
            }
            Edit::Keep(a, b) => {
                // Most of a list stays, so that lists become long.
                let a = a.index(model.len() / 8 + 1);
                let b = model.len() - b.index(model.len() / 8 + 1);
                list.keep(a..b);
                model.truncate(b);
                model.drain(..a.min(model.len()));
            }
        }
    }

    fn check(list: &List, model: &Model<Vec<u8>>) {
        assert_eq!(list.len(), model.len());
        assert!(list.iter().eq(model.iter().map(Vec::as_slice)));
        let back = list.iter_back_from(model.len().wrapping_sub(1));
        assert!(back.eq(model.iter().rev().map(Vec::as_slice)));
        for index in 0..=model.len() {
            assert_eq!(list.get(index), model.get(index).map(Vec::as_slice));
        }
        let all: Vec<&Chunk> = (0..list.chunks()).filter_map(|at| list.chunk(at)).collect();
        assert!(all.iter().all(|chunk| chunk.count() > 0 || all.len() == 1));
        assert_eq!(all.iter().map(|chunk| chunk.count()).sum::<usize>(), model.len());
        for chunk in all {
            assert!(chunk.used() <= list.limits.chunk_bytes as usize || chunk.count() == 1);
            assert!(chunk.count() <= list.limits.chunk_elements as usize);
        }
    }

    proptest! {
        #[test]
        fn a_list_does_what_a_deque_would(
            setting in prop::sample::select(vec![-2, -1, 1, 3, 100]),
            start in prop::collection::vec(element(), 0..60),
            edits in prop::collection::vec(edit(), 0..120),
        ) {
            let mut list = List::new(Limits::of_setting(setting));
            let mut model = Model::new();
            for element in start {
                apply(&mut list, &mut model, Edit::Push(false, element));
            }
            for edit in edits {
                apply(&mut list, &mut model, edit);
            }
            check(&list, &model);
            for index in 0..=model.len() {
                prop_assert!(list.iter_from(index).eq(model.iter().skip(index).map(Vec::as_slice)));
            }
        }
    }

    #[test]
    fn thousands_of_elements_in_many_chunks_are_found_and_changed_anywhere() {
        let mut list = List::default();
        let mut model = Model::new();
        for n in 0..20_000 {
            let element = format!("element:{n}").into_bytes();
            apply(&mut list, &mut model, Edit::Push(n % 3 == 0, element));
        }
        for n in 0..2000 {
            let at = n * 7919 % model.len();
            list.insert(at, b"inserted");
            model.insert(at, b"inserted".to_vec());
            let at = n * 104_729 % model.len();
            list.set(at, format!("set:{}", "x".repeat(n % 200)).as_bytes());
            model[at] = format!("set:{}", "x".repeat(n % 200)).into_bytes();
        }
        check(&list, &model);
        let removed = list.remove_equal(End::Tail, b"inserted", 1500);
        assert_eq!(removed, 1500);
        for _ in 0..removed {
            let at = model.iter().rposition(|element| element == b"inserted").expect("one is left");
            model.remove(at);
        }
        check(&list, &model);
    }

    #[test]
    fn a_small_list_is_small_and_a_list_that_was_large_becomes_small_again() {
        let mut list = List::default();
        (0..3).for_each(|_| list.push(End::Head, b"xxx"));
        assert!(list.bytes() <= 32, "{} bytes", list.bytes());
        (0..100_000).for_each(|_| list.push(End::Tail, b"xxxxxxxxxx"));
        assert!(list.bytes() < 1_400_000, "{} bytes", list.bytes());
        while list.len() > 5 {
            list.drop_one(End::Head);
        }
        assert!(list.bytes() < 600, "{} bytes", list.bytes());
    }

    #[test]
    fn a_queue_of_few_elements_stays_in_one_small_buffer() {
        for (into, from) in [(End::Head, End::Tail), (End::Tail, End::Head)] {
            let mut list = List::default();
            (0..5).for_each(|_| list.push(into, b"12345678"));
            for _ in 0..100_000 {
                list.push(into, b"12345678");
                assert!(list.drop_one(from));
            }
            assert!(list.bytes() < 300, "{} bytes", list.bytes());
        }
    }

    #[test]
    fn a_setting_says_how_large_chunks_become() {
        for (value, bytes, elements) in [
            (-1, 4096, u32::MAX),
            (-2, 8192, u32::MAX),
            (-3, 16_384, u32::MAX),
            (-4, 32_768, u32::MAX),
            (-5, 65_536, u32::MAX),
            (-9, 65_536, u32::MAX),
            (128, 8192, 128),
        ] {
            let limits = Limits::of_setting(value);
            assert_eq!((limits.chunk_bytes, limits.chunk_elements), (bytes, elements), "{value}");
        }
    }
}

//! Texts: many short texts one after the other, so that a record costs no allocation.

/// Texts by index.
#[derive(Debug, Default)]
pub(super) struct Texts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Texts {
    /// With room for so many, of about so many bytes each.
    pub(super) fn with_room(count: usize, bytes: usize) -> Texts {
        Texts { bytes: Vec::with_capacity(count * bytes), ends: Vec::with_capacity(count) }
    }

    /// Adds what `write` appends.
    #[inline]
    pub(super) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    #[inline]
    pub(super) fn get(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[index]]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.get(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_told_apart_even_empty_ones() {
        let mut texts = Texts::with_room(1, 1);
        for text in ["", "one", "", "three"] {
            texts.push(|out| out.extend_from_slice(text.as_bytes()));
        }
        assert_eq!(texts.iter().collect::<Vec<_>>(), [b"".as_slice(), b"one", b"", b"three"]);
        assert_eq!((texts.len(), texts.get(3)), (4, b"three".as_slice()));
    }
}

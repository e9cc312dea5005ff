//! Hot path
//!
//! Frames with a length in front: `length · request id (8 bytes, big endian) · payload`. The length
//! counts what follows it, unless the header says otherwise. Services that know no request ids
//! get `length · payload`.

use super::{Error, Frame};

/// Byte order of the length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endian {
    /// Most significant byte first.
    Big,
    /// Least significant byte first.
    Little,
}

/// How the length is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the length itself: 2 or 4.
    pub width: u8,
    /// Byte order of the length and of the request id.
    pub endian: Endian,
    /// Whether the length counts itself too.
    pub includes_header: bool,
    /// The most that may follow the length.
    pub limit: u64,
    /// Whether a request id of eight bytes follows the length.
    pub id: bool,
}

impl Default for Header {
    /// Four bytes, big endian, counting what follows, at most 1 MiB, then an id.
    fn default() -> Header {
        Header { width: 4, endian: Endian::Big, includes_header: false, limit: 1 << 20, id: true }
    }
}

const ID_BYTES: usize = 8;

impl Header {
    /// Appends a frame.
    pub(super) fn encode(&self, out: &mut Vec<u8>, id: u64, payload: &[u8]) -> Result<(), Error> {
        let follows = (payload.len() + self.id_bytes()) as u64;
        let written = follows + if self.includes_header { u64::from(self.width) } else { 0 };
        let writable = if self.width == 2 { u64::from(u16::MAX) } else { u64::from(u32::MAX) };
        if follows > self.limit || written > writable {
            return Err(Error::TooLong { announced: follows, limit: self.limit.min(writable) });
        }
        match (self.width, self.endian) {
            (2, Endian::Big) => out.extend_from_slice(&(written as u16).to_be_bytes()),
            (2, Endian::Little) => out.extend_from_slice(&(written as u16).to_le_bytes()),
            (_, Endian::Big) => out.extend_from_slice(&(written as u32).to_be_bytes()),
            (_, Endian::Little) => out.extend_from_slice(&(written as u32).to_le_bytes()),
        }
        match (self.id, self.endian) {
            (false, _) => {}
            (true, Endian::Big) => out.extend_from_slice(&id.to_be_bytes()),
            (true, Endian::Little) => out.extend_from_slice(&id.to_le_bytes()),
        }
        out.extend_from_slice(payload);
        Ok(())
    }

    /// The frame at the front of `buffer`.
    #[inline]
    pub(super) fn decode<'a>(&self, buffer: &'a [u8]) -> Result<Option<Frame<'a>>, Error> {
        let width = usize::from(self.width);
        let Some(announced) = self.announced(buffer) else { return Ok(None) };
        let header = if self.includes_header { width as u64 } else { 0 };
        let id_bytes = self.id_bytes();
        let needed = header + id_bytes as u64;
        if announced < needed {
            return Err(Error::TooShort { announced, needed });
        }
        let follows = announced - header;
        if follows > self.limit {
            return Err(Error::TooLong { announced: follows, limit: self.limit });
        }
        let consumed = width + follows as usize;
        let Some(frame) = buffer.get(width..consumed) else { return Ok(None) };
        let (id, body) = frame.split_at(id_bytes);
        let id = id.first_chunk::<ID_BYTES>().map(|bytes| match self.endian {
            Endian::Big => u64::from_be_bytes(*bytes),
            Endian::Little => u64::from_le_bytes(*bytes),
        });
        Ok(Some(Frame { consumed, id, body, refused: false }))
    }

    fn id_bytes(&self) -> usize {
        if self.id { ID_BYTES } else { 0 }
    }

    fn announced(&self, buffer: &[u8]) -> Option<u64> {
        Some(match (self.width, self.endian) {
            (2, Endian::Big) => u64::from(u16::from_be_bytes(*buffer.first_chunk()?)),
            (2, Endian::Little) => u64::from(u16::from_le_bytes(*buffer.first_chunk()?)),
            (_, Endian::Big) => u64::from(u32::from_be_bytes(*buffer.first_chunk()?)),
            (_, Endian::Little) => u64::from(u32::from_le_bytes(*buffer.first_chunk()?)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_header() -> impl Strategy<Value = Header> {
        let width = prop_oneof![Just(2u8), Just(4u8)];
        let endian = prop_oneof![Just(Endian::Big), Just(Endian::Little)];
        (width, endian, any::<bool>(), any::<bool>()).prop_map(|(width, endian, includes_header, id)| {
            Header { width, endian, includes_header, limit: 4096, id }
        })
    }

    #[test]
    fn the_default_frame_is_length_id_payload() {
        let mut out = Vec::new();
        Header::default().encode(&mut out, 7, b"hi").expect("fits");
        assert_eq!(out, [0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 7, b'h', b'i']);
    }

    #[test]
    fn a_length_above_the_limit_is_refused_before_anything_follows() {
        let header = Header::default();
        assert_eq!(
            header.decode(&(1u32 << 31).to_be_bytes()),
            Err(Error::TooLong { announced: 1 << 31, limit: 1 << 20 })
        );
        assert_eq!(header.decode(&7u32.to_be_bytes()), Err(Error::TooShort { announced: 7, needed: 8 }));
        let most = vec![0; (1 << 20) - 8];
        let mut out = Vec::new();
        header.encode(&mut out, 1, &most).expect("exactly the limit");
        assert!(header.decode(&out).expect("a frame").is_some());
        let more = vec![0; (1 << 20) - 7];
        assert!(header.encode(&mut out, 1, &more).is_err());
    }

    #[test]
    fn two_bytes_hold_no_more_than_65535() {
        let header =
            Header { width: 2, limit: 1 << 20, includes_header: true, id: false, ..Header::default() };
        let mut out = Vec::new();
        assert!(header.encode(&mut out, 1, &vec![0; 65_533]).is_ok());
        assert!(header.encode(&mut out, 1, &vec![0; 65_534]).is_err());
    }

    proptest! {
        /// What is encoded is decoded again, in any header form, and only once all of it has come.
        #[test]
        fn frames_survive_any_split(
            header in any_header(), id: u64, payload in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut out = Vec::new();
            header.encode(&mut out, id, &payload).expect("fits");
            for cut in 0..out.len() {
                prop_assert_eq!(header.decode(&out[..cut]), Ok(None));
            }
            let len = out.len();
            out.extend_from_slice(b"more");
            let frame = header.decode(&out).expect("valid").expect("complete");
            prop_assert_eq!((frame.consumed, frame.id, frame.body), (len, header.id.then_some(id), payload.as_slice()));
        }

        /// No bytes make the decoder panic or point outside of them.
        #[test]
        fn any_bytes_are_survived(header in any_header(), bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(Some(frame)) = header.decode(&bytes) {
                prop_assert!(frame.consumed <= bytes.len());
            }
        }
    }
}

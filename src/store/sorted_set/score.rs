//! Scores in as few bytes as they need.
//!
//! ```text
//! 0..=239       the score itself
//! 240 + n       an integer in n bytes (1 to 7), lowest first, with sign
//! 248           any other double in eight bytes
//! ```

const INTEGER: u8 = 240;
const DOUBLE: u8 = 248;

/// The most bytes that a score takes.
pub const MAX_BYTES: usize = 9;

/// A score as bytes.
#[derive(Debug, Clone, Copy)]
pub struct Packed {
    bytes: [u8; MAX_BYTES],
    len: u8,
}

impl Packed {
    /// Packs a score.
    pub fn of(score: f64) -> Packed {
        let integer = score as i64;
        let mut bytes = [0; MAX_BYTES];
        let exact = integer as f64 == score && !(integer == 0 && score.is_sign_negative());
        if exact && (0..i64::from(INTEGER)).contains(&integer) {
            bytes[0] = integer as u8;
            return Packed { bytes, len: 1 };
        }
        // Seven bytes hold 55 bits and a sign.
        if exact && integer.unsigned_abs() < 1 << 55 {
            let significant =
                65 - if integer < 0 { (!integer).leading_zeros() } else { integer.leading_zeros() };
            let len = significant.div_ceil(8) as u8;
            bytes[0] = INTEGER + len;
            bytes[1..].copy_from_slice(&integer.to_le_bytes());
            return Packed { bytes, len: 1 + len };
        }
        bytes[0] = DOUBLE;
        bytes[1..].copy_from_slice(&score.to_le_bytes());
        Packed { bytes, len: MAX_BYTES as u8 }
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// The score at the start of `bytes`, and what follows it. `None` when it is cut off. Larger first
/// bytes than those above count as 248; nobody writes them.
#[inline]
pub fn unpack(bytes: &[u8]) -> Option<(f64, &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    if tag < INTEGER {
        return Some((f64::from(tag), rest));
    }
    if tag >= DOUBLE {
        let (double, rest) = rest.split_first_chunk()?;
        return Some((f64::from_le_bytes(*double), rest));
    }
    let (integer, rest) = rest.split_at_checked(usize::from(tag - INTEGER))?;
    let mut wide = [0; 8];
    wide.get_mut(8 - integer.len()..)?.copy_from_slice(integer);
    // The bytes stand at the upper end, so that the shift extends the sign.
    let shift = 64 - 8 * integer.len() as u32;
    Some((i64::from_le_bytes(wide).checked_shr(shift)? as f64, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round(score: f64) -> usize {
        let packed = Packed::of(score);
        let (back, rest) = unpack(packed.bytes()).expect("a score");
        assert_eq!(back.to_bits(), score.to_bits(), "{score}");
        assert!(rest.is_empty());
        assert!((0..packed.bytes().len()).all(|cut| unpack(&packed.bytes()[..cut]).is_none()));
        packed.bytes().len()
    }

    #[test]
    fn small_integers_take_few_bytes_and_every_border_comes_back() {
        assert_eq!([0.0, 239.0, 240.0, -1.0, -128.0, -129.0].map(round), [1, 1, 3, 2, 2, 3]);
        assert_eq!([32767.0, 32768.0, -32768.0, 1.7e12, 0.5, -0.0].map(round), [3, 4, 3, 7, 9, 9]);
        for power in 0..=1023 {
            for near in [-1.0, 0.0, 1.0] {
                round(2f64.powi(power) + near);
                round(-(2f64.powi(power)) + near);
            }
        }
        assert_eq!([f64::INFINITY, f64::MIN, 5e-324].map(round), [9; 3]);
    }

    proptest! {
        #[test]
        fn every_score_comes_back(bits: u64, integer: i64, shift in 0u32..64) {
            let any = f64::from_bits(bits);
            for score in [if any.is_nan() { 0.5 } else { any }, (integer >> shift) as f64] {
                round(score);
            }
        }

        #[test]
        fn garbage_is_no_score_or_some_score(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            let _ = unpack(&bytes);
        }
    }
}

//! LCS: the longest common subsequence of two strings, and where its parts stand.

use super::string_of;
use crate::store::command::{Call, Failure, integer};
use crate::store::reply::Replies;
use crate::wire::resp::Args;

#[derive(Debug, Default)]
struct Options {
    /// LEN
    len: bool,
    /// IDX
    ranges: bool,
    /// MINMATCHLEN
    min_len: usize,
    /// WITHMATCHLEN
    with_len: bool,
}

impl Options {
    fn parse(args: Args<'_>) -> Result<Options, Failure> {
        let (mut options, mut index) = (Options::default(), 0);
        while let Some(word) = args.get(index) {
            let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
            match args.get(index + 1) {
                _ if is("IDX") => options.ranges = true,
                _ if is("LEN") => options.len = true,
                _ if is("WITHMATCHLEN") => options.with_len = true,
                Some(number) if is("MINMATCHLEN") => {
                    options.min_len = usize::try_from(integer(number)?).unwrap_or(0);
                    index += 1;
                }
                _ => return Err(Failure::SYNTAX),
            }
            index += 1;
        }
        if options.ranges && options.len {
            return Err(Failure::text("ERR If you want both the length and indexes, please just use IDX."));
        }
        Ok(options)
    }
}

pub fn lcs(call: &mut Call<'_>) -> Result<(), Failure> {
    let (args, db) = (call.args, call.session.db);
    let keyspace = &mut call.engine.keyspace;
    let mut string = |key: &[u8]| -> Result<Vec<u8>, Failure> {
        let bytes = keyspace.read(db, key).map(string_of).transpose();
        let bytes = bytes.map_err(|_| Failure::text("ERR The specified keys must contain string values"))?;
        Ok(bytes.unwrap_or_default().to_vec())
    };
    let (a, b) = (string(&args[1])?, string(&args[2])?);
    let options = Options::parse(args.from(3))?;
    // What Redis' table of numbers would take decides, although ours is smaller.
    let table_bytes = (a.len() as u128 + 1) * (b.len() as u128 + 1) * 4;
    if table_bytes > call.engine.config.max_bulk as u128 {
        return Err(Failure::text(
            "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
        ));
    }
    let found = Alignment::of(&a, &b);
    let out = &mut call.session.out;
    if options.len {
        out.count(found.len);
    } else if options.ranges {
        write_ranges(out, &found.ranges(&a, &b), found.len, &options);
    } else {
        out.bulk(&found.text(&a, &b));
    }
    Ok(())
}

fn write_ranges(out: &mut Replies, ranges: &[Range], len: usize, options: &Options) {
    let wanted = ranges.iter().filter(|range| range.len >= options.min_len);
    out.map(2);
    out.text("matches");
    out.array(wanted.clone().count());
    for range in wanted {
        out.array(if options.with_len { 3 } else { 2 });
        for start in [range.a, range.b] {
            out.array(2);
            out.count(start);
            out.count(start + range.len - 1);
        }
        if options.with_len {
            out.count(range.len);
        }
    }
    out.text("len");
    out.count(len);
}

/// A run of equal bytes in both strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    a: usize,
    b: usize,
    len: usize,
}

/// For each pair of prefixes one bit: whether leaving out the last byte of the first string keeps a
/// longer subsequence than leaving out that of the second.
struct Alignment {
    len: usize,
    width: usize,
    shorten_a: Vec<u64>,
}

impl Alignment {
    fn of(a: &[u8], b: &[u8]) -> Alignment {
        let width = b.len();
        let mut shorten_a = vec![0u64; (a.len() * width).div_ceil(64)];
        // Lengths for the prefix of `a` before this byte, and with it; place `j` for `j` bytes of `b`.
        let (mut above, mut row) = (vec![0u32; width + 1], vec![0u32; width + 1]);
        for (i, byte) in a.iter().enumerate() {
            for (j, other) in b.iter().enumerate() {
                let at = i * width + j;
                row[j + 1] = if byte == other { above[j] + 1 } else { above[j + 1].max(row[j]) };
                shorten_a[at / 64] |= u64::from(above[j + 1] > row[j]) << (at % 64);
            }
            std::mem::swap(&mut above, &mut row);
        }
        Alignment { len: above[width] as usize, width, shorten_a }
    }

    /// Walks from the end to the beginning and hands out the places of common bytes.
    fn walk(&self, a: &[u8], b: &[u8], mut visit: impl FnMut(usize, usize)) {
        let (mut i, mut j) = (a.len(), b.len());
        while i > 0 && j > 0 {
            let at = (i - 1) * self.width + j - 1;
            if a[i - 1] == b[j - 1] {
                (i, j) = (i - 1, j - 1);
                visit(i, j);
            } else if self.shorten_a[at / 64] >> (at % 64) & 1 == 1 {
                i -= 1;
            } else {
                j -= 1;
            }
        }
    }

    fn text(&self, a: &[u8], b: &[u8]) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.len);
        self.walk(a, b, |i, _| text.push(a[i]));
        text.reverse();
        text
    }

    /// The runs, the last one first.
    fn ranges(&self, a: &[u8], b: &[u8]) -> Vec<Range> {
        let mut ranges: Vec<Range> = Vec::new();
        self.walk(a, b, |i, j| match ranges.last_mut() {
            Some(range) if range.a == i + 1 && range.b == j + 1 => {
                *range = Range { a: i, b: j, len: range.len + 1 };
            }
            _ => ranges.push(Range { a: i, b: j, len: 1 }),
        });
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_the_manual() {
        let (a, b) = (b"ohmytext", b"mynewtext");
        let found = Alignment::of(a, b);
        assert_eq!((found.len, found.text(a, b)), (6, b"mytext".to_vec()));
        assert_eq!(found.ranges(a, b), [Range { a: 4, b: 5, len: 4 }, Range { a: 2, b: 0, len: 2 }]);
    }

    fn is_subsequence(part: &[u8], of: &[u8]) -> bool {
        let mut of = of.iter();
        part.iter().all(|byte| of.any(|other| other == byte))
    }

    proptest! {
        #[test]
        fn the_text_is_a_subsequence_of_both_and_the_ranges_spell_it(a in "[a-c]{0,20}", b in "[a-c]{0,20}") {
            let (a, b) = (a.as_bytes(), b.as_bytes());
            let found = Alignment::of(a, b);
            let text = found.text(a, b);
            prop_assert!(is_subsequence(&text, a) && is_subsequence(&text, b));
            prop_assert_eq!(text.len(), found.len);
            let ranges = found.ranges(a, b);
            let spelled: Vec<u8> = ranges.iter().rev().flat_map(|r| &a[r.a..r.a + r.len]).copied().collect();
            prop_assert_eq!(spelled, text);
        }
    }
}

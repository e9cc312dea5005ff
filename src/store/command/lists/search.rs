//! Where in a list a value stands.

use super::read;
use crate::store::command::{Call, Failure, integer};
use crate::store::list::{End, List};
use crate::wire::resp::{Args, parse_integer};

/// The options of LPOS.
struct Search {
    /// Which match is the first that counts, from 0.
    skip: u64,
    end: End,
    /// COUNT; `Some(0)` is all of them.
    count: Option<usize>,
    /// Elements to compare; 0 is all of them.
    max_compared: usize,
}

impl Search {
    fn parse(options: Args<'_>) -> Result<Search, Failure> {
        let mut search = Search { skip: 0, end: End::Head, count: None, max_compared: 0 };
        let mut index = 0;
        while let Some(word) = options.get(index) {
            let value = options.get(index + 1).ok_or(Failure::SYNTAX)?;
            let positive = || parse_integer(value).and_then(|value| usize::try_from(value).ok());
            if word.eq_ignore_ascii_case(b"RANK") {
                search.set_rank(integer(value)?)?;
            } else if word.eq_ignore_ascii_case(b"COUNT") {
                search.count = Some(positive().ok_or(Failure::text("ERR COUNT can't be negative"))?);
            } else if word.eq_ignore_ascii_case(b"MAXLEN") {
                search.max_compared = positive().ok_or(Failure::text("ERR MAXLEN can't be negative"))?;
            } else {
                return Err(Failure::SYNTAX);
            }
            index += 2;
        }
        Ok(search)
    }

    fn set_rank(&mut self, rank: i64) -> Result<(), Failure> {
        if rank == 0 {
            return Err(Failure::text(
                "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use \
                 negative to start from the end of the list",
            ));
        }
        self.end = if rank < 0 { End::Tail } else { End::Head };
        // The lowest number has no opposite, and counts as -1.
        self.skip = rank.checked_abs().unwrap_or(1).unsigned_abs() - 1;
        Ok(())
    }

    /// The indexes that are asked for, in the order in which they are met.
    fn run(&self, list: &List, element: &[u8]) -> Vec<usize> {
        let compared = if self.max_compared == 0 { usize::MAX } else { self.max_compared };
        let wanted = match self.count {
            None => 1,
            Some(0) => usize::MAX,
            Some(count) => count,
        };
        let skip = usize::try_from(self.skip).unwrap_or(usize::MAX);
        let equal = |found: &(usize, &[u8])| found.1 == element;
        let index = |(index, _)| index;
        if self.end == End::Head {
            let found = list.iter().enumerate().take(compared).filter(equal);
            return found.map(index).skip(skip).take(wanted).collect();
        }
        let last = list.len().saturating_sub(1);
        let found = list.iter_back_from(last).enumerate().take(compared).filter(equal);
        found.map(|(back, _)| last - back).skip(skip).take(wanted).collect()
    }
}

/// LPOS
pub fn lpos(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let search = Search::parse(args.from(3))?;
    let (list, out) = read(call)?;
    let found = list.map_or_else(Vec::new, |list| search.run(list, &args[2]));
    match (search.count, found.first()) {
        (Some(_), _) => {
            out.array(found.len());
            found.iter().for_each(|index| out.count(*index));
        }
        (None, Some(index)) => out.count(*index),
        (None, None) => out.null(),
    }
    Ok(())
}

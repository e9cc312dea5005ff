//! Adaptive spinning: how often the loop looks for news before its thread sleeps.
//!
//! To fall asleep and to be woken costs this side about as much as ten looks, and the client that wakes it something
//! too. So it is looked again a few times, as long as something is found in a fair part of the cases; for a client that
//! is alone, or slow, hardly ever. With 50 clients and without a pipeline the thread sleeps 0.13 times a request instead
//! of 0.20. In fifteen rounds in turns with a build without it the rate of SET was 84.8k against 80.6k (the best 92.2k
//! against 86.6k), for 3 % more of this side's time; with 1,000 clients the rates were the same.

/// Looks that are worth one sleep.
const LOOKS: u32 = 10;
/// What a find earns; a search in vain costs one. So one in four has to find something.
const FOUND: u32 = 3;
/// More than this is not earned: when the clients have become slow, that is noticed soon.
const MOST: u32 = 64;
/// Without credit, every so many turns are followed by a search, to notice that there would be finds.
const TRIAL: u32 = 64;

/// What is known about searches until now.
#[derive(Debug, Default)]
pub struct Spin {
    /// Looks that are left of the search that runs.
    left: u32,
    credit: u32,
    /// Turns since the last search.
    turns: u32,
}

impl Spin {
    /// Whether to look for news without waiting.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.left > 0
    }

    /// A look has found nothing.
    #[inline]
    pub fn in_vain(&mut self) {
        self.left -= 1;
        if self.left == 0 {
            self.credit = self.credit.saturating_sub(1);
        }
    }

    /// There was news, by a look or by waiting: a turn begins, after which it is searched again where that pays.
    #[inline]
    pub fn found(&mut self) {
        // What the first look finds was there already, and would have been had without a search.
        if (1..LOOKS).contains(&self.left) {
            self.credit = (self.credit + FOUND).min(MOST);
        }
        self.turns += 1;
        self.left = 0;
        if self.credit > 0 || self.turns >= TRIAL {
            self.left = LOOKS;
            self.turns = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Turns whose news is found by the look of that number, or by waiting; how many looks were in vain.
    fn turns(spin: &mut Spin, count: u32, comes_at: Option<u32>) -> u32 {
        let mut vain = 0;
        for _ in 0..count {
            let mut looks = 0;
            while spin.is_on() && Some(looks) != comes_at {
                spin.in_vain();
                looks += 1;
            }
            vain += looks;
            spin.found();
        }
        vain
    }

    #[test]
    fn a_client_that_is_slow_is_hardly_searched_for() {
        let vain = turns(&mut Spin::default(), 6400, None);
        assert!(vain <= 6400 / TRIAL * LOOKS, "{vain} looks in vain in 6400 turns");
    }

    #[test]
    fn what_comes_soon_is_waited_for_after_every_turn() {
        let mut spin = Spin::default();
        turns(&mut spin, TRIAL + 1, Some(5));
        assert_eq!(turns(&mut spin, 100, Some(5)), 500);
    }

    #[test]
    fn what_was_there_already_earns_nothing() {
        let mut spin = Spin::default();
        turns(&mut spin, 1000, Some(0));
        assert!(turns(&mut spin, 64, None) <= 2 * LOOKS);
    }

    #[test]
    fn it_stops_soon_after_the_clients_have_become_slow() {
        let mut spin = Spin::default();
        turns(&mut spin, 1000, Some(3));
        let vain = turns(&mut spin, 1000, None);
        assert!(vain <= (MOST + 1000 / TRIAL + 1) * LOOKS, "{vain} looks in vain");
        assert!(!spin.is_on());
    }
}

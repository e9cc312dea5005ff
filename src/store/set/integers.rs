//! Hot path
//!
//! A sorted array of different integers, each as wide as the widest of them needs: 2, 4 or 8 bytes.

/// The integers.
#[derive(Debug, Clone)]
pub enum Integers {
    /// All of them fit in two bytes.
    Two(Vec<i16>),
    /// All of them fit in four bytes.
    Four(Vec<i32>),
    /// Some need eight.
    Eight(Vec<i64>),
}

impl Default for Integers {
    fn default() -> Integers {
        Integers::Two(Vec::new())
    }
}

/// The same work for each width.
macro_rules! each {
    ($integers:expr, $values:ident => $work:expr) => {
        match $integers {
            Integers::Two($values) => $work,
            Integers::Four($values) => $work,
            Integers::Eight($values) => $work,
        }
    };
}

/// Any of the widths as the widest.
#[inline]
fn wide(value: impl Into<i64>) -> i64 {
    value.into()
}

/// Where `value` is, or where it belongs.
#[inline]
fn search<T: Copy + Into<i64>>(values: &[T], value: i64) -> Result<usize, usize> {
    match values.last() {
        // Numbers often come in ascending order.
        Some(&last) if last.into() < value => Err(values.len()),
        _ => values.binary_search_by(|&other| other.into().cmp(&value)),
    }
}

fn own_bytes<T>(values: &Vec<T>) -> usize {
    values.capacity() * size_of::<T>()
}

/// Inserts without the spare room that a vector would take: a quarter instead of the double.
fn insert<T>(values: &mut Vec<T>, at: usize, value: T) {
    if values.len() == values.capacity() {
        values.reserve_exact(values.len() / 4 + 4);
    }
    values.insert(at, value);
}

impl Integers {
    /// How many.
    #[inline]
    pub fn len(&self) -> usize {
        each!(self, values => values.len())
    }

    /// Bytes that they take.
    pub fn bytes(&self) -> usize {
        each!(self, values => own_bytes(values))
    }

    /// Whether `value` is among them.
    #[inline]
    pub fn contains(&self, value: i64) -> bool {
        each!(self, values => search(values, value).is_ok())
    }

    /// The one at `index`.
    #[inline]
    pub fn get(&self, index: usize) -> Option<i64> {
        each!(self, values => values.get(index).map(|&value| wide(value)))
    }

    /// All in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = i64> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// Adds a value; whether it is new.
    #[inline]
    pub fn insert(&mut self, value: i64) -> bool {
        let Err(at) = each!(self, values => search(values, value)) else { return false };
        match self {
            Integers::Eight(values) => insert(values, at, value),
            Integers::Four(values) => match i32::try_from(value) {
                Ok(value) => insert(values, at, value),
                Err(_) => self.widen(at, value),
            },
            Integers::Two(values) => match i16::try_from(value) {
                Ok(value) => insert(values, at, value),
                Err(_) => self.widen(at, value),
            },
        }
        true
    }

    /// Adds a value that needs more bytes than those that are there.
    #[cold]
    fn widen(&mut self, at: usize, value: i64) {
        *self = match i32::try_from(value) {
            Ok(value) => {
                let mut values: Vec<i32> = self.iter().map(|value| value as i32).collect();
                insert(&mut values, at, value);
                Integers::Four(values)
            }
            Err(_) => {
                let mut values: Vec<i64> = self.iter().collect();
                insert(&mut values, at, value);
                Integers::Eight(values)
            }
        };
    }

    /// Removes a value; whether it was there.
    pub fn remove(&mut self, value: i64) -> bool {
        let Ok(at) = each!(self, values => search(values, value)) else { return false };
        self.take(at).is_some()
    }

    /// Takes out the one at `index`.
    pub fn take(&mut self, index: usize) -> Option<i64> {
        each!(self, values => (index < values.len()).then(|| wide(values.remove(index))))
    }

    /// Keeps those for which `keep` says so, asked in ascending order.
    pub fn retain(&mut self, mut keep: impl FnMut(i64) -> bool) {
        each!(self, values => values.retain(|&value| keep(wide(value))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_widest_value_says_how_many_bytes_each_takes() {
        let mut integers = Integers::default();
        for (value, width) in [
            (1, 2),
            (i64::from(i16::MIN), 2),
            (i64::from(i16::MAX), 2),
            (i64::from(i16::MAX) + 1, 4),
            (i64::from(i32::MIN), 4),
            (i64::from(i32::MIN) - 1, 8),
            (i64::MAX, 8),
            (i64::MIN, 8),
        ] {
            assert!(integers.insert(value) && !integers.insert(value));
            let found = match integers {
                Integers::Two(_) => 2,
                Integers::Four(_) => 4,
                Integers::Eight(_) => 8,
            };
            assert_eq!(found, width, "{value}");
            assert!(integers.bytes() >= integers.len() * width);
        }
        assert!(integers.iter().is_sorted());
    }

    proptest! {
        #[test]
        fn they_are_what_a_tree_would_hold(
            edits in prop::collection::vec((prop_oneof![-20i64..20, any::<i16>().prop_map(i64::from),
                any::<i32>().prop_map(i64::from), any::<i64>()], any::<bool>()), 0..200),
        ) {
            let (mut integers, mut model) = (Integers::default(), BTreeSet::new());
            for (value, add) in edits {
                match add {
                    true => prop_assert_eq!(integers.insert(value), model.insert(value)),
                    false => prop_assert_eq!(integers.remove(value), model.remove(&value)),
                }
                prop_assert_eq!(integers.contains(value), add);
            }
            prop_assert!(integers.iter().eq(model.iter().copied()));
            integers.retain(|value| value % 2 == 0);
            model.retain(|value| value % 2 == 0);
            prop_assert!(integers.iter().eq(model));
        }
    }
}

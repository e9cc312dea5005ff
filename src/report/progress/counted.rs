//! Counted: how far something is that has a number of steps, with its rate and the time left.

use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{BARS, Mode, say};
use crate::report::figures::{clock, grouped, plain, rate};
use crate::units::Nanos;

/// Shows how far it is: a bar, or one plain line a second.
#[derive(Debug)]
pub struct Counted {
    title: String,
    /// 0 when nobody knows how many there will be.
    total: u64,
    shown: Shown,
}

#[derive(Debug)]
enum Shown {
    Bar { all: MultiProgress, bar: ProgressBar },
    Lines { next_second: u64 },
    Quiet,
}

impl Counted {
    /// Begins with an empty bar. `total` is 0 when nobody knows it.
    pub fn new(title: &str, total: u64, mode: Mode) -> Counted {
        let shown = match mode {
            Mode::Bars => bar(&BARS, title, total),
            Mode::Lines => Shown::Lines { next_second: 1 },
            Mode::Quiet => Shown::Quiet,
        };
        Counted { title: title.to_string(), total, shown }
    }

    /// So many are done after this time. May be called as often as one likes.
    pub fn tick(&mut self, done: u64, elapsed: Duration) {
        let elapsed = Nanos::from(elapsed);
        match &mut self.shown {
            Shown::Bar { bar, .. } => {
                bar.set_position(done);
                bar.set_message(figures(done, self.total, elapsed));
            }
            Shown::Lines { next_second } => {
                let second = elapsed.0 / 1_000_000_000;
                if second >= *next_second {
                    *next_second = second + 1;
                    say(&format!("{}  {}", self.title, figures(done, self.total, elapsed)));
                }
            }
            Shown::Quiet => {}
        }
    }

    /// Takes the bar away.
    pub fn finish(self) {
        if let Shown::Bar { all, bar } = self.shown {
            bar.finish_and_clear();
            all.remove(&bar);
        }
    }
}

fn bar(all: &MultiProgress, title: &str, total: u64) -> Shown {
    let bar = all.add(if total > 0 { ProgressBar::new(total) } else { ProgressBar::new_spinner() });
    let template = match total {
        0 => "{prefix}  {spinner} {wide_msg}",
        _ => "{prefix}  [{bar:20}] {percent:>3} %  {wide_msg}",
    };
    // The templates are constant; were one wrong, indicatif's own would be seen instead.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
    }
    bar.set_prefix(plain(title, 30));
    Shown::Bar { all: all.clone(), bar }
}

/// `0.3s left  800 000/s  250 000/500 000`. A narrow terminal cuts its end.
fn figures(done: u64, total: u64, elapsed: Nanos) -> String {
    let per_second = done as f64 / elapsed.as_secs_f64().max(1e-9);
    if total == 0 {
        return format!("{}/s  {}", rate(per_second), grouped(done));
    }
    let left = total.saturating_sub(done);
    let left = match done {
        0 => "?".to_string(),
        // At the rate until now; no longer than a clock can show.
        _ => clock(Nanos((left as f64 / per_second.max(1e-9) * 1e9).min(1e18) as u64)),
    };
    format!("{left} left  {}/s  {}/{}", rate(per_second), grouped(done), grouped(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_time_left_follow_from_what_is_done() {
        let shown = figures(250_000, 500_000, Nanos::from_secs(1));
        assert_eq!(shown, "1.0s left  250 000/s  250 000/500 000");
        assert!(figures(0, 10, Nanos::ZERO).starts_with("? left"));
        assert_eq!(figures(7, 0, Nanos::from_secs(1)), "7/s  7");
    }
}

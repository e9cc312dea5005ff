use super::*;
use crate::report::tests::plan;
use indicatif::{ProgressDrawTarget, TermLike};
use std::sync::{Arc, Mutex};

/// A terminal that remembers what was written to it.
#[derive(Debug, Clone, Default)]
struct Paper(Arc<Mutex<String>>);

impl Paper {
    fn text(&self) -> String {
        self.0.lock().expect("nobody panicked").clone()
    }

    fn add(&self, text: &str) -> io::Result<()> {
        self.0.lock().expect("nobody panicked").push_str(text);
        Ok(())
    }
}

impl TermLike for Paper {
    fn width(&self) -> u16 {
        100
    }
    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn write_line(&self, text: &str) -> io::Result<()> {
        self.add(text).and_then(|()| self.add("\n"))
    }
    fn write_str(&self, text: &str) -> io::Result<()> {
        self.add(text)
    }
    fn clear_line(&self) -> io::Result<()> {
        Ok(())
    }
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

const HOLD: &str =
    "load: { stages: [ { name: up, hold: 10, duration: 10s }, { name: more, hold: 20, duration: 110s } ] }";

fn live(seconds: u64) -> Live {
    Live {
        elapsed: Nanos::from_secs(seconds),
        stage: 1,
        due: 13_500,
        sent: 13_499,
        rate_planned: 20.0,
        rate_actual: 19.94,
        p99_us: 1_310,
        ..Live::default()
    }
}

#[test]
fn a_bar_shows_the_time_the_stage_and_the_numbers() {
    let paper = Paper::default();
    let all = MultiProgress::with_draw_target(ProgressDrawTarget::term_like(Box::new(paper.clone())));
    let mut progress = Progress::on(&plan(HOLD), Mode::Bars, &all);
    progress.tick(&live(60));
    progress.finish();
    let text = paper.text();
    assert!(text.contains(" 50 %  1m00s/2m00s  stage 2/2 more"), "{text}");
    assert!(text.contains("sent 13 499/13 500 due  19.9/20 per s"), "{text}");
}

#[test]
fn nothing_is_drawn_when_quiet_and_a_stage_beyond_the_last_is_no_panic() {
    let paper = Paper::default();
    let all = MultiProgress::with_draw_target(ProgressDrawTarget::term_like(Box::new(paper.clone())));
    let mut progress = Progress::on(&plan(HOLD), Mode::Quiet, &all);
    progress.tick(&Live { stage: usize::MAX, ..live(60) });
    progress.message("not heard");
    assert_eq!(progress.stage(&Live { stage: usize::MAX, ..live(60) }), "stage 2/2 ");
    assert_eq!(progress.stage(&live(121)), "waiting for what is in flight");
    progress.finish();
    assert_eq!(paper.text(), "");
}

#[test]
fn a_line_is_written_once_for_each_second_however_often_it_is_asked_for() {
    let mut progress = Progress::on(&plan(HOLD), Mode::Lines, &MultiProgress::new());
    let next = |progress: &Progress| match progress.shown {
        Shown::Lines { next_second } => next_second,
        _ => 0,
    };
    progress.tick(&live(3));
    assert_eq!(next(&progress), 4);
    progress.tick(&live(3));
    progress.tick(&live(7));
    assert_eq!(next(&progress), 8);
}

#[test]
fn a_filter_that_makes_no_sense_says_so() {
    let error = init_logging(Mode::Quiet, "runner=loud").expect_err("no such level").to_string();
    assert!(error.contains("runner=loud") && error.contains("RUST_LOG"), "{error}");
}

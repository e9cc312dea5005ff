//! Link: a run tells the program that has started it how it stands, and is asked by it, over a socket between the two.
//!
//! 1. Both sides write lines of JSON: the run its states (never more than one behind another, so that a program that
//!    does not read keeps it from nothing but telling) and its answers, the program its questions.
//! 2. A line is bounded. What makes no sense is left out.
//! 3. When either side is gone, the other goes on without it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock;
use crate::live::control::{Answered, FromRun, ToRun};
use crate::live::state::{Seen, State};
use crate::steer::{Answer, Ask, Helm, Refused, Steering};

/// The longest line: a whole history with room to spare.
const MAX_LINE: usize = 16 << 20;

/// Questions that may wait for their answers.
const MAX_WAITING: usize = 64;

/// How often questions are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long the last state may take to be written when the run is over.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Whom a run listens to; in a series each run in its turn.
#[derive(Debug, Clone, Default)]
pub struct Wheel {
    now: std::sync::Arc<Mutex<Option<Steering>>>,
}

impl Wheel {
    /// From now on this run is asked.
    pub fn attend(&self, steering: Steering) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = Some(steering);
    }

    /// Asks the run that goes, and waits for its answer.
    ///
    /// # Errors
    /// Why it was not done.
    pub async fn ask(&self, ask: Ask, patience: Duration) -> Answer {
        let steering = self.now.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let answered = match steering {
            Some(steering) => steering.ask(ask)?,
            None => return Err(Refused::Senseless("the run has not begun".to_string())),
        };
        match clock::timeout(patience, answered).await {
            Some(Ok(answer)) => answer,
            Some(Err(_)) => Err(Refused::Ended),
            None => Err(Refused::Busy),
        }
    }
}

/// The side of the run: tells states until nothing follows, and passes questions on.
pub async fn tell_parent<R, W>(reader: R, writer: W, states: watch::Receiver<State>, wheel: Wheel)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (answer, answers) = mpsc::channel(MAX_WAITING);
    let listening = async {
        listen(reader, wheel, answer).await;
        // Who asks no more may still want to know how it ends.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = tell(writer, states, answers) => {}
        () = listening => {}
    }
}

async fn tell(
    mut writer: impl AsyncWrite + Unpin,
    mut states: watch::Receiver<State>,
    mut answers: mpsc::Receiver<FromRun>,
) {
    let mut seen = Seen::default();
    let mut asked = true;
    loop {
        let (state, last) = {
            let state = states.borrow_and_update().clone();
            let last = state.has_ended();
            (state.view(&mut seen), last)
        };
        if write(&mut writer, &FromRun::State(Box::new(state))).await.is_err() || last {
            return;
        }
        loop {
            tokio::select! {
                changed = states.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                answer = answers.recv(), if asked => match answer {
                    Some(answer) => {
                        if write(&mut writer, &answer).await.is_err() {
                            return;
                        }
                    }
                    None => asked = false,
                },
            }
        }
    }
}

async fn listen(reader: impl AsyncRead + Unpin, wheel: Wheel, answers: mpsc::Sender<FromRun>) {
    let mut lines = Lines::new(reader);
    while let Some(line) = lines.next().await {
        let Ok(ToRun { id, ask }) = serde_json::from_slice::<ToRun>(&line) else { continue };
        // One question at a time: they are done in the order in which they come.
        let answer = wheel.ask(ask.into(), LAST_WORDS).await;
        if answers.send(FromRun::Answer(id, Answered::from(answer))).await.is_err() {
            return;
        }
    }
}

async fn write(writer: &mut (impl AsyncWrite + Unpin), line: &impl serde::Serialize) -> std::io::Result<()> {
    let mut bytes = serde_json::to_vec(line).map_err(std::io::Error::other)?;
    bytes.push(b'\n');
    writer.write_all(&bytes).await?;
    writer.flush().await
}

/// The side of the program: takes in states until the run is gone, and asks what the helm is asked.
pub async fn watch_child<R, W>(reader: R, mut writer: W, states: &watch::Sender<State>, helm: Helm)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut lines = Lines::new(reader);
    let mut waiting: BTreeMap<u64, oneshot::Sender<Answer>> = BTreeMap::new();
    let mut next_id = 0;
    loop {
        tokio::select! {
            line = lines.next() => {
                let Some(line) = line else { return };
                match serde_json::from_slice::<FromRun>(&line) {
                    Ok(FromRun::State(view)) => states.send_modify(|state| state.take(*view)),
                    Ok(FromRun::Answer(id, answer)) => {
                        if let Some(asker) = waiting.remove(&id) {
                            // Who asked may not wait any more.
                            let _ = asker.send(answer.into());
                        }
                    }
                    Err(_) => {}
                }
            }
            () = clock::sleep(LOOK_EVERY) => {
                while let Some(asked) = helm.asked() {
                    waiting.retain(|_, asker| !asker.is_closed());
                    if waiting.len() >= MAX_WAITING {
                        let _ = asked.answer.send(Err(Refused::Busy));
                        continue;
                    }
                    next_id += 1;
                    if write(&mut writer, &ToRun { id: next_id, ask: asked.ask.into() }).await.is_err() {
                        let _ = asked.answer.send(Err(Refused::Ended));
                        continue;
                    }
                    waiting.insert(next_id, asked.answer);
                }
            }
        }
    }
}

/// Lines from a peer, none longer than [`MAX_LINE`]. What is read of a line stays when a reading is given up half-way.
struct Lines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    fn new(reader: R) -> Lines<R> {
        Lines { reader: BufReader::new(reader), line: Vec::new() }
    }

    /// The next one; none at the end, and where one is too long.
    async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let room = (MAX_LINE - self.line.len()) as u64;
            let mut bounded = (&mut self.reader).take(room);
            let read = bounded.read_until(b'\n', &mut self.line).await.ok()?;
            if self.line.last() == Some(&b'\n') {
                return Some(std::mem::take(&mut self.line));
            }
            if read == 0 || self.line.len() >= MAX_LINE {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::state::{Facts, Phase, Point};
    use crate::steer::{Done, helm};
    use crate::units::{Nanos, Tps};
    use std::sync::Arc;

    fn state(points: u64, over: bool) -> State {
        let point = |second| Point { second, sent: second + 1, ..Point::default() };
        State {
            facts: Arc::new(Facts { run_id: "a-1".to_string(), ..Facts::default() }),
            phase: if over { Phase::Ended } else { Phase::Running },
            points: Arc::new((0..points).map(point).collect()),
            step_s: 1,
            over,
            ..State::default()
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_program_sees_its_run_and_steers_it_over_one_socket() {
        let (run, program) = tokio::io::duplex(1 << 10);
        let (states, watched) = watch::channel(state(3, false));
        let (told, mut seen) = watch::channel(State::default());
        let (own_steering, own_helm) = helm();
        let (steering, asked) = helm();
        let wheel = Wheel::default();
        wheel.attend(own_steering);
        let (reader, writer) = tokio::io::split(run);
        let of_run = tokio::spawn(tell_parent(reader, writer, watched, wheel));
        let of_program = tokio::spawn(async move {
            let (reader, writer) = tokio::io::split(program);
            watch_child(reader, writer, &told, asked).await;
        });
        let first = seen.wait_for(|state| state.points.len() == 3).await.expect("a state").clone();
        assert_eq!((first.facts.run_id.as_str(), first.phase), ("a-1", Phase::Running));

        let ask = Ask::Rate(Tps::per_second(250));
        let answered = steering.ask(ask).expect("asked");
        let (at, senseless) = (Nanos(7), "not now".to_string());
        let question = loop {
            match own_helm.asked() {
                Some(question) => break question,
                None => tokio::task::yield_now().await,
            }
        };
        assert_eq!(question.ask, ask);
        question.answer.send(Ok(Done { ask, at })).expect("waited for");
        assert_eq!(answered.await.expect("an answer"), Ok(Done { ask, at }));
        let answered = steering.ask(Ask::Pause).expect("asked");
        let question = loop {
            match own_helm.asked() {
                Some(question) => break question,
                None => tokio::task::yield_now().await,
            }
        };
        question.answer.send(Err(Refused::Senseless(senseless.clone()))).expect("waited for");
        assert_eq!(answered.await.expect("an answer"), Err(Refused::Senseless(senseless)));

        states.send_replace(state(5, true));
        of_run.await.expect("it ends with the last state");
        of_program.await.expect("it ends when the run is gone");
        assert_eq!((seen.borrow().points.len(), seen.borrow().over), (5, true));
        assert_eq!(steering.ask(Ask::Stop).expect_err("gone"), Refused::Ended);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_makes_no_sense_is_left_out_and_a_line_without_end_is_the_end() {
        let text = b"nonsense\n{\"state\":7}\n".to_vec();
        let (told, seen) = watch::channel(state(1, false));
        let (_steering, asked) = helm();
        watch_child(&text[..], tokio::io::sink(), &told, asked).await;
        assert_eq!(seen.borrow().points.len(), 1);
        let mut endless = Lines::new(tokio::io::repeat(b'x'));
        assert_eq!(endless.next().await, None);
        assert_eq!(endless.line.len(), MAX_LINE);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_wheel_without_a_run_says_so() {
        let wheel = Wheel::default();
        assert!(matches!(wheel.ask(Ask::Stop, LAST_WORDS).await, Err(Refused::Senseless(_))));
        let (steering, helm) = helm();
        wheel.attend(steering);
        drop(helm);
        assert_eq!(wheel.ask(Ask::Stop, LAST_WORDS).await, Err(Refused::Ended));
    }
}

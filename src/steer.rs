//! Steer: what somebody asks of a run while it goes, and what it answers.
//!
//! Who asks holds a [`Steering`], who runs holds the [`Helm`]. Asking never waits for the run: the channel is
//! bounded, and where it is full the question is refused. The answer comes when the run has got round to it.

use std::sync::mpsc;

use tokio::sync::oneshot;

use crate::units::{Nanos, Tps};

/// Questions that may wait for the run, which looks at them every few milliseconds.
const WAITING: usize = 16;

/// What a run is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Send nothing that is due from now on, until it is to go on.
    Pause,
    /// Go on where it was paused: everything later is due later by the length of the pause.
    Resume,
    /// Hold this rate until the stage ends.
    Rate(Tps),
    /// Send nothing more, wait for what is in flight, and sum up.
    Stop,
}

/// What was done, and from when on it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// What was asked.
    pub ask: Ask,
    /// From time zero.
    pub at: Nanos,
}

/// Why it was not done. Fits after "failed to change the run: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The run has ended, or is about to.
    #[error("the run has ended")]
    Ended,
    /// Too many questions wait.
    #[error("the run has not yet answered what it was asked before: ask again in a moment")]
    Busy,
    /// It makes no sense now; says why.
    #[error("{0}")]
    Senseless(String),
}

/// The answer to a question.
pub type Answer = Result<Done, Refused>;

/// Where a run is asked.
#[derive(Debug, Clone)]
pub struct Steering {
    asks: mpsc::SyncSender<Asked>,
}

/// A question and where its answer goes.
#[derive(Debug)]
pub struct Asked {
    /// What is asked.
    pub ask: Ask,
    /// Who asked may not wait any more: an answer that nobody takes is no error.
    pub answer: oneshot::Sender<Answer>,
}

/// Where a run finds what it is asked.
#[derive(Debug)]
pub struct Helm {
    asks: mpsc::Receiver<Asked>,
}

/// A run's helm and who may steer it.
pub fn helm() -> (Steering, Helm) {
    let (sender, receiver) = mpsc::sync_channel(WAITING);
    (Steering { asks: sender }, Helm { asks: receiver })
}

impl Steering {
    /// Asks, and gives what the answer will come through; a receiver that is dropped means [`Refused::Ended`].
    ///
    /// # Errors
    /// [`Refused::Busy`] and [`Refused::Ended`].
    pub fn ask(&self, ask: Ask) -> Result<oneshot::Receiver<Answer>, Refused> {
        let (answer, answered) = oneshot::channel();
        match self.asks.try_send(Asked { ask, answer }) {
            Ok(()) => Ok(answered),
            Err(mpsc::TrySendError::Full(_)) => Err(Refused::Busy),
            Err(mpsc::TrySendError::Disconnected(_)) => Err(Refused::Ended),
        }
    }
}

#[cfg(test)]
impl Steering {
    /// Asks, and does not wait for the answer.
    pub(crate) fn ask_in_vain(&self, ask: Ask) {
        let (answer, _) = oneshot::channel();
        self.asks.try_send(Asked { ask, answer }).expect("room for a question");
    }
}

impl Helm {
    /// The next question, if there is one.
    pub fn asked(&self) -> Option<Asked> {
        self.asks.try_recv().ok()
    }
}

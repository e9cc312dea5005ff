//! What somebody asks of a run from outside, and what is answered: plain data for HTTP, and for a program that has
//! started the run.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::live::state::View;
use crate::steer::{Answer, Ask, Done, Refused};
use crate::units::{NANOS_PER_SEC, Tps};

/// What a run can be asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Send nothing that is due from now on, until it is to go on.
    Pause,
    /// Go on where it was paused: everything later is due later by the length of the pause.
    Resume,
    /// Hold another rate until the stage ends.
    Rate,
    /// Send nothing more, wait for what is in flight, and sum up.
    Stop,
}

impl Action {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Action::Pause => "pause",
            Action::Resume => "resume",
            Action::Rate => "rate",
            Action::Stop => "stop",
        }
    }
}

/// A wish: what to do, and with `rate` the requests per second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// What to do.
    #[schema(example = "rate")]
    pub action: Action,
    /// Requests per second over all segments of the plan; with `rate` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = 250.0, minimum = 0, maximum = 10_000_000)]
    pub rate: Option<f64>,
}

impl Control {
    /// As a question to the run.
    ///
    /// # Errors
    /// Says what is wrong with it and what to send.
    pub fn ask(&self) -> Result<Ask, String> {
        match (self.action, self.rate) {
            (Action::Rate, None) => Err("rate is missing: how many requests per second?".to_string()),
            (Action::Rate, Some(rate)) => {
                // Written out, so that one number has one meaning: that of a scenario file.
                let rate = Tps::from_str(&format!("{rate}")).map_err(|error| error.to_string())?;
                Ok(Ask::Rate(rate))
            }
            (action, Some(_)) => Err(format!("rate makes no sense with {}", action.word())),
            (Action::Pause, None) => Ok(Ask::Pause),
            (Action::Resume, None) => Ok(Ask::Resume),
            (Action::Stop, None) => Ok(Ask::Stop),
        }
    }
}

/// What was done, and from when on it holds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Controlled {
    /// What was asked.
    pub action: Action,
    /// The rate, where it was that.
    pub rate: Option<f64>,
    /// From when on it holds, in seconds from time zero.
    #[schema(example = 12.345)]
    pub at_s: f64,
}

impl From<Done> for Controlled {
    fn from(done: Done) -> Controlled {
        let (action, rate) = match done.ask {
            Ask::Pause => (Action::Pause, None),
            Ask::Resume => (Action::Resume, None),
            Ask::Stop => (Action::Stop, None),
            Ask::Rate(rate) => (Action::Rate, Some(rate.as_f64())),
        };
        Controlled { action, rate, at_s: done.at.0 as f64 / NANOS_PER_SEC as f64 }
    }
}

/// What a program tells the run that it has started: a line of JSON.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ToRun {
    /// The number of the question, which its answer has too.
    pub id: u64,
    /// What is asked, in units that are exact.
    pub ask: Asking,
}

/// A question as it is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Asking {
    /// [`Ask::Pause`].
    Pause,
    /// [`Ask::Resume`].
    Resume,
    /// [`Ask::Rate`], in millionths of a request per hour.
    Rate(u64),
    /// [`Ask::Stop`].
    Stop,
}

impl From<Ask> for Asking {
    fn from(ask: Ask) -> Asking {
        match ask {
            Ask::Pause => Asking::Pause,
            Ask::Resume => Asking::Resume,
            Ask::Rate(rate) => Asking::Rate(rate.units()),
            Ask::Stop => Asking::Stop,
        }
    }
}

impl From<Asking> for Ask {
    fn from(asking: Asking) -> Ask {
        match asking {
            Asking::Pause => Ask::Pause,
            Asking::Resume => Ask::Resume,
            Asking::Rate(units) => Ask::Rate(Tps::from_units(units.min(Tps::MAX.units()))),
            Asking::Stop => Ask::Stop,
        }
    }
}

/// What a run tells the program that has started it: a line of JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FromRun {
    /// How it stands.
    State(Box<View>),
    /// The answer to the question of this number.
    Answer(u64, Answered),
}

/// An answer as it is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answered {
    /// What was done, and from when on, in nanoseconds from time zero.
    Done(Asking, u64),
    /// [`Refused::Ended`].
    Ended,
    /// [`Refused::Busy`].
    Busy,
    /// [`Refused::Senseless`].
    Senseless(String),
}

impl From<Answer> for Answered {
    fn from(answer: Answer) -> Answered {
        match answer {
            Ok(done) => Answered::Done(done.ask.into(), done.at.0),
            Err(Refused::Ended) => Answered::Ended,
            Err(Refused::Busy) => Answered::Busy,
            Err(Refused::Senseless(why)) => Answered::Senseless(why),
        }
    }
}

impl From<Answered> for Answer {
    fn from(answered: Answered) -> Answer {
        match answered {
            Answered::Done(ask, at) => Ok(Done { ask: ask.into(), at: crate::units::Nanos(at) }),
            Answered::Ended => Err(Refused::Ended),
            Answered::Busy => Err(Refused::Busy),
            Answered::Senseless(why) => Err(Refused::Senseless(why)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Nanos;

    fn ask(json: &str) -> Result<Ask, String> {
        let control: Control = serde_json::from_str(json).map_err(|error| error.to_string())?;
        control.ask()
    }

    #[test]
    fn a_wish_is_a_question_or_says_what_is_wrong_with_it() {
        assert_eq!(ask(r#"{"action": "pause"}"#), Ok(Ask::Pause));
        assert_eq!(ask(r#"{"action": "rate", "rate": 250}"#), Ok(Ask::Rate(Tps::per_second(250))));
        assert_eq!(ask(r#"{"action": "rate", "rate": 0.5}"#), Ok(Ask::Rate("30/m".parse().expect("a rate"))));
        assert_eq!(ask(r#"{"action": "rate", "rate": 0}"#), Ok(Ask::Rate(Tps::ZERO)));
        for wrong in [
            r#"{"action": "rate"}"#,
            r#"{"action": "rate", "rate": -1}"#,
            r#"{"action": "rate", "rate": 1e9}"#,
            r#"{"action": "rate", "rate": "250"}"#,
            r#"{"action": "stop", "rate": 1}"#,
            r#"{"action": "explode"}"#,
            r#"{"action": "stop", "now": true}"#,
            r#""stop""#,
        ] {
            assert!(ask(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn questions_and_answers_go_through_a_line_of_json_unchanged() {
        for ask in [Ask::Pause, Ask::Resume, Ask::Stop, Ask::Rate(Tps::from_units(7))] {
            let line = serde_json::to_string(&ToRun { id: 3, ask: ask.into() }).expect("JSON");
            assert!(!line.contains('\n'));
            let read: ToRun = serde_json::from_str(&line).expect("read back");
            assert_eq!((read.id, Ask::from(read.ask)), (3, ask));
            let answers: [Answer; 4] = [
                Ok(Done { ask, at: Nanos(u64::MAX) }),
                Err(Refused::Ended),
                Err(Refused::Busy),
                Err(Refused::Senseless("why\nnot".to_string())),
            ];
            for answer in answers {
                let line = serde_json::to_string(&Answered::from(answer.clone())).expect("JSON");
                let read: Answered = serde_json::from_str(&line).expect("read back");
                assert_eq!(Answer::from(read), answer);
            }
        }
    }
}

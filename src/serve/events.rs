//! Events: something that goes on, followed by any number of listeners (server-sent events).
//!
//! Who works tells a watch channel, which keeps only the newest state, and never waits for anybody. Each listener
//! takes the newest state when it is ready for one. A listener that reads slowly skips states; one that is
//! dead loses its connection (see `listener`). Neither is felt by the work.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use utoipa::ToSchema;

use crate::clock;
use crate::live::{Seen, State, View};
use crate::serve::problem::Problem;

/// Listeners at one time: each holds a connection for as long as the work goes on.
const MAX_LISTENERS: usize = 64;

/// The shortest time between two events.
const PAUSE: Duration = Duration::from_millis(200);

/// A sign of life when nothing changes, which also finds out that the listener is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Something that goes on and ends.
pub(super) trait Followed: Clone + Send + Sync + 'static {
    /// How it is shown.
    type View: Serialize;

    /// What a listener has seen of it.
    type Seen: Default + Send + 'static;

    /// How it is now, for a listener who has seen so much.
    fn view(&self, seen: &mut Self::Seen) -> Self::View;

    /// Whether nothing will change any more.
    fn has_ended(&self) -> bool;
}

/// The name of an event.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "describes what is written, and is never made")]
enum EventName {
    /// It goes on.
    Progress,
    /// It has ended; no event follows.
    End,
}

/// An event of a generation.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what is written, and is never made")]
pub(super) struct GenerationEvent {
    /// What it says.
    event: EventName,
    /// The generation, as JSON.
    #[schema(content_media_type = "application/json")]
    data: String,
}

/// An event of a run that is looked at while it goes.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what is written, and is never made")]
pub(super) struct LiveEvent {
    /// What it says.
    event: EventName,
    /// How the run stands, as JSON.
    #[schema(content_media_type = "application/json")]
    data: String,
}

/// An event of a run.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what is written, and is never made")]
pub(super) struct RunEvent {
    /// What it says.
    event: EventName,
    /// The run, as JSON.
    #[schema(content_media_type = "application/json")]
    data: String,
}

/// Lets a bounded number of listeners in.
#[derive(Clone)]
pub(super) struct Door {
    seats: Arc<Semaphore>,
}

impl Door {
    pub(super) fn new() -> Door {
        Door { seats: Arc::new(Semaphore::new(MAX_LISTENERS)) }
    }

    /// The events of something: `progress` now and whenever it has changed, `end` when it has ended.
    pub(super) fn follow<T: Followed>(&self, states: watch::Receiver<T>) -> Result<Response, Problem> {
        let seat = self.seats.clone().try_acquire_owned().map_err(|_| {
            let message = format!("{MAX_LISTENERS} listeners are there already");
            Problem::unavailable(
                "too_many_listeners",
                message,
                "close one of them, or ask again and again instead",
            )
        })?;
        let listener = Listener { states, seen: T::Seen::default(), first: true, ended: false, _seat: seat };
        let events = stream::unfold(listener, |mut listener| async move {
            listener.next().await.map(|event| (Ok::<_, Infallible>(event), listener))
        });
        Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
    }
}

struct Listener<T: Followed> {
    states: watch::Receiver<T>,
    seen: T::Seen,
    first: bool,
    ended: bool,
    _seat: OwnedSemaphorePermit,
}

/// A run while it goes: each listener is told the points that it has not seen.
impl Followed for State {
    type View = View;
    type Seen = Seen;

    fn view(&self, seen: &mut Seen) -> View {
        State::view(self, seen)
    }

    fn has_ended(&self) -> bool {
        State::has_ended(self)
    }
}

impl<T: Followed> Listener<T> {
    async fn next(&mut self) -> Option<Event> {
        if self.ended {
            return None;
        }
        if !std::mem::replace(&mut self.first, false) {
            clock::sleep(PAUSE).await;
            // Whoever works is gone without an end; only a program that shuts down does that.
            self.states.changed().await.ok()?;
        }
        let state = self.states.borrow_and_update().clone();
        self.ended = state.has_ended();
        let name = if self.ended { "end" } else { "progress" };
        // Views are plain structs of numbers and texts: they always become JSON.
        Event::default().event(name).json_data(state.view(&mut self.seen)).ok()
    }
}

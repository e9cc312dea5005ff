//! Live: one run while it goes. Its own server, for `runner run --ui`; and what that has in common with a server that
//! starts runs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::extract::State as Of;
use axum::http::StatusCode;
use axum::response::Response;
use tokio::sync::watch;

use crate::clock;
use crate::live::{Control, Controlled, Seen, State, View, Wheel};
use crate::serve::body::JsonBody;
use crate::serve::events::{Door, LiveEvent};
use crate::serve::guard::{self, Guard, Guarded};
use crate::serve::problem::{ErrorBody, Problem};
use crate::serve::{Error, listen, listener, metrics, openapi, page};

/// How long a client may take for the head of a request, and how long for its body.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a run may take to say what it has done: it looks every few milliseconds.
const ANSWER: Duration = Duration::from_secs(5);

/// How long listeners may take to hear how a run has ended, when the program ends.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How the server of a run is started.
#[derive(Debug, Clone)]
pub struct LiveConfig {
    /// Where to listen; port 0 picks a free one. Other than loopback needs a token.
    pub listen: SocketAddr,
    /// What requests must carry.
    pub token: Option<String>,
    /// Further names that requests may use for the server.
    pub allowed_hosts: Vec<String>,
}

/// What the requests to the server of a run share.
pub(super) type Shared = Arc<Parts>;

/// The parts of the server of a run.
pub(super) struct Parts {
    guard: Guard,
    states: watch::Receiver<State>,
    wheel: Wheel,
    listeners: Door,
}

impl Guarded for Parts {
    fn guard(&self) -> &Guard {
        &self.guard
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }
}

impl Parts {
    /// How the run stands.
    pub(super) fn state(&self) -> State {
        self.states.borrow().clone()
    }
}

/// The server of a run, on a thread of its own.
#[derive(Debug)]
pub struct LiveServer {
    addr: SocketAddr,
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl LiveServer {
    /// Listens, and answers from now on.
    ///
    /// # Errors
    /// When the address is taken or not protected, or the system gives no thread.
    pub fn start(
        config: LiveConfig,
        states: watch::Receiver<State>,
        wheel: Wheel,
    ) -> Result<LiveServer, Error> {
        let failed = |what| move |source| Error::System { what, source };
        let guard = Guard::new(config.listen, config.token.as_deref(), &config.allowed_hosts)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed("start a runtime"))?;
        let (listener, addr) = runtime.block_on(listen(config.listen))?;
        let shared: Shared = Arc::new(Parts { guard, states, wheel, listeners: Door::new() });
        let (api, description) = openapi::described_live(&shared);
        let router = api
            .merge(openapi::router(&description))
            .merge(metrics::live_router())
            .merge(page::live_router())
            .fallback(|| async { StatusCode::NOT_FOUND })
            .layer(axum::middleware::from_fn_with_state(shared.clone(), guard::layer::<Parts>))
            .with_state(shared);
        let listener = listener::Listener { listener, router, head_timeout: PATIENCE };
        let (stop, mut stopped) = watch::channel(false);
        let answer = move || {
            runtime.block_on(async {
                let open = listener
                    .run(async move {
                        // Nobody is left who could ask: that is the end as well.
                        let _ = stopped.wait_for(|stopped| *stopped).await;
                    })
                    .await;
                // What takes longer is dropped with the runtime.
                let _ = clock::timeout(LAST_WORDS, open.shutdown()).await;
            });
        };
        let thread = std::thread::Builder::new().name("ui".to_string()).spawn(answer);
        Ok(LiveServer { addr, stop, thread: thread.map_err(failed("start a thread"))? })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Ends when those who listen have heard how the run ended, for a bounded time.
    pub fn finish(self) {
        self.stop.send_replace(true);
        // A thread that panicked has said so on stderr.
        let _ = self.thread.join();
    }
}

/// Asks a run, and gives its answer the shape of all answers.
pub(super) async fn steer(wheel: &Wheel, control: &Control) -> Result<axum::Json<Controlled>, Problem> {
    use crate::steer::Refused;
    let ask = control.ask().map_err(|why| {
        let help = "send {\"action\": \"rate\", \"rate\": 250}, or one of pause, resume and stop alone";
        Problem::unprocessable("bad_control", why, help)
    })?;
    let done = wheel.ask(ask, ANSWER).await.map_err(|refused| match refused {
        Refused::Ended => {
            Problem::conflict("already_ended", refused.to_string(), "there is nothing to change")
        }
        Refused::Busy => Problem::unavailable("busy", refused.to_string(), "ask again in a moment"),
        Refused::Senseless(_) => {
            let help = "look at how the run stands, and ask for something else";
            Problem::conflict("refused", refused.to_string(), help)
        }
    })?;
    Ok(axum::Json(done.into()))
}

/// A run as somebody sees it who has seen nothing of it.
pub(super) fn whole(state: &State) -> axum::Json<View> {
    axum::Json(state.view(&mut Seen::default()))
}

/// How the run stands
///
/// With its whole history: a point for each second of the schedule whose requests have all ended. When a run is longer
/// than an hour, several seconds are one point.
#[utoipa::path(get, path = "/live", tag = "live", operation_id = "get_live",
    responses((status = 200, description = "How it stands", body = View)))]
pub(super) async fn get(Of(shared): Of<Shared>) -> axum::Json<View> {
    whole(&shared.state())
}

/// Follow the run
///
/// Server-sent events, one a second and whenever something is changed: `progress`, first with the whole history and then
/// with what is new in it, and `end` when the run is over. Then the stream ends.
#[utoipa::path(get, path = "/live/events", tag = "live", operation_id = "follow_live",
    responses(
        (status = 200, description = "Events", content_type = "text/event-stream", body = LiveEvent),
        (status = 503, description = "Too many are listening", body = ErrorBody),
    ))]
pub(super) async fn events(Of(shared): Of<Shared>) -> Result<Response, Problem> {
    shared.listeners.follow(shared.states.clone())
}

/// Pause, resume or stop the run, or change its rate
///
/// Answers when it is done, with the instant from which on it holds. The first `stop` is the first Ctrl-C.
#[utoipa::path(post, path = "/control", tag = "live", operation_id = "control", request_body = Control,
    responses(
        (status = 200, description = "It is done", body = Controlled),
        (status = 409, description = "It makes no sense now, or the run has ended", body = ErrorBody),
        (status = 503, description = "The run has not answered yet", body = ErrorBody),
    ))]
pub(super) async fn control(
    Of(shared): Of<Shared>,
    JsonBody(control): JsonBody<Control>,
) -> Result<axum::Json<Controlled>, Problem> {
    steer(&shared.wheel, &control).await
}

/// A sign of life
///
/// Needs no token, so that a probe can ask.
#[utoipa::path(get, path = "/ping", tag = "live", operation_id = "ping", security(()),
    responses((status = 200, description = "It answers", body = crate::serve::Pong)))]
pub(super) async fn ping() -> axum::Json<crate::serve::Pong> {
    crate::serve::ping().await
}

//! Generations: filling Redis with records, one at a time, followed and cancelled.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use utoipa::ToSchema;

use crate::clock::{self, Stopwatch};
use crate::records::{Fill, Settings};
use crate::report;
use crate::serve::Shared;
use crate::serve::body::JsonBody;
use crate::serve::events::{Followed, GenerationEvent};
use crate::serve::problem::{ErrorBody, ErrorDetail, Problem};
use crate::serve::records::{self, Order, Records};

/// Generations that are remembered.
const MAX_REMEMBERED: usize = 100;

/// The highest first id: far below where numbers in JSON lose their last digit.
const MAX_FIRST: u64 = 9_000_000_000_000_000;

/// The longest time to live, in seconds: ten years.
const MAX_TTL_S: u64 = 315_360_000;

/// Connections that write at once.
const CONNECTIONS: usize = 4;

/// The longest key template, in characters.
const MAX_KEY: usize = 512;

/// The longest value template, in characters.
const MAX_TEMPLATE: usize = 65_536;

const KEY: &str = "record:{id}";
const TEMPLATE: &str = r#"{"id":{id},"name":"User{id}","phone":"90000000{id:04}","status":"pending"}"#;

/// How many records.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GenerateRequest {
    /// Records to write: `record:1` to `record:<count>`, over what is there. The highest allowed number is that of
    /// `--max-count`.
    #[schema(value_type = u64, minimum = 1, maximum = 100_000_000, example = 500_000)]
    count: serde_json::Value,
}

/// The records are there.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct GenerateResponse {
    /// In words.
    #[schema(example = "500000 records stored successfully")]
    message: String,
    /// How long it took.
    #[schema(example = "0.41s")]
    duration: String,
}

/// What is to be written.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewGeneration {
    /// Records to write.
    #[schema(value_type = u64, minimum = 1, maximum = 100_000_000, example = 500_000)]
    count: serde_json::Value,
    /// The id of the first one; the others follow.
    #[serde(default = "first")]
    #[schema(value_type = u64, minimum = 0, maximum = 9_000_000_000_000_000_u64, default = 1)]
    first: serde_json::Value,
    /// The key of each record; `{id}` is its number.
    #[serde(default = "key")]
    #[schema(default = "record:{id}", pattern = r"\{id\}", max_length = 512, example = "record:{id}")]
    key: String,
    /// The value of each record; `{id}` is its number, `{id:04}` the same with leading zeros, and there are fields
    /// such as `{name}`, `{email}`, `{uuid}` and `{random:1..6}`.
    #[serde(default = "template")]
    #[schema(max_length = 65_536, example = r#"{"id":{id},"name":"User{id}"}"#)]
    template: String,
    /// What to do with records that are there already.
    #[serde(default)]
    existing: Existing,
    /// What the fields are drawn from: the same seed gives the same records.
    #[serde(default = "seed")]
    #[schema(value_type = u64, minimum = 0, maximum = 9_000_000_000_000_000_u64, default = 1)]
    seed: serde_json::Value,
    /// Seconds that records live; 0 is for ever. Records that are kept keep theirs.
    #[serde(default = "ttl_s")]
    #[schema(value_type = u64, minimum = 0, maximum = 315_360_000_u64, default = 0)]
    ttl_s: serde_json::Value,
}

fn first() -> serde_json::Value {
    1.into()
}

fn seed() -> serde_json::Value {
    1.into()
}

fn ttl_s() -> serde_json::Value {
    0.into()
}

fn key() -> String {
    KEY.to_owned()
}

fn template() -> String {
    TEMPLATE.to_owned()
}

/// What to do with records that are there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Existing {
    /// Write over them.
    #[default]
    Overwrite,
    /// Leave them as they are.
    Keep,
    /// Write nothing when there is one.
    Refuse,
}

/// Where a generation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum GenerationState {
    /// It goes on.
    Running,
    /// All records are there.
    Finished,
    /// Somebody has cancelled it; what was written stays.
    Cancelled,
    /// It broke off; what was written stays.
    Failed,
}

/// A generation of records.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Generation {
    /// Its number.
    id: u64,
    /// Where it stands.
    state: GenerationState,
    /// Records that are done: written, or kept because they were there.
    done: u64,
    /// Records that were written.
    written: u64,
    /// Records that were asked for.
    total: u64,
    /// Records done per second, from its start.
    rate: f64,
    /// How long it has taken.
    elapsed_s: f64,
    /// How long the rest will take at this rate; null while that is not known, and when it has ended.
    remaining_s: Option<f64>,
    /// The id of the first record.
    first: u64,
    /// The key of each record.
    key: String,
    /// What happens to records that were there already.
    existing: Existing,
    /// When it started, in UTC.
    #[schema(format = DateTime)]
    started_at: String,
    /// Why it failed; null otherwise.
    error: Option<ErrorDetail>,
}

/// The generations that are remembered.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct GenerationList {
    /// The newest first; at most a hundred.
    generations: Vec<Generation>,
}

/// How a generation is known while it goes.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    about: Arc<About>,
    state: GenerationState,
    done: u64,
    written: u64,
    took: Option<Duration>,
    error: Option<ErrorDetail>,
}

#[derive(Debug)]
struct About {
    id: u64,
    total: u64,
    first: u64,
    key: String,
    existing: Existing,
    started_at: String,
    since: Stopwatch,
}

impl Followed for Standing {
    type View = Generation;
    type Seen = ();

    fn view(&self, (): &mut ()) -> Generation {
        let elapsed_s = self.took.unwrap_or_else(|| self.about.since.elapsed()).as_secs_f64();
        let rate = if elapsed_s > 0.0 { self.done as f64 / elapsed_s } else { 0.0 };
        let left = self.about.total.saturating_sub(self.done) as f64;
        let remaining_s = (rate > 0.0 && !self.has_ended()).then(|| round(left / rate));
        Generation {
            id: self.about.id,
            state: self.state,
            done: self.done,
            written: self.written,
            total: self.about.total,
            rate: round(rate),
            elapsed_s: round(elapsed_s),
            remaining_s,
            first: self.about.first,
            key: self.about.key.clone(),
            existing: self.about.existing,
            started_at: self.about.started_at.clone(),
            error: self.error.clone(),
        }
    }

    fn has_ended(&self) -> bool {
        self.state != GenerationState::Running
    }
}

/// To thousandths.
fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// All generations.
pub(super) struct Generations {
    max_count: u64,
    book: Arc<Mutex<Book>>,
}

#[derive(Default)]
struct Book {
    last_id: u64,
    busy: bool,
    closed: bool,
    entries: VecDeque<Entry>,
}

impl Book {
    /// The one that goes on. One goes on at a time, and it is the newest.
    fn running(&self) -> Option<u64> {
        self.entries.front().filter(|entry| !entry.standing.borrow().has_ended()).map(|entry| entry.id)
    }
}

struct Entry {
    id: u64,
    standing: watch::Receiver<Standing>,
    cancel: Arc<watch::Sender<bool>>,
}

/// The right to generate, which one at a time has.
struct Turn {
    book: Arc<Mutex<Book>>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        open(&self.book).busy = false;
    }
}

fn open(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    // Nothing panics while it is held; the book is whole in any case.
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Generations {
    pub(super) fn new(max_count: u64) -> Generations {
        Generations { max_count, book: Arc::default() }
    }

    /// What was asked for, if it can be done.
    fn order(&self, asked: &NewGeneration) -> Result<Order, Problem> {
        let count = whole("count", &asked.count, 1, self.max_count)?;
        let first = whole("first", &asked.first, 0, MAX_FIRST)?;
        short("key", &asked.key, MAX_KEY)?;
        short("template", &asked.template, MAX_TEMPLATE)?;
        let fill = match asked.existing {
            Existing::Overwrite => Fill::All,
            Existing::Keep => Fill::Missing,
            Existing::Refuse => Fill::Refuse,
        };
        let seed = whole("seed", &asked.seed, 0, MAX_FIRST)?;
        let ttl = whole("ttl_s", &asked.ttl_s, 0, MAX_TTL_S)?;
        let ttl = (ttl > 0).then(|| Duration::from_secs(ttl));
        let last = first + (count - 1);
        let generator = records::generator(&asked.key, &asked.template, seed, last)?;
        let settings = Settings { fill, ttl, connections: CONNECTIONS, patience: records::PATIENCE };
        Ok(Order { first, last, generator, settings })
    }

    /// Begins, unless another one goes on or Redis is away.
    async fn begin(
        &self,
        records: &Records,
        asked: NewGeneration,
    ) -> Result<watch::Receiver<Standing>, Problem> {
        let order = self.order(&asked)?;
        let turn = self.turn()?;
        let datastore = records.open().await?;
        let (cancel, mut cancelled) = watch::channel(false);
        let (states, standing) = self.enter(&order, asked, cancel)?;
        records.spawn(async move {
            let filling = records::fill(&datastore, &order, |filled| {
                states.send_modify(|state| (state.done, state.written) = (filled.asked, filled.written));
            });
            let ended = tokio::select! {
                filled = filling => filled.map(|_| GenerationState::Finished),
                // Whoever could cancel it is never gone before it has ended.
                _ = cancelled.wait_for(|cancelled| *cancelled) => Ok(GenerationState::Cancelled),
            };
            // Who hears that it has ended may begin another one at once.
            drop(turn);
            states.send_modify(|state| {
                state.took = Some(state.about.since.elapsed());
                state.state = *ended.as_ref().unwrap_or(&GenerationState::Failed);
                state.error = ended.err().map(|problem| problem.detail().clone());
            });
        });
        Ok(standing)
    }

    fn turn(&self) -> Result<Turn, Problem> {
        let mut book = open(&self.book);
        if book.closed {
            return Err(Problem::shutting_down());
        }
        if std::mem::replace(&mut book.busy, true) {
            let help = match book.running() {
                Some(id) => format!(
                    "wait for its end (GET /api/v1/generations/{id}/events), or cancel it \
                     (POST /api/v1/generations/{id}/cancel)"
                ),
                // It still connects, and has no number yet.
                None => {
                    "wait for its end, or cancel it: GET /api/v1/generations names it in a moment".to_owned()
                }
            };
            return Err(Problem::conflict("generation_running", "another generation is running", help));
        }
        Ok(Turn { book: self.book.clone() })
    }

    fn enter(
        &self,
        order: &Order,
        asked: NewGeneration,
        cancel: watch::Sender<bool>,
    ) -> Result<(watch::Sender<Standing>, watch::Receiver<Standing>), Problem> {
        let mut book = open(&self.book);
        // What begins after the end of all would be cancelled by nobody.
        if book.closed {
            return Err(Problem::shutting_down());
        }
        book.last_id += 1;
        let about = About {
            id: book.last_id,
            total: order.last - order.first + 1,
            first: order.first,
            key: asked.key,
            existing: asked.existing,
            started_at: report::timestamp(clock::wall()),
            since: Stopwatch::start(),
        };
        let id = about.id;
        let (states, standing) = watch::channel(Standing {
            about: Arc::new(about),
            state: GenerationState::Running,
            done: 0,
            written: 0,
            took: None,
            error: None,
        });
        // The oldest has ended: one goes on at a time, and it is the newest.
        book.entries.truncate(MAX_REMEMBERED - 1);
        book.entries.push_front(Entry { id, standing: standing.clone(), cancel: Arc::new(cancel) });
        Ok((states, standing))
    }

    fn find(&self, id: &str) -> Result<(watch::Receiver<Standing>, Arc<watch::Sender<bool>>), Problem> {
        let number = id.parse::<u64>().ok();
        let book = open(&self.book);
        let entry = book.entries.iter().find(|entry| Some(entry.id) == number);
        entry.map(|entry| (entry.standing.clone(), entry.cancel.clone())).ok_or_else(|| {
            let id: String = id.chars().take(40).collect();
            let help = "GET /api/v1/generations lists those that are remembered";
            Problem::not_found("no_such_generation", format!("there is no generation {id}"), help)
        })
    }

    fn list(&self) -> Vec<Generation> {
        open(&self.book).entries.iter().map(|entry| entry.standing.borrow().view(&mut ())).collect()
    }

    /// The one that goes on.
    pub(super) fn running(&self) -> Option<u64> {
        open(&self.book).running()
    }

    /// Cancels what goes on, and lets nothing begin after it; nobody waits for it.
    pub(super) fn shut_down(&self) {
        let mut book = open(&self.book);
        book.closed = true;
        for entry in &book.entries {
            entry.cancel.send_replace(true);
        }
    }
}

/// A whole number within its bounds, from whatever stands in its place.
fn whole(field: &str, value: &serde_json::Value, least: u64, most: u64) -> Result<u64, Problem> {
    if let Some(number) = value.as_u64().filter(|number| (least..=most).contains(number)) {
        return Ok(number);
    }
    let code = if value.is_number() { "out_of_range" } else { "not_a_number" };
    let shown: String = value.to_string().chars().take(60).collect();
    Err(Problem::unprocessable(
        &format!("{field}_{code}"),
        format!("{field} is {shown}, and it must be a whole number from {least} to {most}"),
        format!("send a whole number without quotes, such as \"{field}\": {}", most.min(500_000)),
    ))
}

fn short(field: &str, text: &str, most: usize) -> Result<(), Problem> {
    if text.chars().nth(most).is_none() {
        return Ok(());
    }
    let message = format!("{field} is longer than {most} characters");
    Err(Problem::unprocessable(&format!("{field}_too_long"), message, "send a shorter one"))
}

/// Write records and wait until they are there
///
/// Writes `record:1` to `record:<count>` over what is there. A client that goes away does not stop it.
#[utoipa::path(post, path = "/generate", tag = "records", operation_id = "generate",
    request_body = GenerateRequest,
    responses(
        (status = 200, description = "All records are there", body = GenerateResponse),
        (status = 409, description = "Another generation is running, or this one was cancelled", body = ErrorBody),
        (status = 503, description = "Redis is away or refuses", body = ErrorBody),
    ))]
pub(super) async fn generate(
    State(shared): State<Shared>,
    JsonBody(asked): JsonBody<GenerateRequest>,
) -> Result<axum::Json<GenerateResponse>, Problem> {
    let asked = NewGeneration {
        count: asked.count,
        first: first(),
        key: key(),
        template: template(),
        existing: Existing::Overwrite,
        seed: seed(),
        ttl_s: ttl_s(),
    };
    let mut standing = shared.generations.begin(&shared.records, asked).await?;
    // The sender is dropped after it has told the end.
    let ended = standing.wait_for(Standing::has_ended).await.map(|ended| ended.clone());
    let ended = ended.unwrap_or_else(|_| standing.borrow().clone());
    let view = ended.view(&mut ());
    match view.state {
        GenerationState::Finished => {
            let took = ended.took.unwrap_or_default().as_secs_f64();
            let message = format!("{} records stored successfully", view.total);
            Ok(axum::Json(GenerateResponse { message, duration: format!("{took:.2}s") }))
        }
        // It overwrites what is there, so that nothing but Redis can fail.
        GenerationState::Failed => {
            let ErrorDetail { code, message, help, .. } = view.error.unwrap_or_else(broke_off);
            Err(Problem::unavailable(&code, message, help))
        }
        GenerationState::Cancelled | GenerationState::Running => Err(Problem::conflict(
            "generation_cancelled",
            format!("the generation was cancelled after {} of {} records", view.done, view.total),
            "send it again",
        )),
    }
}

fn broke_off() -> ErrorDetail {
    ErrorDetail {
        code: "generation_failed".to_owned(),
        message: "the generation broke off".to_owned(),
        help: "send it again".to_owned(),
        problems: Vec::new(),
    }
}

/// All generations, the newest first
#[utoipa::path(get, path = "/api/v1/generations", tag = "generations", operation_id = "list_generations",
    responses((status = 200, description = "The generations that are remembered", body = GenerationList)))]
pub(super) async fn list(State(shared): State<Shared>) -> axum::Json<GenerationList> {
    axum::Json(GenerationList { generations: shared.generations.list() })
}

/// Begin to write records
///
/// One generation goes on at a time. The Location header of the answer says where to look after it.
#[utoipa::path(post, path = "/api/v1/generations", tag = "generations", operation_id = "start_generation",
    request_body = NewGeneration,
    responses(
        (status = 202, description = "It has begun", body = Generation,
            headers(("Location" = String, description = "Where it is"))),
        (status = 409, description = "Another generation is running", body = ErrorBody),
        (status = 503, description = "Redis is away or refuses", body = ErrorBody),
    ))]
pub(super) async fn start(
    State(shared): State<Shared>,
    JsonBody(asked): JsonBody<NewGeneration>,
) -> Result<Response, Problem> {
    let standing = shared.generations.begin(&shared.records, asked).await?;
    let view = standing.borrow().view(&mut ());
    let location = format!("/api/v1/generations/{}", view.id);
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], axum::Json(view)).into_response())
}

/// How one generation stands
#[utoipa::path(get, path = "/api/v1/generations/{id}", tag = "generations", operation_id = "get_generation",
    params(("id" = u64, Path, description = "Its number", minimum = 1)),
    responses(
        (status = 200, description = "How it stands", body = Generation),
        (status = 404, description = "There is none", body = ErrorBody),
    ))]
pub(super) async fn get(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<axum::Json<Generation>, Problem> {
    let (standing, _) = shared.generations.find(&id)?;
    let view = standing.borrow().view(&mut ());
    Ok(axum::Json(view))
}

/// Follow one generation
///
/// Server-sent events whose data is a generation: `progress` now and whenever it has changed (at most five times a
/// second), and at last `end`. Then the stream ends.
#[utoipa::path(get, path = "/api/v1/generations/{id}/events", tag = "generations",
    operation_id = "follow_generation",
    params(("id" = u64, Path, description = "Its number", minimum = 1)),
    responses(
        (status = 200, description = "Events", content_type = "text/event-stream", body = GenerationEvent),
        (status = 404, description = "There is none", body = ErrorBody),
        (status = 503, description = "Too many are listening", body = ErrorBody),
    ))]
pub(super) async fn events(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let (standing, _) = shared.generations.find(&id)?;
    shared.listeners.follow(standing)
}

/// Cancel one generation
///
/// What was written stays.
#[utoipa::path(post, path = "/api/v1/generations/{id}/cancel", tag = "generations",
    operation_id = "cancel_generation",
    params(("id" = u64, Path, description = "Its number", minimum = 1)),
    responses(
        (status = 200, description = "It has ended", body = Generation),
        (status = 404, description = "There is none", body = ErrorBody),
        (status = 409, description = "It had ended before", body = ErrorBody),
    ))]
pub(super) async fn cancel(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<axum::Json<Generation>, Problem> {
    let (mut standing, cancel) = shared.generations.find(&id)?;
    if standing.borrow().has_ended() {
        let message = format!("generation {id} has ended already");
        return Err(Problem::conflict("already_ended", message, "there is nothing to cancel"));
    }
    cancel.send_replace(true);
    // It hears at once, whatever it is waiting for; one that is gone without an end has none to wait for.
    let _ = standing.wait_for(Standing::has_ended).await;
    let view = standing.borrow().view(&mut ());
    Ok(axum::Json(view))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_whole_and_within_its_bounds() {
        for (given, code) in [
            ("0", "count_out_of_range"),
            ("-1", "count_out_of_range"),
            ("1.5", "count_out_of_range"),
            ("1000000000000", "count_out_of_range"),
            ("1e300", "count_out_of_range"),
            ("101", "count_out_of_range"),
            ("\"5\"", "count_not_a_number"),
            ("null", "count_not_a_number"),
            ("[1]", "count_not_a_number"),
        ] {
            let value = serde_json::from_str(given).expect("JSON");
            assert_eq!(whole("count", &value, 1, 100).expect_err(given).detail().code, code);
        }
        for given in [1, 100] {
            assert_eq!(whole("count", &given.into(), 1, 100).expect("fits"), given);
        }
    }

    fn seven(generations: &Generations) -> (Order, NewGeneration) {
        let asked: NewGeneration =
            serde_json::from_str(r#"{"count": 7, "existing": "keep"}"#).expect("fields");
        (generations.order(&asked).expect("an order"), asked)
    }

    #[test]
    fn the_book_forgets_the_oldest() {
        let generations = Generations::new(100);
        for _ in 0..MAX_REMEMBERED + 5 {
            let (order, asked) = seven(&generations);
            assert_eq!((order.first, order.last), (1, 7));
            generations.enter(&order, asked, watch::channel(false).0).expect("entered");
        }
        let ids: Vec<u64> = generations.list().iter().map(|generation| generation.id).collect();
        assert_eq!((ids.len(), ids[0]), (MAX_REMEMBERED, MAX_REMEMBERED as u64 + 5));
        assert!(
            generations.find("1").is_err() && generations.find("6").is_ok() && generations.find("x").is_err()
        );
    }

    #[test]
    fn one_at_a_time_has_the_turn() {
        let generations = Generations::new(100);
        let turn = generations.turn().expect("free");
        assert_eq!(generations.turn().err().expect("taken").detail().code, "generation_running");
        drop(turn);
        assert!(generations.turn().is_ok());
    }

    #[test]
    fn who_waits_for_a_turn_is_sent_to_the_one_that_goes_on() {
        let generations = Generations::new(100);
        let _turn = generations.turn().expect("free");
        let help = || generations.turn().err().expect("taken").detail().help.clone();
        assert!(!help().contains("/0/") && help().contains("GET /api/v1/generations names it"), "{}", help());
        let (order, asked) = seven(&generations);
        let (states, _standing) = generations.enter(&order, asked, watch::channel(false).0).expect("entered");
        assert!(help().contains("/api/v1/generations/1/cancel"), "{}", help());
        // The next one has the turn, and connects.
        states.send_modify(|standing| standing.state = GenerationState::Finished);
        assert!(!help().contains("/1/"), "{}", help());
    }

    #[test]
    fn nothing_begins_after_the_end() {
        let generations = Generations::new(100);
        let (order, asked) = seven(&generations);
        let (cancel, cancelled) = watch::channel(false);
        let turn = generations.turn().expect("free");
        let _going_on = generations.enter(&order, asked, cancel).expect("entered");
        generations.shut_down();
        assert!(*cancelled.borrow());
        drop(turn);
        let code = |problem: Problem| problem.detail().code.clone();
        assert_eq!(generations.turn().err().map(code).as_deref(), Some("shutting_down"));
        // One that had its turn before, and was connecting.
        let (order, asked) = seven(&generations);
        let late = generations.enter(&order, asked, watch::channel(false).0);
        assert_eq!(late.err().map(code).as_deref(), Some("shutting_down"));
    }
}

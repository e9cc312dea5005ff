//! Records: the only door from HTTP to the records in Redis, on a thread of its own.
//!
//! Counting and generating take processor time. They run on one thread with one runtime, so that the thread that
//! answers requests is never busy with them.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;

use crate::clock;
use crate::datastore::{self, Datastore};
use crate::records::{self, Filled, Generator, Settings};
use crate::serve::Error;
use crate::serve::problem::Problem;

/// The keys that are counted.
const PATTERN: &str = "record:*";

/// Walks over all keys at one time; more wait for their turn.
const MAX_COUNTS: usize = 2;

/// How long a count may wait for its turn, and how long it may take with that: a hundred million keys take a
/// minute or two.
const TURN: Duration = Duration::from_secs(10);
const COUNT: Duration = Duration::from_secs(300);

/// How long Redis may be away in the middle of a generation: somebody waits for the answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// The records.
pub(super) struct Records {
    config: datastore::Config,
    runtime: Handle,
    counts: Arc<Semaphore>,
    turn: Duration,
    limit: Duration,
    counter: Arc<tokio::sync::Mutex<Option<Datastore>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What is written: records `first..=last`.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub first: u64,
    pub last: u64,
    pub generator: Generator,
    pub settings: Settings,
}

impl Records {
    /// Starts the thread. Nothing is connected before it is needed.
    pub(super) fn start(config: datastore::Config) -> Result<Records, Error> {
        let failed = |what| move |source| Error::System { what, source };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed("start a runtime"))?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("records".to_owned())
            .spawn(move || {
                // Ends when it is told to, or when nobody is left who could.
                let _ = runtime.block_on(stopped);
            })
            .map_err(failed("start a thread"))?;
        Ok(Records {
            config,
            runtime: handle,
            counts: Arc::new(Semaphore::new(MAX_COUNTS)),
            turn: TURN,
            limit: COUNT,
            counter: Arc::default(),
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where they are, without the password.
    pub(super) fn url(&self) -> String {
        datastore::masked(&self.config.url)
    }

    /// How many there are.
    pub(super) async fn count(&self) -> Result<u64, Problem> {
        let (config, counter) = (self.config.clone(), self.counter.clone());
        let counting = async {
            let turn = clock::timeout(self.turn, self.counts.clone().acquire_owned()).await;
            let Some(turn) = turn else {
                let message = format!("{MAX_COUNTS} counts go on, and none has ended within {:?}", self.turn);
                return Err(Problem::unavailable(
                    "too_many_counts",
                    message,
                    "ask again when they have ended",
                ));
            };
            let counted = self.on_thread(async move {
                // A permit, as nobody closes the semaphore. It is held to the end of the work, or until that is ended.
                let _turn = turn;
                let datastore = counter_of(&config, &counter).await?;
                records::count(&datastore, PATTERN).await
            });
            counted.await?.map_err(|error| trouble(&error))
        };
        clock::timeout(self.limit, counting).await.unwrap_or_else(|| {
            let message = format!("counting did not end within {:?}", self.limit);
            Err(Problem::unavailable(
                "count_too_slow",
                message,
                "`runner records count` takes the time it needs",
            ))
        })
    }

    /// A connection for one generation: Redis is there.
    pub(super) async fn open(&self) -> Result<Datastore, Problem> {
        let config = self.config.clone();
        let opened = self.on_thread(async move { Datastore::connect(&config).await }).await?;
        opened.map_err(|error| trouble(&error))
    }

    /// Does something on the thread of the records.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        // It tells how it ended itself.
        drop(self.runtime.spawn(work));
    }

    /// Does something there for somebody who waits for it. Who stops waiting, as a client that leaves, ends it.
    async fn on_thread<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Problem> {
        // A set ends its tasks when it is dropped.
        let mut task = JoinSet::new();
        task.spawn_on(work, &self.runtime);
        task.join_next().await.and_then(Result::ok).ok_or_else(Problem::shutting_down)
    }
}

/// What a client hears of an error; the text holds no password.
fn trouble(error: &datastore::Error) -> Problem {
    match error {
        datastore::Error::Refused { .. } | datastore::Error::Answer { .. } => {
            Problem::unavailable("redis_refused", error.to_string(), "see what Redis says about it")
        }
        datastore::Error::Auth { .. } => {
            let help = "start the server with a user and password that Redis knows: \
                        --redis redis://user:password@host";
            Problem::unavailable("redis_login", error.to_string(), help)
        }
        datastore::Error::Url { .. } => {
            let help = "start the server with an address that can be used: --redis redis://host:port";
            Problem::unavailable("redis_url", error.to_string(), help)
        }
        datastore::Error::Unreachable { .. }
        | datastore::Error::Away { .. }
        | datastore::Error::Timeout { .. }
        | datastore::Error::GaveUp { .. }
        | datastore::Error::Loading { .. } => {
            let help = "is Redis running? it is tried again with every request";
            Problem::unavailable("redis_unreachable", error.to_string(), help)
        }
    }
}

/// Writes records and says how far it is. What was written until an error stays.
pub(super) async fn fill(
    datastore: &Datastore,
    order: &Order,
    progress: impl FnMut(Filled),
) -> Result<Filled, Problem> {
    let ids = order.first..=order.last;
    order.generator.load(datastore, ids, &order.settings, progress).await.map_err(|error| match error {
        records::Error::Datastore(error) => trouble(&error),
        records::Error::Exists { .. } | records::Error::Appeared { .. } => {
            let help = "\"existing\": \"keep\" goes on beside them, \"overwrite\" writes over them";
            Problem::conflict("records_exist", error.to_string(), help)
        }
        records::Error::ShutDown => Problem::shutting_down(),
        other => bad_template(&other),
    })
}

/// The key and the value of every record up to `last`, from two templates and a seed.
pub(super) fn generator(key: &str, template: &str, seed: u64, last: u64) -> Result<Generator, Problem> {
    let generator = Generator::seeded(key, template, seed).map_err(|error| bad_template(&error))?;
    generator.fits(last).map_err(|error| bad_template(&error))?;
    Ok(generator)
}

fn bad_template(error: &records::Error) -> Problem {
    // It names the field as a scenario does.
    let message = error.to_string().replace("records.key", "key").replace("records.template", "template");
    let help = "the key is made of {id}, or {id:06} for leading zeros; the template knows that and the fields of \
                docs/records.md, such as {email}";
    Problem::unprocessable("bad_template", format!("failed to {message}"), help)
}

/// The connection that counts. One that was away is made anew, so that no pause between attempts is told to a
/// client after Redis is back.
async fn counter_of(
    config: &datastore::Config,
    counter: &tokio::sync::Mutex<Option<Datastore>>,
) -> Result<Datastore, datastore::Error> {
    let mut counter = counter.lock().await;
    if let Some(datastore) = counter.as_ref() {
        match datastore.ping().await {
            Ok(()) => return Ok(datastore.clone()),
            Err(error) if !error.is_away() => return Err(error),
            Err(_) => *counter = None,
        }
    }
    let datastore = Datastore::connect(config).await?;
    Ok(counter.insert(datastore).clone())
}

impl Drop for Records {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has said so on stderr.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_told() {
        let error = datastore::Error::Unreachable {
            url: datastore::masked("redis://me:secret@host"),
            message: "refused".to_owned(),
        };
        let problem = trouble(&error);
        assert_eq!(problem.detail().code, "redis_unreachable");
        assert!(problem.detail().message.contains("redis://me:***@host"));
    }

    #[test]
    fn what_is_wrong_with_redis_is_told_apart() {
        let (url, message) = ("redis://:***@host".to_owned(), "no".to_owned());
        for (error, code, help) in [
            (
                datastore::Error::Auth { url: url.clone(), message: message.clone() },
                "redis_login",
                "user:password",
            ),
            (
                datastore::Error::Url { url: url.clone(), message: message.clone() },
                "redis_url",
                "redis://host:port",
            ),
            (datastore::Error::Loading { url: url.clone() }, "redis_unreachable", "again"),
            (datastore::Error::Refused { url, command: "SCAN", message }, "redis_refused", "see what"),
        ] {
            let problem = trouble(&error);
            assert_eq!(problem.detail().code, code);
            assert!(problem.detail().help.contains(help), "{problem:?}");
        }
    }

    /// A Redis that takes connections and never says a word.
    fn silent() -> (std::net::TcpListener, Records) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("redis://{}", listener.local_addr().expect("it is bound"));
        // Nobody waits so long: what is waited for here ends otherwise.
        let timeout = Duration::from_secs(600);
        (listener, Records::start(datastore::Config { url, timeout }).expect("a thread"))
    }

    #[tokio::test(flavor = "current_thread")]
    async fn who_leaves_takes_the_count_along() {
        let (_listener, records) = silent();
        for _ in 0..3 * MAX_COUNTS {
            assert!(
                clock::timeout(Duration::from_millis(5), records.count()).await.is_none(),
                "it is silent"
            );
        }
        let all = records.counts.acquire_many(MAX_COUNTS as u32).await.expect("never closed");
        drop(all);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_count_without_end_is_given_up() {
        let (_listener, mut records) = silent();
        records.limit = Duration::from_millis(5);
        for _ in 0..3 * MAX_COUNTS {
            assert_eq!(records.count().await.expect_err("it is silent").detail().code, "count_too_slow");
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_count_whose_turn_does_not_come_is_told_so() {
        let (_listener, mut records) = silent();
        records.turn = Duration::from_millis(5);
        let _taken =
            records.counts.clone().acquire_many_owned(MAX_COUNTS as u32).await.expect("never closed");
        let problem = records.count().await.expect_err("no turn comes");
        assert_eq!(problem.detail().code, "too_many_counts");
    }

    #[test]
    fn a_key_without_an_id_is_refused() {
        assert!(generator("record:{id}", "{id}", 1, 10).is_ok());
        let problem = |key, value| generator(key, value, 1, 10).expect_err("not usable").detail().clone();
        assert_eq!(problem("record", "x").code, "bad_template");
        assert!(!problem("record", "x").message.contains("records."));
        assert_eq!(problem("{id}", "{id:zz}").code, "bad_template");
        assert_eq!(problem("{id}", "longer than that {size:3}").code, "bad_template");
    }
}

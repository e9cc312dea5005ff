//! Records: the only door from HTTP to the records in Redis, on a thread of its own.
//!
//! Counting and generating take processor time. They run on one thread with one runtime, so that the thread that
//! answers requests is never busy with them.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};

use crate::datastore::{self, Datastore};
use crate::records::{self, Filled, Generator, Settings};
use crate::serve::Error;
use crate::serve::problem::Problem;

/// The keys that are counted.
const PATTERN: &str = "record:*";

/// Walks over all keys at one time; more wait for their turn.
const MAX_COUNTS: usize = 2;

/// How long Redis may be away in the middle of a generation: somebody waits for the answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// What to do when Redis is away.
const HELP: &str = "is Redis running? it is tried again with every request";

/// The records.
pub(super) struct Records {
    config: datastore::Config,
    runtime: Handle,
    counts: Arc<Semaphore>,
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
        let (config, counts, counter) = (self.config.clone(), self.counts.clone(), self.counter.clone());
        self.on_thread(async move {
            // The semaphore is never closed.
            let _turn = counts.acquire().await;
            let datastore = counter_of(&config, &counter).await?;
            records::count(&datastore, PATTERN).await
        })
        .await?
        .map_err(|error| trouble(&error))
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

    async fn on_thread<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Problem> {
        self.runtime.spawn(work).await.map_err(|_| shutting_down())
    }
}

fn shutting_down() -> Problem {
    Problem::unavailable("shutting_down", "the server is shutting down", "ask again when it is back")
}

/// What a client hears of an error; the text holds no password.
fn trouble(error: &datastore::Error) -> Problem {
    match error {
        datastore::Error::Refused { .. } | datastore::Error::Answer { .. } => {
            Problem::unavailable("redis_refused", error.to_string(), "see what Redis says about it")
        }
        _ => Problem::unavailable("redis_unreachable", error.to_string(), HELP),
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
        records::Error::ShutDown => shutting_down(),
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
    fn a_key_without_an_id_is_refused() {
        assert!(generator("record:{id}", "{id}", 1, 10).is_ok());
        let problem = |key, value| generator(key, value, 1, 10).expect_err("not usable").detail().clone();
        assert_eq!(problem("record", "x").code, "bad_template");
        assert!(!problem("record", "x").message.contains("records."));
        assert_eq!(problem("{id}", "{id:zz}").code, "bad_template");
        assert_eq!(problem("{id}", "longer than that {size:3}").code, "bad_template");
    }
}

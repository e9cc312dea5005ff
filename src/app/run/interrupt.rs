//! Ctrl-C and SIGTERM: the first drains the run, the second ends it at once. Of several runs, neither they nor a run
//! that was asked to stop let another one begin.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::signal::unix::{SignalKind, signal};

use crate::app::error::Error;
use crate::app::say;
use crate::engine::{Cause, Control};

/// Watches for signals on a thread of its own, for one run after the other.
pub(super) struct Interrupts {
    /// The run that a signal ends.
    control: Arc<Mutex<Arc<Control>>>,
    /// How many signals have come.
    came: Arc<AtomicUsize>,
    /// A word for each, for who waits.
    signals: mpsc::Receiver<()>,
    /// Of how many it was said what they do.
    announced: Cell<usize>,
    /// How many have done what they were to do.
    served: Cell<usize>,
    /// Somebody has asked a run to stop.
    stopped: Cell<bool>,
    quiet: bool,
}

impl Interrupts {
    /// Begins to watch.
    pub(super) fn watch(quiet: bool) -> Result<Interrupts, Error> {
        let control = Arc::new(Mutex::new(Arc::new(Control::default())));
        let came = Arc::new(AtomicUsize::new(0));
        let (sender, signals) = mpsc::channel();
        let failed = |what| move |source| Error::System { what, source };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .map_err(failed("start a runtime"))?;
        let (mut interrupt, mut terminate) = {
            let _inside = runtime.enter();
            let of = |kind| signal(kind).map_err(failed("watch for signals"));
            (of(SignalKind::interrupt())?, of(SignalKind::terminate())?)
        };
        let (count, current) = (came.clone(), control.clone());
        let watching = move || {
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    // First the word, then whom it ends: a run that is attended to in between sees the word.
                    let again = count.fetch_add(1, Ordering::SeqCst) > 0;
                    let control = current.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    if again {
                        control.stop_now();
                    } else {
                        control.drain(Cause::Stopped);
                    }
                    if sender.send(()).is_err() {
                        return;
                    }
                }
            });
        };
        std::thread::Builder::new()
            .name("signals".to_string())
            .spawn(watching)
            .map_err(failed("start a thread"))?;
        let (announced, served, stopped) = Default::default();
        Ok(Interrupts { control, came, signals, announced, served, stopped, quiet })
    }

    /// From now on signals end this run; at once, if one has come already.
    pub(super) fn attend(&self, control: &Arc<Control>) {
        *self.control.lock().unwrap_or_else(PoisonError::into_inner) = control.clone();
        if self.seen() {
            control.drain(Cause::Stopped);
        }
    }

    /// Whether one has come.
    pub(super) fn seen(&self) -> bool {
        self.came() > 0
    }

    fn came(&self) -> usize {
        self.came.load(Ordering::SeqCst)
    }

    /// A run was asked to stop.
    pub(super) fn stop(&self) {
        self.stopped.set(true);
    }

    /// Whether no other run is to begin: a signal has come, or a run was asked to stop.
    pub(super) fn is_last(&self) -> bool {
        self.seen() || self.stopped.get()
    }

    /// Says what a signal that has just come will do.
    pub(super) fn announce(&self) {
        while self.announced.get() < self.came() {
            self.announced.set(self.announced.get() + 1);
            if self.quiet {
                continue;
            }
            say(match self.announced.get() {
                1 => "stopping: waiting for responses; press Ctrl-C again to stop at once",
                _ => "stopping at once",
            });
        }
    }

    /// All runs are over, and signals that have come so far have done what they were to do: the next one ends what is
    /// not needed any more.
    pub(super) fn forget_earlier(&self) {
        self.served.set(self.came());
    }

    /// Whether one has come since: who waits for something that is not needed gives up.
    pub(super) fn hurries(&self) -> bool {
        self.came() > self.served.get()
    }

    /// Waits until one has come since.
    pub(super) fn wait_for_next(&self) {
        // A word may be that of an earlier one. A watcher that is gone cannot be waited for.
        while !self.hurries() && self.signals.recv().is_ok() {}
    }
}

//! Ctrl-C and SIGTERM: the first drains the run, the second ends it at once. Of several runs, neither they nor a run
//! that was asked to stop let another one begin.

use std::sync::atomic::{AtomicBool, Ordering};
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
    seen: Arc<AtomicBool>,
    /// Somebody has asked a run to stop.
    stopped: std::cell::Cell<bool>,
    signals: mpsc::Receiver<()>,
    announced: std::cell::Cell<usize>,
    quiet: bool,
}

impl Interrupts {
    /// Begins to watch.
    pub(super) fn watch(quiet: bool) -> Result<Interrupts, Error> {
        let control = Arc::new(Mutex::new(Arc::new(Control::default())));
        let seen = Arc::new(AtomicBool::new(false));
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
        let (flag, current) = (seen.clone(), control.clone());
        let watching = move || {
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    // First the word, then whom it ends: a run that is attended to in between sees the word.
                    let again = flag.swap(true, Ordering::SeqCst);
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
        let (stopped, announced) = Default::default();
        Ok(Interrupts { control, seen, stopped, signals, announced, quiet })
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
        self.seen.load(Ordering::SeqCst)
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
        while self.signals.try_recv().is_ok() {
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

    /// Whether one has come since it was last looked: who waits for something that is not needed gives up.
    pub(super) fn hurries(&self) -> bool {
        self.signals.try_recv().is_ok()
    }

    /// Signals that have come so far do not count for [`Interrupts::wait_for_next`].
    pub(super) fn forget_earlier(&self) {
        while self.signals.try_recv().is_ok() {}
    }

    /// Waits for a signal.
    pub(super) fn wait_for_next(&self) {
        // A watcher that is gone cannot be waited for.
        let _ = self.signals.recv();
    }
}

//! Hot path
//!
//! Clock: the only file that reads time or sleeps.
//!
//! A [`Clock`] counts nanoseconds from a common origin, time zero of the run, on the monotonic
//! clock, so a jump of the wall clock moves nothing. [`Alarm`] wakes a task at an absolute instant
//! with the precision of the kernel's high resolution timers (tokio's own timers tick once a
//! millisecond and are 0.5 to 1.6 ms late).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeSpec, TimeVal};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::units::Nanos;

/// Nanoseconds since an origin that all parts of a run share. Copies agree with each other.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
    /// The origin on CLOCK_MONOTONIC, which is what timers are set against.
    origin_monotonic_ns: u64,
}

impl Clock {
    /// A clock whose time zero lies `delay` ahead. Before it, [`Clock::now`] is zero.
    pub fn starting_in(delay: Duration) -> Clock {
        Clock { origin: Instant::now() + delay, origin_monotonic_ns: monotonic_ns() + Nanos::from(delay).0 }
    }

    /// A clock whose time zero is now.
    pub fn starting_now() -> Clock {
        Clock::starting_in(Duration::ZERO)
    }

    /// Time since time zero; zero before it.
    #[inline]
    pub fn now(&self) -> Nanos {
        Nanos(self.now_ns())
    }

    /// The same as a bare number, for the sending path.
    #[inline]
    pub fn now_ns(&self) -> u64 {
        Instant::now().saturating_duration_since(self.origin).as_nanos() as u64
    }

    /// Time that is still to pass until time zero; zero after it.
    pub fn until_start(&self) -> Duration {
        self.origin.saturating_duration_since(Instant::now())
    }
}

/// CLOCK_MONOTONIC in nanoseconds.
fn monotonic_ns() -> u64 {
    let now = nix::time::ClockId::CLOCK_MONOTONIC.now().map(Duration::from).unwrap_or_default();
    now.as_nanos() as u64
}

/// CLOCK_MONOTONIC as the kernel last noted it: 1 to 10 ms coarse, a few nanoseconds to read. For
/// limits that are checked very often and need not be sharp; never to measure.
#[inline]
pub fn coarse_ns() -> u64 {
    let now = nix::time::ClockId::CLOCK_MONOTONIC_COARSE.now().map(Duration::from).unwrap_or_default();
    now.as_nanos() as u64
}

/// The processor's own counter where it runs at one rate on all cores, else nanoseconds: a few
/// nanoseconds to read, for times that are taken very often. Only differences mean something;
/// [`TickRate`] turns them into time.
#[inline]
pub fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    if TICK_RATE.from_counter {
        // SAFETY: every x86-64 processor has the instruction, and it touches no memory.
        return unsafe { std::arch::x86_64::_rdtsc() };
    }
    monotonic_ns()
}

/// What [`ticks`] are worth.
#[derive(Debug, Clone, Copy)]
pub struct TickRate {
    from_counter: bool,
    per_us: f64,
}

static TICK_RATE: LazyLock<TickRate> = LazyLock::new(TickRate::measure);

impl TickRate {
    /// That of this machine, measured once, in a fifth of a millisecond.
    pub fn of_machine() -> TickRate {
        *TICK_RATE
    }

    /// Ticks as microseconds.
    pub fn micros(self, ticks: u64) -> f64 {
        ticks as f64 / self.per_us
    }

    /// Microseconds as ticks.
    pub fn ticks(self, micros: u64) -> u64 {
        (micros as f64 * self.per_us) as u64
    }

    fn nanoseconds() -> TickRate {
        TickRate { from_counter: false, per_us: 1000.0 }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn measure() -> TickRate {
        TickRate::nanoseconds()
    }

    #[cfg(target_arch = "x86_64")]
    fn measure() -> TickRate {
        use std::arch::x86_64::{__cpuid, _rdtsc};
        // Bit 8 of EDX: the counter runs at a constant rate in all states of the processor.
        const POWER: u32 = 0x8000_0007;
        #[expect(unused_unsafe, reason = "safe in newer compilers only")]
        // SAFETY: every x86-64 processor has both instructions, and they touch no memory.
        let (known, power) = unsafe { (__cpuid(0x8000_0000).eax, __cpuid(POWER).edx) };
        if known < POWER || power & (1 << 8) == 0 {
            return TickRate::nanoseconds();
        }
        // SAFETY: as above.
        let now = || (monotonic_ns(), unsafe { _rdtsc() });
        let (start_ns, start) = now();
        loop {
            let (ns, ticks) = now();
            if ns - start_ns >= 200_000 {
                let per_us = ticks.wrapping_sub(start) as f64 * 1000.0 / (ns - start_ns) as f64;
                // A counter that stands still or jumps back is none.
                let usable = (1.0..1e6).contains(&per_us);
                let counter = TickRate { from_counter: true, per_us };
                return if usable { counter } else { TickRate::nanoseconds() };
            }
        }
    }
}

/// The wall clock, for names and reports. Never used to measure.
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// Microseconds of the wall clock since 1970; 0 before that. For the store's expiry times.
pub fn wall_micros() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_micros() as u64
}

/// Nanoseconds that have passed since a stamp of the wall clock; zero for one that lies ahead. For stamps of the
/// last moments: what sets the clock meanwhile falsifies it.
#[inline]
pub fn wall_age_ns(stamp: Duration) -> u64 {
    let now = nix::time::ClockId::CLOCK_REALTIME.now().map(Duration::from).unwrap_or_default();
    now.saturating_sub(stamp).as_nanos() as u64
}

/// A stopwatch for set-up and for parts that are not measured against the schedule.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    pub fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Processor time that the calling thread has used.
pub fn thread_cpu() -> Duration {
    nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID.now().map(Duration::from).unwrap_or_default()
}

/// Processor time, by who has used it.
#[derive(Debug, Clone, Copy, Default)]
pub struct CpuSplit {
    /// The program.
    pub user: Duration,
    /// The kernel for it.
    pub system: Duration,
}

fn cpu_split(who: UsageWho) -> CpuSplit {
    let duration = |time: TimeVal| {
        Duration::new(time.tv_sec().max(0) as u64, time.tv_usec().clamp(0, 999_999) as u32 * 1000)
    };
    getrusage(who).map_or(CpuSplit::default(), |usage| CpuSplit {
        user: duration(usage.user_time()),
        system: duration(usage.system_time()),
    })
}

/// Processor time that the whole process has used.
pub fn process_cpu_split() -> CpuSplit {
    cpu_split(UsageWho::RUSAGE_SELF)
}

/// Processor time that the process' children have used.
pub fn children_cpu_split() -> CpuSplit {
    cpu_split(UsageWho::RUSAGE_CHILDREN)
}

/// Processor time that the calling thread has used.
pub fn thread_cpu_split() -> CpuSplit {
    cpu_split(UsageWho::RUSAGE_THREAD)
}

/// Processor time that the whole process has used.
pub fn process_cpu() -> Duration {
    nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID.now().map(Duration::from).unwrap_or_default()
}

/// Sleeps the task for a time-out or a pause, where a millisecond does not matter.
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Gives up on `future` after `limit`; `None` then.
pub async fn timeout<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    tokio::time::timeout(limit, future).await.ok()
}

/// Sleeps the calling thread; for threads that are not on a runtime.
pub fn sleep_thread(duration: Duration) {
    std::thread::sleep(duration);
}

/// Asks the kernel not to round this thread's timers (the default slack is 50 µs).
pub fn precise_timers() {
    // SAFETY: PR_SET_TIMERSLACK takes one integer and changes only the calling thread's slack.
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1usize, 0usize, 0usize, 0usize);
    }
}

struct TimerHandle(TimerFd);

impl AsRawFd for TimerHandle {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl AsFd for TimerHandle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Wakes one task at an absolute instant of a [`Clock`].
pub struct Alarm {
    timer: AsyncFd<TimerHandle>,
    origin_ns: u64,
    armed_for: Option<u64>,
}

impl std::fmt::Debug for Alarm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Alarm").field("armed_for", &self.armed_for).finish_non_exhaustive()
    }
}

impl Alarm {
    /// An alarm on `clock`. Must be made inside a tokio runtime.
    ///
    /// # Errors
    /// When the kernel gives no timer (file descriptors used up).
    pub fn new(clock: &Clock) -> io::Result<Alarm> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        // SAFETY: `TimerHandle` owns its descriptor, returns the same one for as long as it lives, and
        // closes it only when the `AsyncFd` that owns it is dropped.
        let timer = unsafe { AsyncFd::register_with_interest(TimerHandle(timer), Interest::READABLE)? };
        Ok(Alarm { timer, origin_ns: clock.origin_monotonic_ns, armed_for: None })
    }

    /// Waits until `at`. Returns at once when `at` has passed. Safe to drop half-way.
    ///
    /// # Errors
    /// When the kernel refuses to set or read the timer.
    pub async fn wait_until(&mut self, at: Nanos) -> io::Result<()> {
        if self.armed_for != Some(at.0) {
            // An absolute time of zero would disarm the timer; one nanosecond fires at once.
            let absolute = Duration::from_nanos((self.origin_ns + at.0).max(1));
            let expiration = Expiration::OneShot(TimeSpec::from_duration(absolute));
            self.timer.get_ref().0.set(expiration, TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
            self.armed_for = Some(at.0);
        }
        loop {
            let mut ready = self.timer.readable().await?;
            let mut expirations = [0u8; 8];
            match nix::unistd::read(self.timer.get_ref(), &mut expirations) {
                Ok(_) => {
                    self.armed_for = None;
                    ready.clear_ready();
                    return Ok(());
                }
                // Re-arming clears an expiry that nobody had read yet: wait for the new one.
                Err(nix::errno::Errno::EAGAIN) => ready.clear_ready(),
                Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_time_zero_it_is_zero() {
        let clock = Clock::starting_in(Duration::from_secs(3600));
        assert_eq!(clock.now(), Nanos::ZERO);
        assert!(clock.until_start() > Duration::from_secs(3000));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_alarm_never_fires_early_and_can_be_moved() {
        let clock = Clock::starting_now();
        let mut alarm = Alarm::new(&clock).expect("a timer");
        let far = alarm.wait_until(Nanos::from_secs(3600));
        assert!(timeout(Duration::from_millis(1), far).await.is_none());
        let at = Nanos(clock.now_ns() + 2_000_000);
        alarm.wait_until(at).await.expect("the timer fires");
        assert!(clock.now() >= at);
    }
}

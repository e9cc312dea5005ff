//! When each request is due: integer arithmetic on the request number.
//!
//! The rate curve is a row of linear pieces. The area under it, counted in requests, says how many
//! requests are due by an instant, and request `n` is due at the **smallest nanosecond at which the
//! area has reached `n`**. Nothing is summed up while running, so nothing drifts, and any thread or
//! machine can ask for any `n`.
//!
//! Units: rates are [`Tps`] units (millionths of a request per hour). Areas are *doubled*, in
//! `2 × rate unit × nanosecond`, because the area of a linear piece, `(r0 + r1) × d / 2`, is then
//! always an integer. One request is [`AREA_PER_REQUEST`].

mod changed;

use std::sync::Arc;

use crate::plan::poisson;
use crate::plan::replay::Speed;
use crate::units::{NANOS_PER_SEC, Nanos, Tps};

pub use changed::{Change, FOREVER};

/// Doubled area of one request.
pub const AREA_PER_REQUEST: u128 = 2 * Tps::UNITS_PER_TPS as u128 * NANOS_PER_SEC as u128;

/// Sine and Lua stages are sampled this often.
pub const SAMPLE_NS: u64 = 10_000_000;

/// Samples between two stored area sums of a sampled stage.
const CHECKPOINT_EVERY: u64 = 256;

// ---------------------------------------------------------------------------------------------
// Pieces

/// A stretch of time in which the rate changes linearly. `duration_ns` is at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Piece {
    /// Length in nanoseconds.
    pub duration_ns: u64,
    /// Rate at the start, in [`Tps`] units.
    pub from: u64,
    /// Rate at the end, in [`Tps`] units.
    pub to: u64,
}

impl Piece {
    /// Doubled area under the whole piece.
    pub fn area(&self) -> u128 {
        (u128::from(self.from) + u128::from(self.to)) * u128::from(self.duration_ns)
    }

    /// Doubled area under the first `x` nanoseconds, rounded down.
    fn area_upto(&self, x: u64) -> u128 {
        // 2·r0·x + Δ·x²/d. Δ·x = q·d + r makes the square q·x + r·x/d, which stays below 2^127.
        let (x, d) = (i128::from(x.min(self.duration_ns)), i128::from(self.duration_ns));
        let slope = (i128::from(self.to) - i128::from(self.from)) * x;
        let square = slope.div_euclid(d) * x + (slope.rem_euclid(d) * x).div_euclid(d);
        (2 * i128::from(self.from) * x + square).max(0) as u128
    }

    /// The rate `x` nanoseconds after the start, rounded down.
    fn rate_at(&self, x: u64) -> u64 {
        let into = i128::from(x.min(self.duration_ns));
        let delta = i128::from(self.to) - i128::from(self.from);
        (i128::from(self.from) + delta * into / i128::from(self.duration_ns)) as u64
    }

    /// Doubled area under all but the last nanosecond, rounded down.
    fn area_without_last_ns(&self) -> u128 {
        // area(d) − 2·r1 + Δ/d, from area(x) = 2·r0·x + Δ·x²/d at x = d − 1.
        let delta = i128::from(self.to) - i128::from(self.from);
        let last = 2 * i128::from(self.to) - delta.div_euclid(i128::from(self.duration_ns));
        (self.area() as i128 - last).max(0) as u128
    }

    /// Whether the doubled area of the first `x` nanoseconds is at least `area`, exactly.
    fn reaches(&self, x: u64, area: u128) -> bool {
        // 2·r0·x·d + Δ·x² ≥ area·d, with the term of a falling ramp moved to the other side.
        let (x, d) = (u128::from(x), u128::from(self.duration_ns));
        let rise = u128::from(self.from) * x;
        let square = Wide::product(x * x, u128::from(self.from.abs_diff(self.to)));
        let linear = Wide::product(rise, 2 * d);
        let wanted = Wide::product(area, d);
        if self.to >= self.from { linear.plus(square) >= wanted } else { linear >= wanted.plus(square) }
    }

    /// The smallest `x` at which the doubled area has reached `area`.
    /// `area` must not be above [`Piece::area`]; `hint` is any guess, a close one is faster.
    fn solve(&self, area: u128, hint: u64) -> u64 {
        if area == 0 {
            return 0;
        }
        if self.from == self.to {
            return area.div_ceil(2 * u128::from(self.from.max(1))) as u64;
        }
        let guess = self.newton(area, hint.min(self.duration_ns));
        self.settle(area, guess)
    }

    /// A few Newton steps in integers. Only a guess: [`Piece::settle`] makes it exact.
    fn newton(&self, area: u128, start: u64) -> u64 {
        let d = i128::from(self.duration_ns);
        let delta = i128::from(self.to) - i128::from(self.from);
        let mut x = i128::from(start);
        for _ in 0..64 {
            let climbed = delta * x / d;
            let rate = (i128::from(self.from) + climbed).max(1);
            let behind = area as i128 - (2 * i128::from(self.from) + climbed) * x;
            let step = behind / (2 * rate);
            x = (x + step).clamp(0, d);
            if step.abs() <= 1 {
                break;
            }
        }
        x as u64
    }

    /// Gallops from `guess` to the exact answer.
    fn settle(&self, area: u128, guess: u64) -> u64 {
        let (mut low, mut high); // reaches(low) is false or low is 0; reaches(high) is true
        let mut step = 1;
        if self.reaches(guess, area) {
            high = guess;
            loop {
                low = high.saturating_sub(step);
                if low == 0 || !self.reaches(low, area) {
                    break;
                }
                high = low;
                step *= 2;
            }
        } else {
            low = guess;
            loop {
                high = low.saturating_add(step).min(self.duration_ns);
                if high == self.duration_ns || self.reaches(high, area) {
                    break;
                }
                low = high;
                step *= 2;
            }
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.reaches(middle, area) { high = middle } else { low = middle }
        }
        high
    }
}

/// An unsigned 256-bit number, only for exact comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Wide {
    high: u128,
    low: u128,
}

impl Wide {
    fn product(a: u128, b: u128) -> Wide {
        if let Some(low) = a.checked_mul(b) {
            return Wide { high: 0, low };
        }
        const HALF: u128 = u64::MAX as u128;
        let (a1, a0, b1, b0) = (a >> 64, a & HALF, b >> 64, b & HALF);
        let (cross1, cross2) = (a1 * b0, a0 * b1);
        let middle = ((a0 * b0) >> 64) + (cross1 & HALF) + (cross2 & HALF);
        Wide {
            high: a1 * b1 + (cross1 >> 64) + (cross2 >> 64) + (middle >> 64),
            low: (middle << 64) | ((a0 * b0) & HALF),
        }
    }

    /// Terms stay below 2^180, so the sum of two cannot overflow.
    fn plus(self, other: Wide) -> Wide {
        let (low, carry) = self.low.overflowing_add(other.low);
        Wide { high: self.high + other.high + u128::from(carry), low }
    }
}

// ---------------------------------------------------------------------------------------------
// Stages

/// The rate curve of one stage.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Shape {
    /// Linear pieces one after the other: hold, ramp, step and pause.
    Pieces(Vec<Piece>),
    /// `mean + amplitude × sin(2π t / period)`, sampled every [`SAMPLE_NS`].
    Sine {
        /// Rate in the middle, in [`Tps`] units.
        mean: u64,
        /// Swing, in [`Tps`] units; not above `mean`.
        amplitude: u64,
        /// Length of one wave in nanoseconds.
        period_ns: u64,
        /// Length of the stage in nanoseconds.
        duration_ns: u64,
    },
    /// Rates of a Lua function, sampled every [`SAMPLE_NS`] and once at the end.
    Samples {
        /// Rates in [`Tps`] units.
        rates: Vec<u64>,
        /// Length of the stage in nanoseconds.
        duration_ns: u64,
    },
}

impl Shape {
    /// Length in nanoseconds.
    pub fn duration_ns(&self) -> u64 {
        match self {
            Shape::Pieces(pieces) => pieces.iter().map(|p| p.duration_ns).sum(),
            Shape::Sine { duration_ns, .. } | Shape::Samples { duration_ns, .. } => *duration_ns,
        }
    }

    /// Its linear pieces in order.
    pub fn pieces(&self) -> impl Iterator<Item = Piece> {
        (0..self.piece_count()).map(|index| self.piece(index))
    }

    /// The rates at its start and at its end, in [`Tps`] units.
    pub fn ends(&self) -> (u64, u64) {
        (self.piece(0).from, self.piece(self.piece_count() - 1).to)
    }

    /// How many samples a sampled stage of this length needs, the one at its end included.
    pub fn samples_needed(duration_ns: u64) -> u64 {
        duration_ns.div_ceil(SAMPLE_NS) + 1
    }

    fn piece_count(&self) -> u64 {
        match self {
            Shape::Pieces(pieces) => pieces.len() as u64,
            Shape::Sine { duration_ns, .. } | Shape::Samples { duration_ns, .. } => {
                duration_ns.div_ceil(SAMPLE_NS)
            }
        }
    }

    fn rate_at_sample(&self, index: u64) -> u64 {
        match self {
            Shape::Pieces(_) => 0,
            Shape::Sine { mean, amplitude, period_ns, duration_ns } => {
                let at_ns = (index * SAMPLE_NS).min(*duration_ns);
                let turn = (u128::from(at_ns % period_ns) << 64) / u128::from(*period_ns);
                let swing = (i128::from(*amplitude) * i128::from(sine(turn as u64)) + (1 << 59)) >> 60;
                (i128::from(*mean) + swing).max(0) as u64
            }
            Shape::Samples { rates, .. } => rates[index as usize],
        }
    }

    fn piece(&self, index: u64) -> Piece {
        match self {
            Shape::Pieces(pieces) => pieces[index as usize],
            Shape::Sine { duration_ns, .. } | Shape::Samples { duration_ns, .. } => Piece {
                duration_ns: SAMPLE_NS.min(duration_ns - index * SAMPLE_NS),
                from: self.rate_at_sample(index),
                to: self.rate_at_sample(index + 1),
            },
        }
    }

    /// The piece in which `x` nanoseconds into the stage lie (the last one beyond the end): its index and its start.
    fn piece_at(&self, x: u64) -> (u64, u64) {
        if !matches!(self, Shape::Pieces(_)) {
            let index = (x / SAMPLE_NS).min(self.piece_count() - 1);
            return (index, index * SAMPLE_NS);
        }
        let (mut index, mut start) = (0, 0);
        loop {
            let end = start + self.piece(index).duration_ns;
            if x < end || index + 1 == self.piece_count() {
                return (index, start);
            }
            start = end;
            index += 1;
        }
    }

    /// Rate at `x` nanoseconds into the stage, in [`Tps`] units.
    fn rate_at(&self, x: u64) -> u64 {
        let (index, start) = self.piece_at(x);
        self.piece(index).rate_at(x - start)
    }

    /// The highest rate between two instants of the stage, in [`Tps`] units.
    fn peak(&self, from: u64, to: u64) -> u64 {
        let (first, mut start) = self.piece_at(from);
        let mut peak = 0;
        for index in first..self.piece_count() {
            let piece = self.piece(index);
            let ends = [from.saturating_sub(start), to.saturating_sub(start)].map(|x| piece.rate_at(x));
            peak = peak.max(ends[0]).max(ends[1]);
            start += piece.duration_ns;
            if start >= to {
                break;
            }
        }
        peak
    }
}

/// `sin(2π × turn / 2^64)` with 60 fractional bits, by the Taylor series in integers, so that every
/// machine gets the same wave.
fn sine(turn: u64) -> i64 {
    const HALF_PI_Q60: i128 = 1_811_004_864_519_280_711; // π/2 × 2^60
    let quadrant = turn >> 62;
    let within = turn & ((1 << 62) - 1);
    let folded = if quadrant & 1 == 0 { within } else { (1 << 62) - within };
    let x = (i128::from(folded) * HALF_PI_Q60) >> 62;
    let square = (x * x) >> 60;
    let (mut term, mut sum) = (x, x);
    for k in 1..13 {
        term = -((term * square) >> 60) / ((2 * k) * (2 * k + 1));
        sum += term;
    }
    let sum = sum.clamp(0, 1 << 60) as i64;
    if quadrant < 2 { sum } else { -sum }
}

/// The rate curve of a stage, made ready to be searched.
#[derive(Debug)]
struct Curve {
    shape: Shape,
    duration_ns: u64,
    area: u128,
    /// Doubled area from the start to piece 0, 256, 512 …
    checkpoints: Vec<u128>,
}

impl Curve {
    fn new(shape: Shape) -> Curve {
        let mut checkpoints = Vec::new();
        let mut area = 0u128;
        for (index, piece) in shape.pieces().enumerate() {
            if (index as u64).is_multiple_of(CHECKPOINT_EVERY) {
                checkpoints.push(area);
            }
            area += piece.area();
        }
        Curve { duration_ns: shape.duration_ns(), shape, area, checkpoints }
    }

    /// One rate all the time.
    fn flat(rate: Tps, duration_ns: u64) -> Curve {
        Curve::new(Shape::Pieces(vec![Piece { duration_ns, from: rate.units(), to: rate.units() }]))
    }

    /// Doubled area under all but the last nanosecond, rounded down.
    fn area_without_last_ns(&self) -> u128 {
        let last = self.shape.piece(self.shape.piece_count() - 1);
        self.area - last.area() + last.area_without_last_ns()
    }

    /// Doubled area under the first `x` nanoseconds, rounded down.
    fn area_upto(&self, x: u64) -> u128 {
        let (index, start_ns) = self.shape.piece_at(x);
        let checkpoint = index / CHECKPOINT_EVERY;
        let since = (checkpoint * CHECKPOINT_EVERY..index).map(|index| self.shape.piece(index).area());
        let before = self.checkpoints[checkpoint as usize] + since.sum::<u128>();
        before + self.shape.piece(index).area_upto(x - start_ns)
    }

    /// The piece in which the area first reaches `area`: its index, its start and the area before it.
    fn locate(&self, area: u128) -> Spot {
        let checkpoint = self.checkpoints.partition_point(|&before| before < area).saturating_sub(1);
        let mut spot = Spot::at(self, checkpoint as u64 * CHECKPOINT_EVERY, self.checkpoints[checkpoint]);
        spot.advance(self, area);
        spot
    }
}

/// The points of which the arrivals of a stage, or of a part of it, are drawn.
#[derive(Debug, Clone, Copy)]
struct Draw {
    seed: u64,
    /// The number of the request that is the first point.
    first: u64,
    /// How many points were drawn, though only some may be sent.
    points: u64,
}

/// A stage with its place in the plan, or what a change has left of one.
#[derive(Debug, Clone)]
struct Span {
    curve: Arc<Curve>,
    /// Which stage it is a part of.
    stage: usize,
    /// Where the curve begins. A part that goes on after a pause begins in the middle of it.
    origin_ns: u64,
    /// The time of the part.
    start_ns: u64,
    end_ns: u64,
    /// Doubled area before the curve begins.
    area_before: u128,
    first: u64,
    scheduled: u64,
    /// The number that its first request would have if all arrivals were even: from it on their area is counted. Random
    /// ones have another number there once a change has cut a stage.
    even: u64,
    /// With Poisson arrivals.
    draw: Option<Draw>,
}

impl Span {
    /// The number behind that of its last request.
    fn upto(&self) -> u64 {
        self.first + self.scheduled
    }

    /// Doubled area that is gathered by an instant of it.
    fn area_at(&self, at_ns: u64) -> u128 {
        self.area_before + self.curve.area_upto(at_ns - self.origin_ns)
    }

    /// The number of the first request that is not due before an instant of it, if all arrivals were even.
    fn even_at(&self, at_ns: u64) -> u64 {
        if at_ns <= self.start_ns {
            return self.even;
        }
        // Due strictly before means reached one nanosecond earlier.
        self.even.max((self.area_at(at_ns - 1) / AREA_PER_REQUEST) as u64 + 1)
    }
}

/// What lies behind the next part of a schedule that is laid.
#[derive(Debug, Clone, Copy)]
struct Behind {
    /// Doubled area.
    area: u128,
    /// Requests, if all arrivals were even.
    even: u64,
}

/// A place in a stage: one piece and what came before it.
#[derive(Debug, Clone, Copy)]
struct Spot {
    index: u64,
    piece: Piece,
    start_ns: u64,
    area_before: u128,
}

impl Spot {
    fn at(curve: &Curve, index: u64, area_before: u128) -> Spot {
        let start_ns = match &curve.shape {
            Shape::Pieces(pieces) => pieces.iter().take(index as usize).map(|p| p.duration_ns).sum(),
            _ => index * SAMPLE_NS,
        };
        Spot { index, piece: curve.shape.piece(index), start_ns, area_before }
    }

    /// Moves on to the piece in which the area reaches `area`.
    fn advance(&mut self, curve: &Curve, area: u128) {
        while self.area_before + self.piece.area() < area && self.index + 1 < curve.shape.piece_count() {
            self.area_before += self.piece.area();
            self.start_ns += self.piece.duration_ns;
            self.index += 1;
            self.piece = curve.shape.piece(self.index);
        }
    }
}

// ---------------------------------------------------------------------------------------------
// The schedule

/// How arrivals lie under the rate curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Arrivals {
    /// Evenly: request `n` when the area reaches `n`.
    Uniform,
    /// At random, but with the planned total in each stage.
    Poisson {
        /// Every choice follows from it.
        seed: u64,
    },
}

/// What one stage is going to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageTotals {
    /// Start, from time zero.
    pub start: Nanos,
    /// End, from time zero; the instant itself belongs to the next stage.
    pub end: Nanos,
    /// Number of the first request of the stage.
    pub first: u64,
    /// How many requests are due in the stage.
    pub scheduled: u64,
    /// Highest rate in the stage.
    pub peak: Tps,
}

/// Due times of all requests of a plan.
#[derive(Debug, Clone)]
pub struct Schedule {
    spans: Vec<Span>,
    arrivals: Arrivals,
    total: u64,
    /// The most requests that there may be, whatever the stages say.
    limit: u64,
    end_ns: u64,
    /// How often it was changed, and since when it holds.
    changes: u64,
    settled_ns: u64,
    /// Everything above is as planned; what is told is at this speed.
    speed: Speed,
}

impl Schedule {
    /// Lays the stages one after the other. Stages of no length must have been refused before.
    pub fn new(shapes: Vec<Shape>, arrivals: Arrivals) -> Schedule {
        let mut schedule = Schedule {
            spans: Vec::with_capacity(shapes.len()),
            arrivals,
            total: 0,
            limit: u64::MAX,
            end_ns: 0,
            changes: 0,
            settled_ns: 0,
            speed: Speed::PLANNED,
        };
        let mut behind = Behind { area: 0, even: 0 };
        for (stage, shape) in shapes.into_iter().enumerate() {
            behind = schedule.lay(stage, Arc::new(Curve::new(shape)), behind, None);
        }
        schedule
    }

    /// Puts a stage, or the rest of one, behind the others, and returns what is behind it then. `change`: the number of
    /// the change that it comes from.
    fn lay(&mut self, stage: usize, curve: Arc<Curve>, behind: Behind, change: Option<u64>) -> Behind {
        let Behind { area: area_before, even } = behind;
        let (start_ns, first) = (self.end_ns, self.total);
        // Due strictly before the end means reached one nanosecond earlier.
        let reached = area_before + curve.area_without_last_ns();
        let upto = ((reached / AREA_PER_REQUEST) as u64 + 1).max(even);
        let points = upto - even;
        let draw = match self.arrivals {
            Arrivals::Uniform => None,
            Arrivals::Poisson { seed } => {
                let seed = poisson::seed_of_stage(seed, stage as u64);
                let seed = change.map_or(seed, |number| poisson::seed_of_change(seed, number));
                Some(Draw { seed, first, points })
            }
        };
        let (end_ns, area) = (start_ns + curve.duration_ns, area_before + curve.area);
        let scheduled = points.min(self.limit.saturating_sub(first));
        self.spans.push(Span {
            curve,
            stage,
            origin_ns: start_ns,
            start_ns,
            end_ns,
            area_before,
            first,
            scheduled,
            even,
            draw,
        });
        (self.end_ns, self.total) = (end_ns, first + scheduled);
        Behind { area, even: upto }
    }

    /// The same schedule cut off after `total` requests.
    pub fn truncated(mut self, total: u64) -> Schedule {
        (self.limit, self.total) = (self.limit.min(total), self.total.min(total));
        for span in &mut self.spans {
            span.first = span.first.min(self.total);
            span.scheduled = span.scheduled.min(self.total - span.first);
        }
        self
    }

    /// The same schedule faster or slower than planned. It cannot be changed any more.
    pub fn at_speed(self, speed: Speed) -> Schedule {
        Schedule { speed, ..self }
    }

    /// How fast it is.
    pub fn speed(&self) -> Speed {
        self.speed
    }

    /// Whether it is faster or slower than planned.
    pub fn is_at_another_speed(&self) -> bool {
        self.speed != Speed::PLANNED
    }

    /// The last change holds from then on, or ends then; no other can be earlier.
    pub fn settled(&self) -> Nanos {
        Nanos(self.settled_ns)
    }

    /// The highest rate from the last change on.
    pub fn peak_ahead(&self) -> Tps {
        let ahead = self.spans.iter().filter(|span| span.end_ns > self.settled_ns);
        let peaks = ahead.map(|span| {
            let from_ns = span.start_ns.max(self.settled_ns);
            span.curve.shape.peak(from_ns - span.origin_ns, span.end_ns - span.origin_ns)
        });
        self.speed.rate(Tps::from_units(peaks.max().unwrap_or(0)))
    }

    /// How many requests are scheduled.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The area under the whole curve in requests is zero: nothing would ever be due.
    pub fn never_sends(&self) -> bool {
        self.spans.iter().all(|span| span.curve.area == 0)
    }

    /// The end of the last stage.
    pub fn end(&self) -> Nanos {
        Nanos(self.speed.end(self.end_ns))
    }

    /// How arrivals lie.
    pub fn arrivals(&self) -> Arrivals {
        self.arrivals
    }

    /// The shapes of the stages in order, of a schedule that was not changed.
    pub fn shapes(&self) -> impl Iterator<Item = &Shape> {
        self.spans.iter().map(|span| &span.curve.shape)
    }

    /// What each stage sends.
    pub fn stages(&self) -> Vec<StageTotals> {
        let stages = self.spans.chunk_by(|one, next| one.stage == next.stage);
        stages
            .map(|parts| {
                let (first, last) = (&parts[0], &parts[parts.len() - 1]);
                let peaks = parts.iter().map(|part| {
                    let within = |at_ns: u64| at_ns - part.origin_ns;
                    part.curve.shape.peak(within(part.start_ns), within(part.end_ns))
                });
                StageTotals {
                    // As due times are rounded: the first request may be due at the very beginning.
                    start: Nanos(self.speed.due(first.start_ns)),
                    end: Nanos(self.speed.end(last.end_ns)),
                    first: first.first,
                    scheduled: parts.iter().map(|part| part.scheduled).sum(),
                    peak: self.speed.rate(Tps::from_units(peaks.max().unwrap_or(0))),
                }
            })
            .collect()
    }

    /// The rate that is asked for at an instant.
    pub fn rate_at(&self, at: Nanos) -> Tps {
        let at = self.speed.planned(at);
        let index = self.spans.partition_point(|span| span.end_ns <= at.0);
        let rate = self.spans.get(index).map(|s| Tps::from_units(s.curve.shape.rate_at(at.0 - s.origin_ns)));
        self.speed.rate(rate.unwrap_or(Tps::ZERO))
    }

    /// When request `n` is due. For one request; walking is cheaper with a [`Cursor`].
    ///
    /// # Panics
    /// When `n` is not below [`Schedule::total`].
    pub fn due_at(&self, n: u64) -> Nanos {
        self.cursor().due_at(n).0
    }

    /// How many requests are due before an instant.
    pub fn due_before(&self, at: Nanos) -> u64 {
        // Due times never fall, so the first that is not before can be searched for.
        let mut cursor = self.cursor();
        let (mut low, mut high) = (0, self.total);
        while low < high {
            let middle = low + (high - low) / 2;
            if cursor.due_at(middle).0 < at {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Walks the due times in rising order.
    pub fn cursor(&self) -> Cursor<'_> {
        Cursor { schedule: self, walk: Walk::default() }
    }
}

/// Finds due times faster when asked for rising request numbers. The answers are those of
/// [`Schedule::due_at`], whatever the order.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    schedule: &'a Schedule,
    walk: Walk,
}

impl Cursor<'_> {
    /// When request `n` is due, and the index of its stage.
    ///
    /// # Panics
    /// When `n` is not below [`Schedule::total`].
    pub fn due_at(&mut self, n: u64) -> (Nanos, usize) {
        self.walk.due_at(self.schedule, n)
    }
}

/// A [`Cursor`] for who keeps the schedule too.
#[derive(Debug, Clone)]
pub struct Walker {
    schedule: Arc<Schedule>,
    walk: Walk,
}

impl Walker {
    /// At the beginning of a schedule.
    pub fn new(schedule: Arc<Schedule>) -> Walker {
        Walker { schedule, walk: Walk::default() }
    }

    /// The schedule.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// When request `n` is due, and the index of its stage.
    ///
    /// # Panics
    /// When `n` is not below [`Schedule::total`].
    pub fn due_at(&mut self, n: u64) -> (Nanos, usize) {
        self.walk.due_at(&self.schedule, n)
    }
}

/// The place in a schedule that was asked for last.
#[derive(Debug, Clone, Default)]
struct Walk {
    span: usize,
    spot: Option<Spot>,
    last_x: u64,
    deal: Option<poisson::Deal>,
}

impl Walk {
    fn due_at(&mut self, schedule: &Schedule, n: u64) -> (Nanos, usize) {
        assert!(n < schedule.total, "request {n} is not in the plan of {}", schedule.total);
        self.enter_span_of(schedule, n);
        let span = &schedule.spans[self.span];
        let due = match span.draw {
            None => {
                // A request that was reached before the stage began (a pause lies between) is due
                // where the area reached it: exactly at the start of this stage.
                let area = u128::from(n) * AREA_PER_REQUEST;
                span.origin_ns + self.solve(&span.curve, area.saturating_sub(span.area_before))
            }
            Some(Draw { seed, first, points }) => {
                let deal = self.deal.get_or_insert_with(|| poisson::Deal::new(seed, points));
                let area = poisson::scale(span.curve.area, deal.fraction(n - first));
                span.origin_ns + self.solve(&span.curve, area).min(span.curve.duration_ns - 1)
            }
        };
        (Nanos(schedule.speed.due(due)), span.stage)
    }

    fn enter_span_of(&mut self, schedule: &Schedule, n: u64) {
        let spans = &schedule.spans;
        let span = &spans[self.span];
        if n >= span.first && n - span.first < span.scheduled {
            return;
        }
        self.span = spans.partition_point(|span| span.upto() <= n);
        self.spot = None;
        self.deal = None;
        self.last_x = 0;
    }

    /// Nanoseconds into a curve at which its area reaches `area`.
    fn solve(&mut self, curve: &Curve, area: u128) -> u64 {
        let spot = match &mut self.spot {
            Some(spot) if spot.area_before < area || spot.index == 0 => {
                let index = spot.index;
                spot.advance(curve, area);
                if spot.index != index {
                    self.last_x = 0;
                }
                spot
            }
            slot => {
                self.last_x = 0;
                slot.insert(curve.locate(area))
            }
        };
        let x = spot.piece.solve(area - spot.area_before, self.last_x);
        self.last_x = x;
        spot.start_ns + x
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub fn hold(tps: u64, secs: u64) -> Shape {
        let rate = Tps::per_second(tps).units();
        Shape::Pieces(vec![Piece { duration_ns: secs * NANOS_PER_SEC, from: rate, to: rate }])
    }

    pub fn ramp(from: u64, to: u64, secs: u64) -> Shape {
        let (from, to) = (Tps::per_second(from).units(), Tps::per_second(to).units());
        Shape::Pieces(vec![Piece { duration_ns: secs * NANOS_PER_SEC, from, to }])
    }

    pub fn uniform(shapes: Vec<Shape>) -> Schedule {
        Schedule::new(shapes, Arrivals::Uniform)
    }

    pub fn scheduled(schedule: &Schedule) -> Vec<u64> {
        schedule.stages().iter().map(|s| s.scheduled).collect()
    }

    #[test]
    fn at_twice_the_speed_everything_is_due_in_half_the_time() {
        let planned = uniform(vec![ramp(0, 300, 3), hold(7, 11)]);
        let faster = planned.clone().at_speed("2".parse().expect("a speed"));
        assert_eq!((faster.total(), faster.end()), (planned.total(), Nanos::from_secs(7)));
        for n in 0..planned.total() {
            assert_eq!(faster.due_at(n).0, planned.due_at(n).0 / 2);
        }
        assert_eq!(faster.rate_at(Nanos::from_secs(5)), Tps::per_second(14));
        assert_eq!(scheduled(&faster), scheduled(&planned));
    }

    #[test]
    fn at_an_odd_speed_each_request_is_due_within_its_stage() {
        for speed in ["0.7", "3", "0.013", "99.999"] {
            let planned = uniform(vec![hold(7, 1), hold(11, 1), ramp(0, 13, 2), hold(17, 1)]);
            let faster = planned.at_speed(speed.parse().expect("a speed"));
            for stage in faster.stages() {
                for n in stage.first..stage.first + stage.scheduled {
                    let due = faster.due_at(n);
                    assert!(due >= stage.start && due < stage.end, "{n} at {speed}: {due:?} {stage:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_due_before_an_instant_is_what_has_an_earlier_due_time() {
        for arrivals in [Arrivals::Uniform, Arrivals::Poisson { seed: 7 }] {
            let schedule = Schedule::new(vec![ramp(0, 90, 3), hold(0, 1), hold(33, 2)], arrivals);
            for ms in (0..7000).step_by(37) {
                let at = Nanos::from_millis(ms);
                let earlier = (0..schedule.total()).filter(|&n| schedule.due_at(n) < at).count();
                assert_eq!(schedule.due_before(at), earlier as u64, "{ms} ms");
            }
        }
    }

    #[test]
    fn a_hold_of_100_for_10s_is_1000_requests_ten_milliseconds_apart() {
        let schedule = uniform(vec![hold(100, 10)]);
        assert_eq!(schedule.total(), 1000);
        for n in 0..1000 {
            assert_eq!(schedule.due_at(n), Nanos::from_millis(10 * n));
        }
    }

    #[test]
    fn a_ramp_from_zero_sends_half_of_the_peak_times_the_duration() {
        let schedule = uniform(vec![ramp(0, 100, 30), hold(100, 60), hold(300, 10), ramp(300, 0, 20)]);
        assert_eq!(scheduled(&schedule), [1500, 6000, 3000, 3000]);
        assert_eq!(schedule.due_at(0), Nanos::ZERO);
        // area(t) = 100/30 · t²/2 reaches 1 at √0.6 s.
        assert_eq!(schedule.due_at(1), Nanos(774_596_670));
        assert_eq!(schedule.due_at(1500), Nanos::from_secs(30));
    }

    #[test]
    fn a_rate_that_divides_no_second_never_drifts() {
        let schedule = uniform(vec![hold(70_000, 3600)]);
        assert_eq!(schedule.total(), 70_000 * 3600);
        for second in [1, 60, 3599] {
            assert_eq!(schedule.due_at(70_000 * second), Nanos::from_secs(second));
        }
    }

    #[test]
    fn a_request_on_the_boundary_belongs_to_the_stage_that_begins_there() {
        let pause = Shape::Pieces(vec![Piece { duration_ns: NANOS_PER_SEC, from: 0, to: 0 }]);
        let schedule = uniform(vec![hold(10, 1), pause, hold(10, 1)]);
        assert_eq!(scheduled(&schedule), [10, 1, 9]);
        assert_eq!(schedule.due_at(10), Nanos::from_secs(1));
        assert_eq!(schedule.due_at(11), Nanos(2_100_000_000));
    }

    #[test]
    fn a_pause_first_lets_request_zero_out_at_time_zero() {
        let pause = Shape::Pieces(vec![Piece { duration_ns: NANOS_PER_SEC, from: 0, to: 0 }]);
        let schedule = uniform(vec![pause, hold(10, 1)]);
        assert_eq!(scheduled(&schedule), [1, 9]);
        assert_eq!(schedule.due_at(0), Nanos::ZERO);
        assert_eq!(schedule.due_at(1), Nanos(1_100_000_000));
    }

    #[test]
    fn a_sine_over_whole_periods_sends_its_mean() {
        let (mean, amplitude) = (Tps::per_second(300).units(), Tps::per_second(100).units());
        let shape =
            Shape::Sine { mean, amplitude, period_ns: 20 * NANOS_PER_SEC, duration_ns: 60 * NANOS_PER_SEC };
        let schedule = uniform(vec![shape]);
        assert!(schedule.total().abs_diff(18_000) <= 1, "{}", schedule.total());
        assert_eq!(schedule.rate_at(Nanos::from_secs(5)), Tps::per_second(400));
        assert_eq!(schedule.rate_at(Nanos::from_secs(15)), Tps::per_second(200));
    }

    #[test]
    fn the_integer_sine_is_the_sine() {
        for i in 0..10_000u64 {
            let turn = i * (u64::MAX / 10_000);
            let exact = (turn as f64 / 2f64.powi(64) * std::f64::consts::TAU).sin();
            let ours = sine(turn) as f64 / 2f64.powi(60);
            assert!((exact - ours).abs() < 1e-12, "{turn}: {exact} {ours}");
        }
    }

    #[test]
    fn poisson_keeps_the_total_of_every_stage() {
        let shapes = vec![hold(100, 10), ramp(0, 500, 4), hold(50, 3)];
        let even = uniform(shapes.clone());
        let random = Schedule::new(shapes, Arrivals::Poisson { seed: 7 });
        assert_eq!(scheduled(&even), scheduled(&random));
        let mut cursor = random.cursor();
        let mut per_stage = vec![0; 3];
        let mut last = Nanos::ZERO;
        for n in 0..random.total() {
            let (due, stage) = cursor.due_at(n);
            assert!(due >= last);
            let totals = random.stages()[stage];
            assert!(due >= totals.start && due < totals.end);
            per_stage[stage] += 1;
            last = due;
        }
        assert_eq!(per_stage, scheduled(&random));
    }

    #[test]
    fn poisson_gaps_are_exponential() {
        let schedule = Schedule::new(vec![hold(1000, 20)], Arrivals::Poisson { seed: 3 });
        let mut cursor = schedule.cursor();
        let due: Vec<u64> = (0..schedule.total()).map(|n| cursor.due_at(n).0.0).collect();
        let gaps: Vec<f64> = due.windows(2).map(|w| (w[1] - w[0]) as f64 / 1e6).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        let above_mean = gaps.iter().filter(|&&g| g > mean).count() as f64 / gaps.len() as f64;
        assert!((mean - 1.0).abs() < 0.01, "{mean}");
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.05, "{variance}");
        assert!((above_mean - (-1f64).exp()).abs() < 0.02, "{above_mean}");
    }

    pub fn arbitrary_shape() -> impl Strategy<Value = Shape> {
        let rate = 0u64..200 * Tps::UNITS_PER_TPS;
        let piece = (1u64..3_000_000_000, rate.clone(), rate.clone(), any::<bool>()).prop_map(
            |(duration_ns, from, to, flat)| Piece { duration_ns, from, to: if flat { from } else { to } },
        );
        prop_oneof![
            prop::collection::vec(piece, 1..4).prop_map(Shape::Pieces),
            (rate, 0u64..100, 1u64..3_000_000_000, 1u64..3_000_000_000).prop_map(
                |(mean, share, period_ns, duration_ns)| Shape::Sine {
                    mean,
                    amplitude: mean * share / 100,
                    period_ns,
                    duration_ns
                }
            ),
        ]
    }

    /// Exact area up to an instant, rounded down, by another road: piece by piece in i128.
    fn area_upto(schedule: &Schedule, at: u64) -> u128 {
        let (mut area, mut start) = (0u128, 0u64);
        for shape in schedule.shapes() {
            for index in 0..shape.piece_count() {
                let piece = shape.piece(index);
                let x = i128::from(at.saturating_sub(start).min(piece.duration_ns));
                let (from, d) = (i128::from(piece.from), i128::from(piece.duration_ns));
                let doubled = 2 * from * x + ((i128::from(piece.to) - from) * x * x).div_euclid(d);
                area += doubled as u128;
                start += piece.duration_ns;
            }
        }
        area
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// `due_at(n)` is the smallest time at which the area reaches n, never falls, and the plan
        /// holds exactly the requests that are due before its end.
        #[test]
        fn due_times_follow_the_definition(shapes in prop::collection::vec(arbitrary_shape(), 1..5)) {
            let schedule = uniform(shapes);
            let mut cursor = schedule.cursor();
            let mut last = 0;
            for n in 0..schedule.total() {
                let due = cursor.due_at(n).0.0;
                prop_assert!(due >= last && due < schedule.end().0);
                // The checking sum rounds each sampled piece down, so allow it that much.
                let slack = 2 * schedule.shapes().map(Shape::piece_count).sum::<u64>();
                let target = u128::from(n) * AREA_PER_REQUEST;
                prop_assert!(area_upto(&schedule, due) + u128::from(slack) >= target);
                if due > 0 {
                    prop_assert!(area_upto(&schedule, due - 1) < target || n == 0);
                }
                last = due;
            }
            let reached = area_upto(&schedule, schedule.end().0) / AREA_PER_REQUEST;
            prop_assert!(u128::from(schedule.total()) <= reached + 1);
            prop_assert!(u128::from(schedule.total()) + 1 >= reached);
        }

        /// Asking at random gives what walking gives.
        #[test]
        fn walking_and_asking_agree(
            shapes in prop::collection::vec(arbitrary_shape(), 1..4),
            poisson in any::<bool>(),
            asked in prop::collection::vec(any::<prop::sample::Index>(), 1..20),
        ) {
            let arrivals = if poisson { Arrivals::Poisson { seed: 11 } } else { Arrivals::Uniform };
            let schedule = Schedule::new(shapes, arrivals);
            let mut cursor = schedule.cursor();
            let walked: Vec<_> = (0..schedule.total()).map(|n| cursor.due_at(n)).collect();
            let mut jumping = schedule.cursor();
            for index in asked {
                let n = index.index(walked.len()) as u64;
                prop_assert_eq!(schedule.due_at(n), walked[n as usize].0);
                prop_assert_eq!(jumping.due_at(n), walked[n as usize]);
            }
        }

        /// The exact comparison holds far beyond 128 bits.
        #[test]
        fn the_longest_and_steepest_ramps_stay_exact(
            from in 0u64..=10_000_000, to in 0u64..=10_000_000, days in 1u64..=30, share in 0u64..1_000_000,
        ) {
            prop_assume!(from != to);
            let schedule = uniform(vec![ramp(from, to, days * 86_400)]);
            let n = (u128::from(schedule.total() - 1) * u128::from(share) / 1_000_000) as u64;
            let due = schedule.due_at(n).0;
            let span = &schedule.spans[0].curve.shape.piece(0);
            let target = u128::from(n) * AREA_PER_REQUEST;
            prop_assert!(span.reaches(due, target));
            prop_assert!(due == 0 || !span.reaches(due - 1, target));
        }
    }
}

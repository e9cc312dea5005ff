//! Preflight: does the plan fit the machine? Arithmetic only; the machine's facts are handed in.

use crate::plan::Plan;
use crate::units::Nanos;

/// Connections closed by the client keep their port for this long.
const TIME_WAIT_SECS: u64 = 60;

/// Descriptors that are neither connections nor listeners: rings, timers, files, the store.
const OTHER_DESCRIPTORS: u64 = 64;

/// What the machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Ports that the system gives to outgoing connections.
    pub ephemeral_ports: u64,
    /// File descriptors that the process may open.
    pub descriptors: u64,
    /// Processors.
    pub cores: usize,
}

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Addresses with a port each.
    pub addresses: u64,
    /// The responder of this process: its ends of the connections count here too, and it closes first.
    pub built_in: bool,
    /// How long the built-in responder holds a response back.
    pub delay: Nanos,
}

/// What the plan needs and what there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preflight {
    /// Requests that may be in flight over all connections of this segment.
    pub in_flight_allowed: u64,
    /// The mean response time at which the connections are full at the highest rate.
    pub fills_at: Nanos,
    /// Requests in flight at the highest rate with the responder's delay alone (Little's law).
    pub in_flight_needed: u64,
    /// Connections replaced per second at the highest rate, times 1,000.
    pub reconnects_per_1000_s: u64,
    /// Local ports that are open or wait to be free at the highest rate.
    pub ports_needed: u64,
    /// Local ports over all addresses of the target and all source addresses.
    pub ports_available: u64,
    /// File descriptors needed.
    pub descriptors_needed: u64,
    /// File descriptors there are.
    pub descriptors_available: u64,
    /// Different records that may be needed.
    pub records_needed: u64,
}

/// Something that will not go well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concern {
    /// What.
    pub message: String,
    /// What to do.
    pub help: String,
    /// The run cannot even start.
    pub fatal: bool,
}

impl Preflight {
    /// Compares a plan with a machine.
    pub fn of(plan: &Plan, target: Target, machine: Machine) -> Preflight {
        let connections = &plan.connections;
        let slots = plan.expected_connections().slots;
        let share = |units: u64| u128::from(units) / u128::from(plan.segment.of());
        let peak_units = share(plan.peak().units()).max(1);
        let per_second = u128::from(crate::units::Tps::UNITS_PER_TPS);
        let in_flight_allowed = slots * connections.window as u64;
        let fills_at = u128::from(in_flight_allowed) * 1_000_000_000 * per_second / peak_units;
        let needed = (peak_units * u128::from(target.delay.0)).div_ceil(per_second * 1_000_000_000);
        let reconnects_per_1000_s = match connections.limit {
            0 => 0,
            limit => (peak_units * 1000 / per_second / u128::from(limit)) as u64,
        };
        let replaced = plan.expected_connections().reconnects();
        // The side that closes first keeps the port: a foreign target leaves that to us.
        let waiting = (reconnects_per_1000_s * TIME_WAIT_SECS).div_ceil(1000).min(replaced);
        let sources = connections.source_addresses.len().max(1) as u64;
        let spare = if connections.limit == 0 { 0 } else { slots };
        let ends = if target.built_in { 2 } else { 1 };
        let listeners = if target.built_in { target.addresses } else { 0 };
        let needed = match &plan.closed {
            None => needed,
            Some(closed) => plan.segment.count(closed.users).into(),
        };
        Preflight {
            in_flight_allowed,
            fills_at: Nanos(u64::try_from(fills_at).unwrap_or(u64::MAX)),
            in_flight_needed: needed as u64,
            reconnects_per_1000_s,
            ports_needed: slots + spare + if target.built_in { 0 } else { waiting },
            ports_available: machine.ephemeral_ports * target.addresses * sources,
            descriptors_needed: (slots + spare) * ends + listeners + OTHER_DESCRIPTORS,
            descriptors_available: machine.descriptors,
            records_needed: match plan.total() {
                Some(_) => plan.scheduled().min(plan.keys.count()),
                None => plan.keys.count(),
            },
        }
    }

    /// What does not fit.
    pub fn concerns(&self, plan: &Plan) -> Vec<Concern> {
        let mut concerns = Vec::new();
        let mut add = |fatal, message: String, help: String| concerns.push(Concern { message, help, fatal });
        if self.in_flight_needed > self.in_flight_allowed {
            let (needed, allowed) = (self.in_flight_needed, self.in_flight_allowed);
            add(
                false,
                format!(
                    "the highest rate needs {needed} requests in flight, the connections allow {allowed}"
                ),
                "raise connections.count or connections.window".to_string(),
            );
        }
        if self.descriptors_needed > self.descriptors_available {
            let (needed, there) = (self.descriptors_needed, self.descriptors_available);
            add(
                true,
                format!("the run needs {needed} file descriptors, the limit is {there}"),
                format!("raise it (`ulimit -n {needed}`) or lower connections.count"),
            );
        }
        if self.ports_needed > self.ports_available {
            let (needed, there) = (self.ports_needed, self.ports_available);
            add(
                false,
                format!("reconnecting needs {needed} local ports at the highest rate, there are {there}"),
                "raise connections.limit, or add target ports or connections.source_addresses".to_string(),
            );
        }
        if !plan.connections.count.is_multiple_of(plan.segment.of()) {
            add(
                false,
                format!(
                    "{} connections cannot be shared out evenly among {} segments: each opens some more",
                    plan.connections.count,
                    plan.segment.of()
                ),
                "make connections.count a multiple of the number of segments".to_string(),
            );
        }
        concerns
    }
}

//! Profiles: when each dispatch, or each step on the CPU, began and ended.

use std::collections::HashMap;

use crate::{
    compile::{Place, Plan, Step},
    launch::Bind,
    tensor::Type,
};

/// A dispatch of a run, or, on the CPU, a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// The kernel's name; on the CPU and for copies the op's.
    pub kernel: String,
    /// The op's name.
    pub op: String,
    /// Types of the op's operands and results: `f32[2, 3] -> f32[2]`.
    pub shapes: String,
    /// Begin and end in nanoseconds, from the first begin on.
    pub time: [u64; 2],
    /// Floating-point operations: the op's, shared among its dispatches by their time.
    pub flops: f64,
    /// Bytes of what is read and written, each buffer once.
    pub bytes: u64,
}

impl Span {
    /// Seconds from begin to end.
    pub fn seconds(&self) -> f64 {
        (self.time[1] - self.time[0]) as f64 * 1e-9
    }
}

/// The spans of a run, in order. Copies between buffers on a device are not in it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Profile {
    /// The spans.
    pub spans: Vec<Span>,
}

fn step_span(step: &Step, time: [u64; 2]) -> Span {
    let (op, shapes) = match step {
        Step::Apply { op, x, y, .. } => {
            let list = |l: &[(Place, Type)]| l.iter().map(|(_, t)| t.to_string()).collect::<Vec<_>>().join(" ");
            (op.name().to_string(), format!("{} -> {}", list(x), list(y)))
        }
        Step::Copy { ty, .. } => ("copy".into(), ty.to_string()),
    };
    Span { kernel: op.clone(), op, shapes, time, flops: step.flops() as f64, bytes: step.bytes() }
}

impl Profile {
    pub(crate) fn of_steps(plan: &Plan, steps: &[(usize, [u64; 2])]) -> Self {
        Profile { spans: steps.iter().map(|&(step, time)| step_span(&plan.steps[step], time)).collect() }
    }

    pub(crate) fn of_dispatches(plan: &Plan, stamps: &[[u64; 2]]) -> Self {
        let first = stamps.first().map_or(0, |s| s[0]);
        let mut stamps = stamps.iter().map(|s| s.map(|t| t.saturating_sub(first)));
        let mut spans = Vec::new();
        for step in &plan.steps {
            let Step::Apply { x, y, scratch, launches, .. } = step else { continue };
            let own: Vec<[u64; 2]> = stamps.by_ref().take(launches.list.len()).collect();
            let total: u64 = own.iter().map(|t| t[1] - t[0]).sum();
            for (launch, time) in launches.list.iter().zip(own) {
                let span = step_span(step, time);
                let share = (time[1] - time[0]) as f64 / total.max(1) as f64;
                let buffers: HashMap<Place, u64> = launch
                    .bind
                    .iter()
                    .map(|&b| (b.place(x, y, scratch), bytes_of(b, x, y, &launches.scratch)))
                    .collect();
                let bytes = buffers.values().sum();
                spans.push(Span { kernel: launch.kernel.into(), flops: span.flops * share, bytes, ..span });
            }
        }
        Profile { spans }
    }

    /// Nanoseconds from the first begin to the last end.
    pub fn length(&self) -> u64 {
        self.spans.iter().map(|s| s.time[1]).max().unwrap_or(0)
    }

    /// Nanoseconds of it in which nothing was computed.
    pub fn idle(&self) -> u64 {
        let mut busy_until = 0;
        let mut idle = 0;
        for span in &self.spans {
            idle += span.time[0].saturating_sub(busy_until);
            busy_until = busy_until.max(span.time[1]);
        }
        idle
    }
}

fn bytes_of(bind: Bind, x: &[(Place, Type)], y: &[(Place, Type)], scratch: &[usize]) -> u64 {
    match bind {
        Bind::In(i) => x[i].1.bytes() as u64,
        Bind::Out(i) => y[i].1.bytes() as u64,
        Bind::Scratch(i) => 4 * scratch[i] as u64,
    }
}

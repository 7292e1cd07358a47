//! What the criterion benches share: the executors, and what is known of a row beside its time.
#![allow(dead_code, reason = "every bench uses its part")]

use std::{
    cell::OnceCell,
    fs::{self, File},
    io::Write,
    time::Duration,
};

use criterion::{BenchmarkGroup, Criterion, SamplingMode, measurement::WallTime};
use hillshade::engine::{Ceilings, Gpu, Session, block_on};
use serde_json::json;

/// An executor.
pub struct Side {
    /// `host` or `device`.
    pub by: &'static str,
    gpu: Option<Gpu>,
    ceilings: OnceCell<Option<Ceilings>>,
}

/// The host, and a device where there is one.
pub fn sides() -> Vec<Side> {
    let side = |by, gpu| Side { by, gpu, ceilings: OnceCell::new() };
    let device = block_on(Gpu::open()).ok().map(|gpu| side("device", Some(gpu)));
    [side("host", None)].into_iter().chain(device).collect()
}

impl Side {
    /// A session with no states.
    pub fn open(&self) -> Session {
        self.gpu.clone().map_or_else(Session::host, Session::device)
    }

    /// Whether it computes on a GPU.
    pub fn is_gpu(&self) -> bool {
        self.gpu.as_ref().is_some_and(|gpu| !gpu.class().is_software())
    }

    /// Whether dispatches can be timed by the device's own clock.
    pub fn stamps(&self) -> bool {
        self.gpu.as_ref().is_some_and(|gpu| gpu.adapter().features.iter().any(|f| f == "timestamp_query_inside_passes"))
    }

    /// What it reaches at best, measured when it is first asked for; `None` for an adapter that does not stamp.
    pub fn ceilings(&self) -> Option<Ceilings> {
        *self.ceilings.get_or_init(|| block_on(Ceilings::measure(&mut self.open())).ok())
    }

    /// Name of the device, and its driver.
    fn machine(&self) -> [String; 2] {
        match &self.gpu {
            Some(gpu) => [gpu.adapter().name.clone(), format!("{} {}", gpu.adapter().backend, gpu.adapter().driver)],
            None => ["host".into(), processor()],
        }
    }
}

/// Model of the processor, where the system says it, and how many threads there are.
fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{}, {threads} threads", model.map_or(std::env::consts::ARCH, |(_, model)| model.trim()))
}

/// A row of the table, whose time criterion takes.
pub struct Row<'a> {
    /// Criterion's group: the op, or what a model does.
    pub op: &'a str,
    /// Criterion's parameter.
    pub shape: &'a str,
    /// Criterion's function: the executor, and the clock where that is not the wall's.
    pub function: &'a str,
    /// `wall` or `GPU`.
    pub clock: &'static str,
    /// Floating-point operations.
    pub flops: f64,
    /// Bytes of operands and results.
    pub bytes: f64,
}

impl<'a> Row<'a> {
    /// On an executor by the clock on the wall.
    pub fn wall(op: &'a str, shape: &'a str, side: &Side, flops: f64, bytes: f64) -> Self {
        Row { op, shape, function: side.by, clock: "wall", flops, bytes }
    }
}

/// Facts about rows, in `target/bench/NAME.jsonl`, which `cargo xtask bench` joins with criterion's times.
pub struct Facts(File);

impl Facts {
    /// Of a bench of this name, behind those of earlier runs: of a row the last ones count.
    pub fn new(bench: &str) -> Self {
        fs::create_dir_all("target/bench").expect("the target folder can be written");
        let file = File::options().create(true).append(true).open(format!("target/bench/{bench}.jsonl"));
        Facts(file.expect("the target folder can be written"))
    }

    /// Adds a row.
    pub fn add(&mut self, side: &Side, row: &Row) {
        let [adapter, driver] = side.machine();
        let ceilings = side.ceilings().map(|c| json!({ "fma": c.fma, "matmul": c.matmul, "copy": c.copy }));
        let line = json!({
            "op": row.op, "shape": row.shape, "function": row.function, "by": side.by, "clock": row.clock,
            "adapter": adapter, "driver": driver, "flops": row.flops, "bytes": row.bytes, "ceilings": ceilings,
        });
        writeln!(self.0, "{line}").expect("the target folder can be written");
    }
}

/// A group with short measurements: ten samples of as many runs as fit.
pub fn group<'a>(c: &'a mut Criterion, name: &str, sample: Duration) -> BenchmarkGroup<'a, WallTime> {
    let mut group = c.benchmark_group(name);
    group.sample_size(10).sampling_mode(SamplingMode::Flat).nresamples(1001);
    group.warm_up_time(sample).measurement_time(10 * sample);
    group
}

//! `hillshade profile`.

use std::{collections::HashMap, path::PathBuf, time::Instant};

use clap::ValueEnum;
use hillshade::{
    engine::{Ceilings, Graph, Profile, Session, block_on},
    lab::{BatchNorm, Curvature, Matrix, Operator, Options as Curve, Probe, Problem, Vectors, input, output},
    models::{
        Builder, Config, Error, Loss, Mode, Network, Optimizer, Part, Takes, Task, Trainer,
        data::{Dataset, Images, Text, Tokenizer, Vocabulary},
        write_atomically,
    },
};
use serde_json::json;

use super::{Result, executor, print, subject::argument};

/// Characters that a text may be made up of.
const MOST_LETTERS: usize = 1_000_000;

/// What is timed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// A training step: SGD with momentum.
    Step,
    /// A product with the Hessian, linearized, batch statistics.
    Hvp,
    /// A product with the generalized Gauss-Newton matrix, linearized, batch statistics.
    Ggn,
}

/// What a row of the table is.
#[derive(Clone, Copy, ValueEnum)]
enum By {
    Kernel,
    Op,
    /// An op with the types of its operands and results.
    Shape,
}

#[derive(clap::Args)]
pub struct Options {
    /// Network, as in `hillshade train`.
    model: String,
    /// Batch size, in images or sequences of tokens.
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Height, width and channels of the synthetic images.
    #[arg(long, value_name = "HxWxC", default_value = "32x32x3", value_parser = size)]
    size: [usize; 3],
    /// Classes, 10, or characters of the synthetic text, 64.
    #[arg(long)]
    classes: Option<usize>,
    /// What is timed.
    #[arg(long, value_enum, default_value = "step")]
    what: What,
    /// Directions of one product.
    #[arg(long, default_value_t = 1)]
    directions: usize,
    /// What a row of the table is.
    #[arg(long, value_enum, default_value = "kernel")]
    by: By,
    /// Rows of the table; 0 for all.
    #[arg(long, default_value_t = 20)]
    rows: usize,
    /// Runs of which the median one is shown.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Show the first run, in which some drivers compile kernels.
    #[arg(long)]
    first: bool,
    /// Write the shown run as a trace for Perfetto or chrome://tracing.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    #[command(flatten)]
    executor: executor::Choice,
}

fn size(text: &str) -> std::result::Result<[usize; 3], String> {
    let parts: Option<Vec<usize>> = text.split('x').map(|p| p.parse().ok().filter(|&p| p > 0)).collect();
    parts.and_then(|p| p.try_into().ok()).ok_or_else(|| "expected three positive numbers, as 32x32x3".into())
}

/// What was measured of one run, in seconds: until it was submitted, and until it was done.
struct Round {
    submitted: f64,
    done: f64,
}

/// Something that runs again and again.
trait Subject {
    fn run(&mut self) -> Result<Round>;
    fn profile(&mut self) -> Result<Profile>;
    fn session(&mut self) -> &mut Session;
}

/// The profile of what takes the batch at once; that of one micro-batch among several would stand for the whole.
fn only(profiles: Vec<Profile>) -> Result<Profile> {
    match <[Profile; 1]>::try_from(profiles) {
        Ok([profile]) => Ok(profile),
        Err(several) => Err(argument("batch", "one micro-batch", &format!("{} of them", several.len()))),
    }
}

struct Step(Trainer);

impl Step {
    fn begin(&mut self) -> Result<()> {
        if self.0.epoch_is_over() {
            self.0.next_epoch()?;
        }
        Ok(())
    }
}

impl Subject for Step {
    fn run(&mut self) -> Result<Round> {
        self.begin()?;
        let begin = Instant::now();
        self.0.step()?;
        let submitted = begin.elapsed().as_secs_f64();
        block_on(self.0.score())?;
        Ok(Round { submitted, done: begin.elapsed().as_secs_f64() })
    }

    fn profile(&mut self) -> Result<Profile> {
        self.begin()?;
        only(self.0.profile_step()?)
    }

    fn session(&mut self) -> &mut Session {
        self.0.session_mut()
    }
}

struct Product {
    session: Session,
    a: Curvature,
    k: usize,
}

impl Subject for Product {
    fn run(&mut self) -> Result<Round> {
        let begin = Instant::now();
        self.a.apply(&mut self.session, self.k)?;
        let submitted = begin.elapsed().as_secs_f64();
        block_on(self.session.get(&output(self.a.dimension(), self.k)))?;
        Ok(Round { submitted, done: begin.elapsed().as_secs_f64() })
    }

    fn profile(&mut self) -> Result<Profile> {
        only(self.a.profile(&mut self.session, self.k)?)
    }

    fn session(&mut self) -> &mut Session {
        &mut self.session
    }
}

/// Images, or a text, that are made up: more than a step takes, so that a step brings its own to the session.
fn task(network: &Network, batch: usize, size: [usize; 3], classes: usize) -> Result<Task> {
    if network.takes() == Takes::Tokens {
        let length = classes.max(4 * (batch + 1) * network.context().unwrap_or(1));
        // Every character in turn, behind ASCII's and around the surrogates.
        let code = |i: usize| (i % classes + 0x100) as u32;
        let letter = |i| char::from_u32(if code(i) < 0xD800 { code(i) } else { code(i) + 0x800 });
        let text: String = (0..length).filter_map(letter).collect();
        let tokenizer = Tokenizer::new(Vocabulary::of(&text))?;
        return Ok(Text::new("made up", &text, tokenizer)?.into());
    }
    let pixels = size.iter().product::<usize>();
    let images = |n: usize| Images {
        shape: size,
        pixels: (0..n * pixels).map(|i| (i * 31 % 251) as u8).collect(),
        labels: (0..n).map(|i| (i % classes) as u32).collect(),
    };
    let names = (0..classes).map(|c| c.to_string()).collect();
    Ok(Dataset::new("made up", names, images(2 * batch), images(classes)).into())
}

fn subject(options: &Options, mut session: Session) -> Result<Box<dyn Subject>> {
    let Options { batch, size, .. } = *options;
    let network = Network::parse(&options.model)?;
    let classes = options.classes.unwrap_or(if network.takes() == Takes::Tokens { 64 } else { 10 });
    for (what, value) in [("batch", batch), ("classes", classes), ("directions", options.directions)] {
        if value == 0 {
            let (expected, found) = ("1 or more".into(), "0".into());
            return Err(Error::Argument { what: what.into(), expected, found }.into());
        }
    }
    if network.takes() == Takes::Tokens && classes > MOST_LETTERS {
        let expected = format!("at most {MOST_LETTERS} characters");
        return Err(Error::Argument { what: "classes".into(), expected, found: classes.to_string() }.into());
    }
    let mut task = task(&network, batch, size, classes)?;
    if options.what == What::Step {
        let optimizer = Optimizer::Sgd { momentum: 0.9, nesterov: true, decay: 5e-4 };
        let config =
            Config { model: options.model.clone(), data: "made up".into(), batch, optimizer, ..Config::default() };
        return Ok(Box::new(Step(Trainer::new(config, task, session)?)));
    }
    task.suit(&network)?;
    let g = Graph::new();
    let mut b = Builder::new(&g, Mode::Eval);
    let [x, _] = task.inputs(&g, 1);
    network.build(&mut b, x, task.classes())?;
    b.initialize(&mut session, 0)?;
    let problem = Problem::of(&task, Part::Train, batch, network, Loss::CrossEntropy)?;
    let matrix = if options.what == What::Ggn { Matrix::Ggn } else { Matrix::Hessian };
    let curve = Curve { batch_norm: BatchNorm::Full, linearize: Some(true), ..Curve::default() };
    let (a, k) = (Curvature::new(&mut session, &problem, matrix, &curve)?, options.directions);
    let mut vectors = Vectors::new(a.dimension());
    vectors.ports(&mut session, k)?;
    vectors.draw(&mut session, &input(a.dimension(), k), Probe::Rademacher, 0, 0)?;
    Ok(Box::new(Product { session, a, k }))
}

/// A row of the table.
#[derive(Default)]
struct Row {
    calls: u64,
    seconds: f64,
    flops: f64,
    bytes: f64,
}

impl Row {
    /// So much work a second; none where the clock is too coarse to see the row.
    fn rate(&self, work: f64) -> f64 {
        if self.seconds > 0.0 { work / self.seconds } else { 0.0 }
    }
}

fn table(profile: &Profile, by: By) -> Vec<(String, Row)> {
    let mut rows: HashMap<String, Row> = HashMap::new();
    for span in &profile.spans {
        let name = match by {
            By::Kernel => span.kernel.clone(),
            By::Op => span.op.clone(),
            By::Shape => format!("{} {}", span.op, span.shapes),
        };
        let row = rows.entry(name).or_default();
        row.calls += 1;
        row.seconds += span.seconds();
        row.flops += span.flops;
        row.bytes += span.bytes as f64;
    }
    let mut rows: Vec<_> = rows.into_iter().collect();
    rows.sort_by(|(a, x), (b, y)| y.seconds.total_cmp(&x.seconds).then_with(|| a.cmp(b)));
    rows
}

/// What is said of ceilings that rows of the table are above.
fn raised(measured: Ceilings, roof: Ceilings) -> Option<String> {
    let rates = [(measured.flops(), roof.flops(), "GFLOP/s"), (measured.copy, roof.copy, "GB/s")];
    let above = rates.iter().filter(|(measured, roof, _)| roof > measured);
    let list: Vec<String> = above.map(|(_, roof, unit)| format!("{:.1} {unit}", roof / 1e9)).collect();
    (!list.is_empty()).then(|| format!("the roof was raised to the best rate of a row: {}", list.join(", ")))
}

/// The trace event format of Chrome, which Perfetto reads; times in microseconds.
fn trace(profile: &Profile, executor: &str) -> Vec<u8> {
    let thread = json!({"name": "thread_name", "ph": "M", "pid": 1, "tid": 1, "args": {"name": executor}});
    let spans = profile.spans.iter().map(|s| {
        json!({
            "name": s.kernel, "cat": s.op, "ph": "X", "pid": 1, "tid": 1,
            "ts": s.time[0] as f64 / 1e3, "dur": (s.time[1] - s.time[0]) as f64 / 1e3,
            "args": {"shapes": s.shapes, "FLOPs": s.flops, "bytes": s.bytes},
        })
    });
    let events: Vec<_> = [thread].into_iter().chain(spans).collect();
    json!({"traceEvents": events, "displayTimeUnit": "ms"}).to_string().into_bytes()
}

pub fn run(options: &Options) -> Result<()> {
    let began = Instant::now();
    let mut subject = subject(options, options.executor.open()?)?;
    let executor = subject.session().executor();
    let prepared = began.elapsed().as_secs_f64();
    let first = if options.first { Some(subject.profile()?) } else { None };
    if first.is_none() {
        subject.run()?;
    }
    let finished = began.elapsed().as_secs_f64();
    let ceilings = block_on(Ceilings::measure(subject.session()))?;
    let rounds = options.rounds.max(1);
    let mut plain = (0..rounds).map(|_| subject.run()).collect::<Result<Vec<_>>>()?;
    plain.sort_by(|a, b| a.done.total_cmp(&b.done));
    let plain = &plain[rounds / 2];
    let timed = if options.first { "the first one, with timestamps" } else { "with timestamps" };
    let profile = &match first {
        Some(first) => first,
        None => {
            let mut profiles = (0..rounds).map(|_| subject.profile()).collect::<Result<Vec<_>>>()?;
            profiles.sort_by_key(Profile::length);
            profiles.swap_remove(rounds / 2)
        }
    };

    print(format_args!(
        "{}, batch {}, on {executor}\n\
         ceilings, measured now: {:.1} GFLOP/s (multiply-adds), {:.1} GFLOP/s (matmul), {:.1} GB/s (copy)",
        options.model,
        options.batch,
        ceilings.fma / 1e9,
        ceilings.matmul / 1e9,
        ceilings.copy / 1e9
    ))?;
    let rows = table(profile, options.by);
    let rates = |work: fn(&Row) -> f64| rows.iter().map(move |(_, row)| row.rate(work(row)));
    let roof = ceilings.raised(rates(|row| row.flops), rates(|row| row.bytes));
    if let Some(raised) = raised(ceilings, roof) {
        print(raised)?;
    }
    print(format_args!("first run done after {finished:.2} s, {prepared:.2} s of it preparation"))?;
    let ms = |ns: u64| ns as f64 / 1e6;
    print(format_args!(
        "one run: {:.2} ms, of which {:.2} ms to submit it; {timed}: {:.2} ms, {:.2} ms idle between {} dispatches\n",
        plain.done * 1e3,
        plain.submitted * 1e3,
        ms(profile.length()),
        ms(profile.idle()),
        profile.spans.len()
    ))?;
    let total: f64 = rows.iter().map(|(_, row)| row.seconds).sum();
    print(format_args!(
        "{:>7} {:>10} {:>6} {:>9} {:>8} {:>9}  {}",
        "calls",
        "ms",
        "share",
        "GFLOP/s",
        "GB/s",
        "of roof",
        match options.by {
            By::Kernel => "kernel",
            By::Op => "op",
            By::Shape => "op and shapes",
        }
    ))?;
    let shown = if options.rows == 0 { rows.len() } else { options.rows.min(rows.len()) };
    for (name, row) in &rows[..shown] {
        print(format_args!(
            "{:>7} {:>10.3} {:>5.1}% {:>9.1} {:>8.1} {:>8.0}%  {name}",
            row.calls,
            row.seconds * 1e3,
            100.0 * row.seconds / total,
            row.rate(row.flops) / 1e9,
            row.rate(row.bytes) / 1e9,
            100.0 * row.rate(roof.seconds(row.flops, row.bytes))
        ))?;
    }
    if shown < rows.len() {
        let rest: f64 = rows[shown..].iter().map(|(_, row)| row.seconds).sum();
        let share = 100.0 * rest / total;
        print(format_args!("{:>7} {:>10.3} {share:>5.1}%  {} more", "", rest * 1e3, rows.len() - shown))?;
    }
    if let Some(path) = &options.trace {
        write_atomically(path, &trace(profile, &executor))?;
        print(format_args!("\ntrace for Perfetto: {}", path.display()))?;
    }
    Ok(())
}

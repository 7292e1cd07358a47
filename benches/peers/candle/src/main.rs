//! Times candle on the CPU in the rows of `cargo bench --bench steps`; prints one JSON line each.
//!
//! `hillshade-peer-candle [--rounds N] [--rows TEXT]`: only the rows whose names hold the text. Images are
//! `[batch, channels, height, width]`, candle's layout. Its batch norm is one of elementary operations, and its gradient
//! descent has no momentum: the step here is written with its tensors, as its users write theirs.

use std::{env, time::Instant};

use candle_core::{DType, Device, Result, Tensor, Var, backprop::GradStore};
use candle_nn::{
    BatchNorm, Conv2d, Conv2dConfig, Linear, Module, VarBuilder, VarMap, batch_norm, conv2d_no_bias, linear,
    loss::cross_entropy,
};

/// Runs before those that are timed.
const WARM: usize = 3;

/// Seconds after which a row has enough runs.
const ENOUGH: f64 = 30.0;

/// The row whose first run is also timed from the program's start.
const FIRST: &str = "training step resnet20 32x32x32x3";

struct Bench {
    began: Instant,
    rounds: usize,
    rows: String,
}

/// What follows a word among the arguments.
fn option(word: &str) -> Option<String> {
    env::args().skip_while(|a| a != word).nth(1)
}

impl Bench {
    fn wants(&self, row: &str) -> bool {
        row.contains(&self.rows)
    }

    fn print(&self, row: &str, ms: f64) {
        let lock = include_str!("../Cargo.lock");
        let version = lock.split("name = \"candle-core\"\nversion = \"").nth(1).and_then(|rest| rest.split('"').next());
        let version = version.unwrap_or_default();
        println!(r#"{{"peer":"candle","version":"{version}","device":"cpu","row":"{row}","ms":{ms:.4}}}"#);
    }

    /// Prints the median time of a run.
    fn time(&self, row: &str, mut run: impl FnMut() -> Result<()>) -> Result<()> {
        if !self.wants(row) {
            return Ok(());
        }
        let (start, mut times) = (Instant::now(), Vec::new());
        while times.len() <= WARM || (times.len() < WARM + self.rounds && start.elapsed().as_secs_f64() < ENOUGH) {
            let begin = Instant::now();
            run()?;
            if times.is_empty() && row == FIRST {
                self.print(&row.replace("training", "first"), self.began.elapsed().as_secs_f64() * 1e3);
            }
            times.push(begin.elapsed().as_secs_f64() * 1e3);
        }
        let timed = &mut times[WARM..];
        timed.sort_by(f64::total_cmp);
        self.print(row, (timed[(timed.len() - 1) / 2] + timed[timed.len() / 2]) / 2.0);
        Ok(())
    }

    /// Matrix products, convolutions and batch norm; derivatives are those of the sum.
    fn ops(&self) -> Result<()> {
        for n in [512, 1024] {
            let (a, b) = (random(&[n, n])?, random(&[n, n])?);
            self.time(&format!("matmul {n}"), || a.matmul(&b).map(drop))?;
        }
        for [side, c] in [[32, 16], [8, 64], [32, 64]] {
            let id = format!("32x{side}x{side}x{c}");
            let conv = |x: &Tensor, w: &Tensor| x.conv2d(w, 1, 1, 1, 1);
            let (x, w) = (random(&[32, c, side, side])?, random(&[c, c, 3, 3])?);
            self.time(&format!("conv2d forward {id}"), || conv(&x, &w).map(drop))?;
            let (x, w) = (Var::from_tensor(&x)?, Var::from_tensor(&w)?);
            self.time(&format!("conv2d forward and backward {id}"), || conv(&x, &w)?.backward().map(drop))?;
            let parameters = VarMap::new();
            let norm = batch_norm(c, 1e-5, VarBuilder::from_varmap(&parameters, DType::F32, &Device::Cpu))?;
            self.time(&format!("batch_norm forward and backward {id}"), || {
                norm.forward_train(&x)?.backward().map(drop)
            })?;
        }
        Ok(())
    }

    fn step<N: Net>(
        &self, name: &str, [batch, side, channels]: [usize; 3], net: impl Fn(VarBuilder) -> Result<N>,
    ) -> Result<()> {
        let row = format!("training step {name} {batch}x{side}x{side}x{channels}");
        if !self.wants(&row) {
            return Ok(());
        }
        let parameters = VarMap::new();
        let net = net(VarBuilder::from_varmap(&parameters, DType::F32, &Device::Cpu))?;
        let mut descent = Descent::new(parameters.all_vars())?;
        let x = random(&[batch, channels, side, side])?;
        let labels = Tensor::from_iter((0..batch as u32).map(|i| i % 10), &Device::Cpu)?;
        self.time(&row, || descent.step(&cross_entropy(&net.forward(&x)?, &labels)?.backward()?))
    }
}

fn random(shape: &[usize]) -> Result<Tensor> {
    Tensor::randn(0f32, 1., shape, &Device::Cpu)
}

/// Gradient descent at rate 0.01 with weight decay 5e-4 and Nesterov momentum 0.9.
struct Descent {
    parameters: Vec<Var>,
    velocities: Vec<Tensor>,
}

impl Descent {
    fn new(parameters: Vec<Var>) -> Result<Self> {
        let velocities = parameters.iter().map(|p| p.zeros_like()).collect::<Result<_>>()?;
        Ok(Descent { parameters, velocities })
    }

    fn step(&mut self, gradients: &GradStore) -> Result<()> {
        for (parameter, velocity) in self.parameters.iter().zip(&mut self.velocities) {
            // The running statistics of batch norm have none.
            let Some(gradient) = gradients.get(parameter) else { continue };
            let value = parameter.as_detached_tensor();
            let gradient = (gradient + (&value * 5e-4)?)?;
            *velocity = ((&*velocity * 0.9)? + &gradient)?;
            let step = (gradient + (&*velocity * 0.9)?)?;
            parameter.set(&(value - (step * 0.01)?)?)?;
        }
        Ok(())
    }
}

trait Net {
    fn forward(&self, x: &Tensor) -> Result<Tensor>;
}

struct Mlp {
    hidden: [Linear; 2],
    head: Linear,
}

impl Mlp {
    fn new(b: VarBuilder) -> Result<Self> {
        let hidden = [linear(784, 256, b.pp("hidden0"))?, linear(256, 256, b.pp("hidden1"))?];
        Ok(Mlp { hidden, head: linear(256, 10, b.pp("head"))? })
    }
}

impl Net for Mlp {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut y = x.flatten_from(1)?;
        for dense in &self.hidden {
            y = dense.forward(&y)?.relu()?;
        }
        self.head.forward(&y)
    }
}

struct Normed {
    conv: Conv2d,
    norm: BatchNorm,
}

impl Normed {
    fn new([ins, outs]: [usize; 2], k: usize, stride: usize, b: VarBuilder) -> Result<Self> {
        let config = Conv2dConfig { padding: k / 2, stride, ..Default::default() };
        Ok(Normed {
            conv: conv2d_no_bias(ins, outs, k, config, b.pp("conv"))?,
            norm: batch_norm(outs, 1e-5, b.pp("norm"))?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.norm.forward_train(&self.conv.forward(x)?)
    }
}

struct Cnn {
    blocks: Vec<Normed>,
    head: Linear,
}

impl Cnn {
    fn new(side: usize, b: VarBuilder) -> Result<Self> {
        let channels = [[1, 16], [16, 32], [32, 64]].into_iter().enumerate();
        let blocks = channels.map(|(i, c)| Normed::new(c, 3, 1, b.pp(format!("block{i}")))).collect::<Result<_>>()?;
        let inputs = 64 * (side / 4).pow(2);
        Ok(Cnn { blocks, head: linear(inputs, 10, b.pp("head"))? })
    }
}

impl Net for Cnn {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut y = self.blocks[0].forward(x)?.relu()?;
        for block in &self.blocks[1..] {
            y = block.forward(&y.max_pool2d(2)?)?.relu()?;
        }
        self.head.forward(&y.flatten_from(1)?)
    }
}

struct Block {
    first: Normed,
    second: Normed,
    shortcut: Option<Normed>,
}

struct ResNet20 {
    stem: Normed,
    blocks: Vec<Block>,
    head: Linear,
}

impl ResNet20 {
    fn new(b: VarBuilder) -> Result<Self> {
        let mut blocks = Vec::new();
        let mut ins = 16;
        for outs in [16, 32, 64] {
            for _ in 0..3 {
                let (stride, b) = (outs / ins, b.pp(format!("block{}", blocks.len())));
                let shortcut =
                    (stride > 1).then(|| Normed::new([ins, outs], 1, stride, b.pp("shortcut"))).transpose()?;
                blocks.push(Block {
                    first: Normed::new([ins, outs], 3, stride, b.pp("first"))?,
                    second: Normed::new([outs, outs], 3, 1, b.pp("second"))?,
                    shortcut,
                });
                ins = outs;
            }
        }
        Ok(ResNet20 { stem: Normed::new([3, 16], 3, 1, b.pp("stem"))?, blocks, head: linear(64, 10, b.pp("head"))? })
    }
}

impl Net for ResNet20 {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut y = self.stem.forward(x)?.relu()?;
        for block in &self.blocks {
            let branch = block.second.forward(&block.first.forward(&y)?.relu()?)?;
            let beside = block.shortcut.as_ref().map_or(Ok(y.clone()), |s| s.forward(&y))?;
            y = (branch + beside)?.relu()?;
        }
        self.head.forward(&y.mean(3)?.mean(2)?)
    }
}

fn main() -> Result<()> {
    let began = Instant::now();
    let Some(rounds) = option("--rounds").map_or(Some(15), |n| n.parse().ok()) else {
        eprintln!("hillshade-peer-candle [--rounds N] [--rows TEXT]");
        std::process::exit(2);
    };
    let bench = Bench { began, rounds, rows: option("--rows").unwrap_or_default() };
    bench.step("resnet20", [32, 32, 3], ResNet20::new)?;
    bench.step("resnet20", [128, 32, 3], ResNet20::new)?;
    bench.step("mlp", [128, 28, 1], Mlp::new)?;
    bench.step("cnn", [64, 8, 1], |b| Cnn::new(8, b))?;
    bench.step("cnn", [128, 28, 1], |b| Cnn::new(28, b))?;
    bench.ops()
}

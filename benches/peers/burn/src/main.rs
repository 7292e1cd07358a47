//! Times burn in the rows of `cargo bench --bench steps`; prints one JSON line each.
//!
//! `hillshade-peer-burn flex|ndarray|wgpu [--rounds N] [--rows TEXT]`: on burn's CPU backend, on the one that it replaces,
//! or on a GPU; only the rows whose names hold the text. Images are `[batch, channels, height, width]`, burn's layout.

use std::{env, time::Instant};

use burn::{
    module::Module,
    nn::{
        BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
        loss::CrossEntropyLossConfig,
        pool::MaxPool2dConfig,
    },
    optim::{GradientsParams, SgdConfig, decay::WeightDecayConfig, momentum::MomentumConfig},
    tensor::{Device, DeviceKind, Distribution, Int, Tensor, activation::relu, module::conv2d, ops::ConvOptions},
};

/// Runs before those that are timed, in which kernels are chosen and compiled.
const WARM: usize = 3;

/// Seconds after which a row has enough runs.
const ENOUGH: f64 = 30.0;

/// The row whose first run is also timed from the program's start.
const FIRST: &str = "training step resnet20 32x32x32x3";

/// What a row needs.
struct Bench {
    began: Instant,
    peer: String,
    name: String,
    device: Device,
    rounds: usize,
    rows: String,
}

/// What follows a word among the arguments.
fn option(word: &str) -> Option<String> {
    env::args().skip_while(|a| a != word).nth(1)
}

impl Bench {
    fn new(began: Instant) -> Option<Self> {
        let backend = env::args().nth(1)?;
        let device = match backend.as_str() {
            "flex" => Device::flex(),
            "ndarray" => Device::ndarray(),
            "wgpu" => Device::wgpu(DeviceKind::DefaultDevice),
            _ => return None,
        };
        Some(Bench {
            began,
            name: device.identity().map_or("cpu".into(), |i| i.name),
            peer: format!("burn-{backend}"),
            device,
            rounds: option("--rounds").map_or(Some(15), |n| n.parse().ok())?,
            rows: option("--rows").unwrap_or_default(),
        })
    }

    fn wants(&self, row: &str) -> bool {
        row.contains(&self.rows)
    }

    fn print(&self, row: &str, ms: f64) {
        let lock = include_str!("../Cargo.lock");
        let version = lock.split("name = \"burn\"\nversion = \"").nth(1).and_then(|rest| rest.split('"').next());
        let (peer, version, device) = (&self.peer, version.unwrap_or_default(), &self.name);
        println!(r#"{{"peer":"{peer}","version":"{version}","device":{device:?},"row":"{row}","ms":{ms:.4}}}"#);
    }

    /// Prints the median time of a run.
    fn time(&self, row: &str, mut run: impl FnMut()) {
        if !self.wants(row) {
            return;
        }
        let (start, mut times) = (Instant::now(), Vec::new());
        while times.len() <= WARM || (times.len() < WARM + self.rounds && start.elapsed().as_secs_f64() < ENOUGH) {
            let begin = Instant::now();
            run();
            self.device.sync().expect("the device works");
            if times.is_empty() && row == FIRST {
                self.print(&row.replace("training", "first"), self.began.elapsed().as_secs_f64() * 1e3);
            }
            times.push(begin.elapsed().as_secs_f64() * 1e3);
        }
        let timed = &mut times[WARM..];
        timed.sort_by(f64::total_cmp);
        self.print(row, (timed[(timed.len() - 1) / 2] + timed[timed.len() / 2]) / 2.0);
    }

    /// Matrix products, convolutions and batch norm; derivatives are those of the sum.
    fn ops(&self) {
        let device = &self.device;
        for n in [512, 1024] {
            let (a, b) = (random([n, n], device), random([n, n], device));
            self.time(&format!("matmul {n}"), || drop(a.clone().matmul(b.clone())));
        }
        for [side, c] in [[32, 16], [8, 64], [32, 64]] {
            let id = format!("32x{side}x{side}x{c}");
            let conv = |x: &Tensor<4>, w: &Tensor<4>| {
                conv2d(x.clone(), w.clone(), None, ConvOptions::new([1, 1], [1, 1], [1, 1], 1))
            };
            let (x, w) = (random([32, c, side, side], device), random([c, c, 3, 3], device));
            self.time(&format!("conv2d forward {id}"), || drop(conv(&x, &w)));
            let tracked = device.clone().autodiff();
            let x = random([32, c, side, side], &tracked).require_grad();
            let w = random([c, c, 3, 3], &tracked).require_grad();
            self.time(&format!("conv2d forward and backward {id}"), || {
                let grads = conv(&x, &w).backward();
                drop((x.grad(&grads), w.grad(&grads)));
            });
            let norm = BatchNormConfig::new(c).init(&tracked);
            self.time(&format!("batch_norm forward and backward {id}"), || {
                let grads = norm.forward(x.clone()).backward();
                drop((x.grad(&grads), norm.gamma.grad(&grads), norm.beta.grad(&grads)));
            });
        }
    }

    fn step<N: Net>(&self, name: &str, [batch, side, channels]: [usize; 3], net: impl Fn(&Device) -> N) {
        let row = format!("training step {name} {batch}x{side}x{side}x{channels}");
        if !self.wants(&row) {
            return;
        }
        let device = self.device.clone().autodiff();
        let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0).with_nesterov(true);
        let mut optimizer =
            SgdConfig::new().with_momentum(Some(momentum)).with_weight_decay(Some(WeightDecayConfig::new(5e-4))).init();
        let x = random([batch, channels, side, side], &device);
        let labels = Tensor::<1, Int>::arange(0..batch as i64, &device).remainder_scalar(10);
        let loss = CrossEntropyLossConfig::new().init(&device);
        let mut kept = Some(net(&device));
        self.time(&row, || {
            if let Some(net) = kept.take() {
                let grads = loss.forward(net.forward(x.clone()), labels.clone()).backward();
                let grads = GradientsParams::from_grads(grads, &net);
                kept = Some(optimizer.step(0.01, net, grads));
            }
        });
    }
}

fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

trait Net: Module {
    fn forward(&self, x: Tensor<4>) -> Tensor<2>;
}

#[derive(Module, Debug)]
struct Mlp {
    hidden: Vec<Linear>,
    head: Linear,
}

impl Mlp {
    fn new(device: &Device) -> Self {
        let dense = |ins, outs| LinearConfig::new(ins, outs).init(device);
        Mlp { hidden: vec![dense(784, 256), dense(256, 256)], head: dense(256, 10) }
    }
}

impl Net for Mlp {
    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        self.head.forward(self.hidden.iter().fold(x.flatten(1, 3), |y, dense| relu(dense.forward(y))))
    }
}

#[derive(Module, Debug)]
struct Normed {
    conv: Conv2d,
    norm: BatchNorm,
}

impl Normed {
    fn new([ins, outs]: [usize; 2], k: usize, stride: usize, device: &Device) -> Self {
        let pad = k / 2;
        let conv = Conv2dConfig::new([ins, outs], [k, k])
            .with_stride([stride, stride])
            .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
            .with_bias(false);
        Normed { conv: conv.init(device), norm: BatchNormConfig::new(outs).init(device) }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.norm.forward(self.conv.forward(x))
    }
}

#[derive(Module, Debug)]
struct Cnn {
    blocks: Vec<Normed>,
    head: Linear,
}

impl Cnn {
    fn new(side: usize, device: &Device) -> Self {
        let blocks = [[1, 16], [16, 32], [32, 64]].map(|channels| Normed::new(channels, 3, 1, device));
        let inputs = 64 * (side / 4).pow(2);
        Cnn { blocks: blocks.into(), head: LinearConfig::new(inputs, 10).init(device) }
    }
}

impl Net for Cnn {
    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let pool = MaxPool2dConfig::new([2, 2]).init();
        let mut y = relu(self.blocks[0].forward(x));
        for block in &self.blocks[1..] {
            y = relu(block.forward(pool.forward(y)));
        }
        self.head.forward(y.flatten(1, 3))
    }
}

#[derive(Module, Debug)]
struct Block {
    first: Normed,
    second: Normed,
    shortcut: Option<Normed>,
}

#[derive(Module, Debug)]
struct ResNet20 {
    stem: Normed,
    blocks: Vec<Block>,
    head: Linear,
}

impl ResNet20 {
    fn new(device: &Device) -> Self {
        let mut blocks = Vec::new();
        let mut ins = 16;
        for outs in [16, 32, 64] {
            for _ in 0..3 {
                let stride = outs / ins;
                blocks.push(Block {
                    first: Normed::new([ins, outs], 3, stride, device),
                    second: Normed::new([outs, outs], 3, 1, device),
                    shortcut: (stride > 1).then(|| Normed::new([ins, outs], 1, stride, device)),
                });
                ins = outs;
            }
        }
        ResNet20 { stem: Normed::new([3, 16], 3, 1, device), blocks, head: LinearConfig::new(64, 10).init(device) }
    }
}

impl Net for ResNet20 {
    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let mut y = relu(self.stem.forward(x));
        for block in &self.blocks {
            let branch = block.second.forward(relu(block.first.forward(y.clone())));
            y = relu(branch + block.shortcut.as_ref().map_or(y.clone(), |s| s.forward(y)));
        }
        let [n, c, _, _] = y.dims();
        self.head.forward(y.mean_dim(3).mean_dim(2).reshape([n, c]))
    }
}

fn main() {
    let Some(bench) = Bench::new(Instant::now()) else {
        eprintln!("hillshade-peer-burn flex|ndarray|wgpu [--rounds N] [--rows TEXT]");
        std::process::exit(2);
    };
    bench.step("resnet20", [32, 32, 3], ResNet20::new);
    bench.step("resnet20", [128, 32, 3], ResNet20::new);
    bench.step("mlp", [128, 28, 1], Mlp::new);
    bench.step("cnn", [64, 8, 1], |device| Cnn::new(8, device));
    bench.step("cnn", [128, 28, 1], |device| Cnn::new(28, device));
    bench.ops();
}

//! Times burn in the rows of `cargo bench --bench steps`; prints one JSON line each.
//!
//! `cargo run --release -- [ndarray] [steps]`: on its wgpu device, or on the CPU; `steps` adds a training step of ResNet-20.

use std::time::Instant;

use burn::{
    module::Module,
    nn::{
        BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
        loss::CrossEntropyLossConfig,
    },
    optim::{GradientsParams, Optimizer, SgdConfig},
    tensor::{Device, DeviceKind, Distribution, Int, Tensor, activation::relu, module::conv2d, ops::ConvOptions},
};

/// Prints the median of some runs, after `warm` that are not timed.
fn time(peer: &str, row: &str, device: &Device, warm: usize, mut run: impl FnMut()) {
    let mut times = Vec::new();
    for i in 0..warm + 7 {
        let begin = Instant::now();
        run();
        device.sync().expect("the device works");
        if i >= warm {
            times.push(begin.elapsed().as_secs_f64() * 1e3);
        }
    }
    times.sort_by(f64::total_cmp);
    println!(r#"{{"peer":"{peer}","version":"0.22","row":"{row}","ms":{:.4}}}"#, times[times.len() / 2]);
}

fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Default, device)
}

#[derive(Module, Debug)]
struct Normed {
    conv: Conv2d,
    norm: BatchNorm,
}

impl Normed {
    fn new(ins: usize, outs: usize, k: usize, stride: usize, device: &Device) -> Self {
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
            for block in 0..3 {
                let stride = if block == 0 && outs > 16 { 2 } else { 1 };
                blocks.push(Block {
                    first: Normed::new(ins, outs, 3, stride, device),
                    second: Normed::new(outs, outs, 3, 1, device),
                    shortcut: (stride > 1).then(|| Normed::new(ins, outs, 1, stride, device)),
                });
                ins = outs;
            }
        }
        ResNet20 { stem: Normed::new(3, 16, 3, 1, device), blocks, head: LinearConfig::new(64, 10).init(device) }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let mut y = relu(self.stem.forward(x));
        for block in &self.blocks {
            let own = block.second.forward(relu(block.first.forward(y.clone())));
            let beside = block.shortcut.as_ref().map_or(y.clone(), |s| s.forward(y));
            y = relu(own + beside);
        }
        let [n, c, _, _] = y.dims();
        self.head.forward(y.mean_dim(3).mean_dim(2).reshape([n, c]))
    }
}

fn main() {
    let wanted = |word: &str| std::env::args().any(|a| a == word);
    let (peer, device) = match wanted("ndarray") {
        true => ("burn-ndarray", Device::ndarray()),
        false => ("burn-wgpu", Device::wgpu(DeviceKind::DefaultDevice)),
    };
    let began = Instant::now();
    if wanted("steps") {
        let device = device.clone().autodiff();
        let mut net = ResNet20::new(&device);
        let mut optimizer = SgdConfig::new().init();
        let x = random([32, 3, 32, 32], &device);
        let labels = Tensor::<1, Int>::zeros([32], &device);
        let loss = CrossEntropyLossConfig::new().init(&device);
        let mut first = true;
        time(peer, "training step resnet20 32x32x32x3", &device, 2, || {
            let grads = loss.forward(net.forward(x.clone()), labels.clone()).backward();
            let grads = GradientsParams::from_grads(grads, &net);
            net = optimizer.step(0.01, net.clone(), grads);
            if std::mem::take(&mut first) {
                device.sync().expect("the device works");
                eprintln!("first step after {:.1} s", began.elapsed().as_secs_f64());
            }
        });
        return;
    }
    for n in [512, 1024] {
        let (a, b) = (random([n, n], &device), random([n, n], &device));
        time(peer, &format!("matmul {n}"), &device, 3, || drop(a.clone().matmul(b.clone())));
    }
    for [side, c] in [[32, 16], [8, 64], [32, 64]] {
        let id = format!("32x{side}x{side}x{c}");
        let options = || ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
        let (x, w) = (random([32, c, side, side], &device), random([c, c, 3, 3], &device));
        time(peer, &format!("conv2d forward {id}"), &device, 3, || {
            drop(conv2d(x.clone(), w.clone(), None, options()));
        });
        let tracked = device.clone().autodiff();
        let (x, w) = (random([32, c, side, side], &tracked).require_grad(), random([c, c, 3, 3], &tracked).require_grad());
        time(peer, &format!("conv2d forward and backward {id}"), &device, 3, || {
            let y = conv2d(x.clone(), w.clone(), None, options());
            let grads = (y.clone() * y.detach()).sum().backward();
            drop((x.grad(&grads), w.grad(&grads)));
        });
        let norm = BatchNormConfig::new(c).init(&tracked);
        time(peer, &format!("batch_norm forward and backward {id}"), &device, 3, || {
            let y = norm.forward(x.clone());
            let grads = (y.clone() * y.detach()).sum().backward();
            drop(x.grad(&grads));
        });
    }
}

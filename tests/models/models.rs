//! Whole networks: loss, gradient and Hessian-vector product on device and host against the reference; training steps.

use hillshade::{
    engine::{Class, Data, Gpu, Graph, Plan, Session, Source, Target, Tensor, block_on},
    models::{
        Builder, Config, Mode, Network, Optimizer, Schedule, ScheduleShape, Sgd, Trainer,
        data::{self, Dataset, Images},
    },
};

use crate::common::{assert_close, dot, evaluate, fails, gpu, noise, noise32};

/// A network with its loss, its gradient and its product with a direction, in training mode.
struct Curved<'g> {
    b: Builder<'g>,
    loss: Tensor<'g>,
    gradient: Vec<Tensor<'g>>,
    product: Vec<Tensor<'g>>,
    /// The results of all ReLUs: where they are zero is where rounding can turn a slope on or off.
    kinks: Vec<Tensor<'g>>,
}

/// Loss, gradient and product, each as one vector, and which ReLUs let through.
struct Values {
    parts: [Vec<f64>; 3],
    open: Vec<bool>,
}

impl<'g> Curved<'g> {
    fn new(g: &'g Graph, spec: &str, images: [usize; 4]) -> Self {
        let mut b = Builder::new(g, Mode::Train);
        let (x, labels) = (g.input("images", &images), g.input_u32("labels", &images[..1]));
        let logits = Network::parse(spec).and_then(|n| n.build(&mut b, x, 10)).expect("known and fitting");
        let loss = logits.cross_entropy(labels)[0].mean_all();
        let wrt = b.trained_values();
        let gradient = loss.grad(&wrt).expect("every op has its rules");
        let direction = |(i, &p): (usize, &Tensor<'g>)| {
            let shape = p.shape().expect("a parameter");
            g.literal(shape, &noise32(shape.iter().product(), i as u32))
        };
        let v: Vec<Tensor> = wrt.iter().enumerate().map(direction).collect();
        let product = g.jvp(&gradient, &wrt, &v).expect("every op has its rules");
        let is_relu = |source: &Source| matches!(source, Source::Op(op) if op.name() == "relu");
        let kinks = g.nodes().filter(|n| is_relu(&n.source)).map(|n| g.tensor(n.y[0])).collect();
        Curved { b, loss, gradient, product, kinks }
    }

    fn evaluate(&self, mut session: Session, seed: u64, images: &[f32], labels: &[u32]) -> Values {
        self.b.initialize(&mut session, seed).expect("parameters fit");
        let outputs = [&[self.loss], &self.gradient[..], &self.product, &self.kinks].concat();
        let inputs = [("images", Data::F32(images)), ("labels", Data::U32(labels))];
        let mut values = evaluate(&mut session, self.b.g, &outputs, inputs);
        let open = values.split_off(1 + 2 * self.gradient.len()).concat().iter().map(|&y| y > 0.0).collect();
        let product = values.split_off(1 + self.gradient.len()).concat();
        let gradient = values.split_off(1).concat();
        Values { parts: [values.concat(), gradient, product], open }
    }
}

/// `‖a − b‖ / ‖b‖`.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let difference: f64 = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum();
    (difference / dot(b, b)).sqrt()
}

/// Images of noise, brighter or darker by their label.
fn images([n, h, w, c]: [usize; 4]) -> (Vec<f32>, Vec<u32>) {
    let labels: Vec<u32> = (0..n).map(|i| (i * 7 % 10) as u32).collect();
    let shade = |i: usize| f64::from(labels[i / (h * w * c)]) / 5.0 - 1.0;
    let pixels = noise(n * h * w * c, 77).iter().enumerate().map(|(i, v)| (1.5 * v + shade(i)) as f32).collect();
    (pixels, labels)
}

/// Compares at the first seed at which no ReLU is open on one side and shut on the other: where rounding flips a slope,
/// gradients differ by a whole term, which says nothing about the kernels.
fn check(device: &Gpu, spec: &str, size: [usize; 4], (x, labels): (Vec<f32>, Vec<u32>)) {
    let g = Graph::new();
    let net = Curved::new(&g, spec, size);
    let mut compared = [false; 2];
    for seed in 1..10 {
        let truth = net.evaluate(Session::reference(), seed, &x, &labels);
        for (i, name) in ["device", "host"].into_iter().enumerate() {
            if compared[i] {
                continue;
            }
            let session = if i == 0 { Session::device(device.clone()) } else { Session::host() };
            let got = net.evaluate(session, seed, &x, &labels);
            let flips = got.open.iter().zip(&truth.open).filter(|(a, b)| a != b).count();
            compared[i] = flips == 0;
            for (k, (what, bound)) in [("loss", 1e-5), ("gradient", 1e-4), ("product", 1e-4)].into_iter().enumerate() {
                let error = distance(&got.parts[k], &truth.parts[k]);
                println!(
                    "{spec}, seed {seed}, {name}, {flips} of {} slopes flipped: {what} {error:.1e}",
                    truth.open.len()
                );
                assert!(error <= bound || flips > 0 && k > 0, "{spec}, {name}: {what} is {error:e} off the reference");
            }
        }
        if compared == [true; 2] {
            return;
        }
    }
    panic!("{spec}: at every seed a slope flipped");
}

#[test]
fn perceptron_matches_the_reference() {
    check(&gpu(false), "mlp:widths=33-17", [9, 5, 5, 1], images([9, 5, 5, 1]));
}

#[test]
fn convolutions_with_batch_norm_match_the_reference() {
    check(&gpu(false), "cnn:widths=5-9-6", [7, 12, 12, 1], images([7, 12, 12, 1]));
}

#[test]
fn resnet20_matches_the_reference() {
    let size = [8, 32, 32, 3];
    let real =
        std::env::var_os("HILLSHADE_DATA").map(|_| data::open("cifar10", None).expect("CIFAR-10 in HILLSHADE_DATA"));
    let batch = match real {
        Some(cifar) => {
            let batch = cifar.batch(&cifar.train, &[0, 1, 2, 3, 4, 5, 6, 7], None);
            (batch.x, batch.labels)
        }
        None => images(size),
    };
    check(&gpu(false), "resnet20", size, batch);
}

/// Every network of the table and every option that changes its graph.
#[test]
fn the_zoo_matches_the_reference() {
    let (device, mut failed) = (gpu(false), Vec::new());
    for (spec, size) in [
        ("lenet5", [3, 12, 12, 1]),
        ("lenet5:pool=max,activation=relu", [3, 12, 12, 1]),
        ("vgg11:width=3", [3, 32, 32, 3]),
        ("vgg11:width=3,norm=group,head=imagenet,hidden=14,dropout=0", [3, 32, 32, 3]),
        ("resnet18:width=3", [8, 48, 48, 3]),
        ("resnet50:width=2,stem=cifar", [9, 16, 16, 3]),
        ("resnet8:width=6,norm=group,weights=standardized", [3, 12, 12, 3]),
        ("resnet8:width=6,norm=layer,weights=normalized,scale=0.5", [3, 12, 12, 3]),
        ("resnet8:width=6,norm=instance,skip=no,activation=gelu", [3, 12, 12, 3]),
        ("resnet8:width=6,norm=none,activation=silu", [3, 12, 12, 3]),
        ("wrn10-2:width=4", [5, 12, 12, 3]),
        ("plain:depth=12,width=19", [5, 3, 3, 1]),
        ("autoencoder:widths=6-5", [3, 11, 8, 2]),
    ] {
        if fails(|| check(&device, spec, size, images(size))) {
            failed.push(spec);
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("; "));
}

/// Five hundred layers, built, run and differentiated twice; isometric, so that neither signals nor gradients vanish.
#[test]
fn five_hundred_layers_match_the_reference() {
    let size = [4, 3, 3, 1];
    let g = Graph::new();
    let mut net = Curved::new(&g, "plain:depth=500,width=9,init=orthogonal,sigma_w=1.05", size);
    // The first layer's weight, and now a bias, now a weight up to the last: those between are on the way.
    for all in [&mut net.gradient, &mut net.product] {
        *all = all.iter().copied().step_by(25).collect();
    }
    let (x, labels) = images(size);
    let truth = net.evaluate(Session::reference(), 1, &x, &labels);
    let first = dot(&truth.parts[1][..81], &truth.parts[1][..81]).sqrt();
    assert!(first > 1e-4, "the first layer's gradient is {first:e}");
    for session in [Session::device(gpu(false)), Session::host()] {
        let executor = session.executor();
        let got = net.evaluate(session, 1, &x, &labels);
        for (k, what) in ["loss", "gradient", "product"].into_iter().enumerate() {
            let error = distance(&got.parts[k], &truth.parts[k]);
            println!("500 layers, {executor}: {what} {error:.1e}");
            assert!(error <= 1e-4, "{executor}: {what} is {error:e} off the reference");
        }
    }
}

/// A small data set of noise.
fn dataset() -> Dataset {
    let draw = |n: usize| {
        let (x, labels) = images([n, 8, 8, 1]);
        let pixels = x.iter().map(|v| (127.0 + 80.0 * v).clamp(0.0, 255.0) as u8).collect();
        Images { shape: [8, 8, 1], pixels, labels }
    };
    Dataset::new("noise", (0..10).map(|c| c.to_string()).collect(), draw(64), draw(20))
}

fn trainer(session: Session, model: &str, optimizer: Optimizer) -> Trainer {
    let schedule = Schedule { rate: 0.05, shape: ScheduleShape::Cosine, warmup: 2 };
    let config = Config {
        model: model.into(),
        data: "noise".into(),
        epochs: 4,
        batch: 16,
        optimizer,
        schedule,
        seed: 5,
        crop: 1,
        flip: true,
        ..Config::default()
    };
    Trainer::new(config, dataset(), session).expect("a fitting configuration")
}

/// Every state after some steps.
fn after(mut t: Trainer, steps: usize) -> Vec<(String, Vec<f32>)> {
    for _ in 0..steps {
        if t.epoch_is_over() {
            t.next_epoch().expect("the session works");
        }
        t.step().expect("the step runs");
    }
    let names = t.session().names();
    let get = |n: String| {
        let data = block_on(t.session().get(&n)).expect("the state is there");
        (n, data)
    };
    names.into_iter().map(get).collect()
}

const RULES: [Optimizer; 3] = [
    Optimizer::Sgd { momentum: 0.9, nesterov: true, decay: 5e-4 },
    Optimizer::Sgd { momentum: 0.0, nesterov: false, decay: 0.0 },
    Optimizer::AdamW { decay: 0.01 },
];

#[test]
fn a_training_step_is_the_same_on_all_executors() {
    for rule in RULES {
        for model in ["cnn:widths=4-6", "mlp:widths=20,dropout=0.3"] {
            let truth = after(trainer(Session::reference(), model, rule), 1);
            for session in [Session::device(gpu(false)), Session::host()] {
                for ((name, got), (_, want)) in after(trainer(session, model, rule), 1).iter().zip(&truth) {
                    let [got, want] = [got, want].map(|v| v.iter().map(|&v| f64::from(v)).collect::<Vec<_>>());
                    assert_close(&format!("{model} {rule:?}: {name}"), &got, &want, 2e-4);
                }
            }
        }
    }
}

#[test]
fn ten_steps_give_the_same_bits_again() {
    for rule in RULES {
        let model = "cnn:widths=4-6";
        let device = || after(trainer(Session::device(gpu(false)), model, rule), 10);
        let host = || after(trainer(Session::host(), model, rule), 10);
        assert_eq!(device(), device());
        assert_eq!(host(), host());
    }
}

/// A training step of ResNet-20 on a GPU that binds many buffers: most dispatches are the network's, updates of parameters and
/// of running statistics are few.
#[test]
fn a_step_of_resnet20_is_few_dispatches() {
    let (g, size) = (Graph::new(), [32, 32, 32, 3]);
    let mut b = Builder::new(&g, Mode::Train);
    let (x, labels) = (g.input("x", &size), g.input_u32("labels", &size[..1]));
    let logits = Network::parse("resnet20").and_then(|n| n.build(&mut b, x, 10)).expect("a known network");
    let loss = logits.cross_entropy(labels)[0].mean_all();
    b.minimize(loss, Sgd::new(0.1).momentum(0.9).decay(5e-4)).expect("it is differentiable");
    let target = Target::Device { class: Class::GPU, storage_buffers: 30 };
    let dispatches = Plan::new(target, &g, &[loss]).expect("it can be planned").dispatches();
    assert!((200..=360).contains(&dispatches), "{dispatches} dispatches");
}

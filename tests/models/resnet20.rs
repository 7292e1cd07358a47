//! The curvature of ResNet-20 against golden values made with PyTorch and curvlinops in f64.

use hillshade::{
    engine::Graph,
    lab::{BatchNorm, Curvature, Matrix, Operator, Options, Problem, Samples, Search, Value, eigenvalues},
    models::{Builder, Loss, Mode, Network},
};

use crate::common::{
    assert_close,
    golden::Golden,
    lab::{executors, norm, product},
};

fn values(list: &[Value]) -> Vec<f64> {
    list.iter().map(|v| v.value).collect()
}

/// Number `number` of the tensors that `golden/resnet20.py` makes.
fn wave(len: usize, number: usize, [scale, shift]: [f64; 2]) -> Vec<f32> {
    let at = |i: f64| scale * (0.7 * i + 1.3 * i * i / 1009.0 + number as f64).sin() + shift;
    (0..len).map(|i| at(i as f64) as f32).collect()
}

/// Scale and shift of a weight of ResNet-20.
fn amplitude(name: &str, shape: &[usize]) -> [f64; 2] {
    let fan_in: usize = shape[..shape.len() - 1].iter().product();
    match name.rsplit('.').next() {
        Some("running_mean") => [0.2, 0.0],
        Some("running_var") => [0.4, 1.0],
        _ if shape.len() > 1 => [1.2 / (fan_in as f64).sqrt(), 0.0],
        Some("weight") => [0.3, 1.0],
        _ => [0.2, 0.0],
    }
}

/// Loss, gradient, product and the largest eigenvalues of ResNet-20, with running statistics and the batch's, as PyTorch
/// and curvlinops have them in f64.
///
/// In f32 a product is within 4e-6 where no ReLU's slope flips. But of a million activations one may be so near zero that
/// rounding decides it, which changes a product by thousandths, in PyTorch's f32 as well: so much is allowed.
#[test]
fn resnet20_has_the_curvature_that_other_tools_find() {
    const IMAGES: usize = 8;
    let golden = Golden::read("resnet20");
    let network = Network::parse("resnet20").expect("a network");
    let labels = (0..IMAGES as u32).map(|i| (i * i + 2 * i) % 10).collect();
    let images = wave(IMAGES * 3072, 1008, [1.5, 0.0]);
    let samples =
        Samples::new(IMAGES).floats("images", images).and_then(|s| s.indices("labels", labels)).expect("they fit");
    let problem = Problem::classifier(network.clone(), Loss::CrossEntropy, [32, 32, 3], 10, samples);
    for (executor, mut session, tolerance) in executors() {
        let g = Graph::new();
        let mut b = Builder::new(&g, Mode::Eval);
        let x = g.input("images", &[1, 32, 32, 3]);
        network.build(&mut b, x, 10).and_then(|_| b.initialize(&mut session, 0)).expect("weights");
        let names = session.names();
        for (number, name) in names.iter().enumerate() {
            let shape = session.shape_of(name).expect("it is there");
            let values = wave(shape.iter().product(), number, amplitude(name, &shape));
            session.set(name, &shape, &values).expect("it fits");
        }
        for (mode, batch_norm) in [("eval", BatchNorm::Eval), ("batch", BatchNorm::Full)] {
            let options = Options { batch_norm, micro_batch: Some(IMAGES), width: Some(1), ..Options::default() };
            let mut h = Curvature::new(&mut session, &problem, Matrix::Hessian, &options).expect("an operator");
            let what = |of: &str| format!("{executor}, {mode}: {of}");
            let point = [h.point().loss, h.point().gradient_norm];
            let exact = [golden.wide(&format!("{mode}.loss")), golden.wide(&format!("{mode}.norm"))].concat();
            assert_close(&what("loss and norm"), &point, &exact, tolerance.max(1e-6));
            let mut v = vec![0.0; h.dimension()];
            for block in h.layout() {
                let number = names.binary_search(&block.name).expect("a state");
                let own = wave(block.range.len(), 2000 + number, [1.0, 0.0]);
                v[block.range.clone()].iter_mut().zip(own).for_each(|(v, own)| *v = own.into());
            }
            let hv = product(&mut session, &mut h, &v);
            let exact = golden.wide(&format!("{mode}.product"));
            let off: Vec<f64> = hv.iter().step_by(997).zip(&exact).map(|(hv, exact)| hv - exact).collect();
            let off = norm(&off) / norm(&exact);
            let norms = [norm(&hv), golden.wide(&format!("{mode}.product_norm"))[0]];
            let bound = if executor == "reference" { 1e-6 } else { 2e-2 };
            assert!(off < bound, "{executor}, {mode}: H v is off by {off:e}");
            assert_close(&what("‖H v‖"), &norms[..1], &norms[1..], bound);
            if executor == "host" {
                let search = Search { count: 3, tolerance: 1e-5, ..Search::default() };
                let found = eigenvalues(&mut session, &mut h, search, &mut |_, _| ()).expect("eigenvalues");
                assert_close(&what("eigenvalues"), &values(&found.top), &golden.wide(&format!("{mode}.eig")), 1e-3);
            }
        }
    }
}

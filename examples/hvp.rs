//! A Hessian-vector product through batch normalization, exact, and an identity that it obeys: what the weights before the
//! normalization are multiplied by does not change the loss, so along them the Hessian is minus the gradient.

use hillshade::engine::{Conv, Data, Graph, Result, Session};

/// Numbers that look drawn.
fn wave(len: usize) -> Vec<f32> {
    (0..len).map(|i| (1.0 + 0.7 * i as f32 + (i * i) as f32 / 31.0).sin()).collect()
}

pub(crate) fn main() -> Result<()> {
    let g = Graph::new();
    let (x, labels) = (g.input("x", &[16, 8, 8, 1]), g.input_u32("labels", &[16]));
    let shapes: [(&str, &[usize]); 4] = [("conv", &[3, 3, 1, 4]), ("gamma", &[4]), ("beta", &[4]), ("head", &[4, 3])];
    let params = shapes.map(|(name, shape)| g.state(name, shape));
    let [conv, gamma, beta, head] = params;
    let [normed, ..] = x.conv2d(conv, Conv::padded(1)).batch_norm(gamma, beta, 1e-5);
    let [losses, _] = normed.tanh().global_avg_pool().matmul(head).cross_entropy(labels);
    let loss = losses.mean_all();
    let gradient = loss.grad(&params)?;
    // The convolution's weights as a direction; it could be an input, or anything else of these shapes.
    let direction = [conv, gamma.fill_like(0.0), beta.fill_like(0.0), head.fill_like(0.0)];
    let product = loss.hvp(&params, &direction)?;
    let outputs = [&gradient[..], &product].concat();

    let mut session = Session::host(); // or Session::device(block_on(Gpu::open())?)
    for (name, shape) in shapes {
        session.set(name, shape, &wave(shape.iter().product()))?;
    }
    let mut program = session.compile(&g, &outputs)?;
    let classes: Vec<u32> = (0..16).map(|i| i % 3).collect();
    program.run(&mut session, [(x, Data::F32(&wave(1024))), (labels, Data::U32(&classes))])?;
    let of_conv = |list: &[_]| program.read_now(&session, list[0]);
    let (slope, along) = (of_conv(&gradient)?, of_conv(&product)?);
    let most = slope.iter().fold(0.0, |most: f32, g| most.max(g.abs()));
    let off = slope.iter().zip(&along).fold(0.0, |off: f32, (g, h)| off.max((g + h).abs()));
    println!("the largest slope is {most}, H w + g is {off} at most");
    assert!(off < 1e-3 * most);
    Ok(())
}

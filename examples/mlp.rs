//! A perceptron with its training loop, on points of the plane that two lines part into two classes.

use hillshade::{
    engine::{Data, Graph, Session},
    models::{Builder, Mode, Result, Sgd},
};

pub(crate) fn main() -> Result<()> {
    let points: Vec<f32> = (0..128).map(|i| (i as f32).sin()).collect();
    let sides: Vec<u32> = points.chunks(2).map(|p| u32::from(p[0] * p[1] > 0.0)).collect();
    let g = Graph::new();
    let mut b = Builder::new(&g, Mode::Train);
    let (x, labels) = (g.input("x", &[64, 2]), g.input_u32("labels", &[64]));
    let hidden = b.dense("hidden", x, 32).tanh();
    let [losses, _] = b.dense("out", hidden, 2).cross_entropy(labels);
    let loss = losses.mean_all();
    b.minimize(loss, Sgd::new(0.5).momentum(0.9))?;
    let mut session = Session::host(); // or Session::device(block_on(Gpu::open())?)
    b.initialize(&mut session, 0)?;
    let mut step = session.compile(&g, &[loss])?;
    for _ in 0..200 {
        step.run(&mut session, [(x, Data::F32(&points)), (labels, Data::U32(&sides))])?;
    }
    let last = step.read_now(&session, loss)?[0];
    println!("loss {last}");
    assert!(last < 0.1);
    Ok(())
}

//! Graphs in two halves against whole ones: what depends on a direction, and what does not.

use crate::common::{assert_close, evaluate, gpu, unit};
use hillshade::{
    engine::{Data, Graph, OperandData, Session, Tensor, block_on},
    models::{Builder, Mode, Network},
};

fn draw(n: usize, stream: u32) -> Vec<f32> {
    let OperandData::Float(x) = unit(&[n]).draw(stream) else { unreachable!("a range holds floats") };
    x
}

/// A network's Hessian product, its directions in states.
struct Product<'g> {
    b: Builder<'g>,
    loss: Tensor<'g>,
    directions: Vec<Tensor<'g>>,
    product: Vec<Tensor<'g>>,
    data: (Vec<f32>, Vec<u32>),
}

const IMAGES: usize = 4;

impl<'g> Product<'g> {
    fn new(g: &'g Graph, spec: &str, mode: Mode) -> Self {
        let mut b = Builder::new(g, mode);
        let (x, labels) = (g.input("images", &[IMAGES, 8, 8, 2]), g.input_u32("labels", &[IMAGES]));
        let logits = Network::parse(spec).and_then(|n| n.build(&mut b, x, 10)).expect("known and fitting");
        let params = b.trained_values();
        let direction = |(i, p): (usize, &Tensor<'g>)| g.state(&format!("v{i}"), p.shape().expect("a parameter"));
        let directions: Vec<Tensor> = params.iter().enumerate().map(direction).collect();
        let [losses, _] = logits.cross_entropy(labels);
        let loss = losses.mean_all();
        let product = loss.hvp(&params, &directions).expect("every op has its rules");
        Product { b, loss, directions, product, data: (draw(IMAGES * 128, 1), vec![3, 1, 4, 1]) }
    }

    fn inputs(&self) -> [(&'static str, Data<'_>); 2] {
        [("images", Data::F32(&self.data.0)), ("labels", Data::U32(&self.data.1))]
    }

    /// Sets parameters and a direction.
    fn prepare(&self, session: &mut Session, member: usize) {
        self.b.initialize(session, 5).expect("parameters fit");
        for (i, v) in self.directions.iter().enumerate() {
            let ty = v.ty().expect("a state");
            let direction = draw(ty.count(), (i + 1000 * (member + 1)) as u32);
            session.set(&format!("v{i}"), &ty.shape, &direction).expect("it fits");
        }
    }

    fn whole(&self, mut session: Session, member: usize) -> Vec<f64> {
        self.prepare(&mut session, member);
        let g = self.b.g.without_assigns();
        let product: Vec<Tensor> = self.product.iter().map(|y| g.tensor(y.var())).collect();
        evaluate(&mut session, &g, &product, self.inputs()).concat()
    }
}

fn device() -> Session {
    Session::device(gpu(false))
}

fn running(session: &Session) -> Vec<Vec<f32>> {
    let names = session.names().into_iter().filter(|n| n.contains("running"));
    names.map(|n| block_on(session.get(&n)).expect("it is there")).collect()
}

#[test]
fn halves_are_as_the_whole() {
    for (spec, mode) in [("mlp:widths=7", Mode::Train), ("cnn:widths=3-5", Mode::Train), ("resnet20", Mode::Eval)] {
        let g = Graph::new();
        let p = Product::new(&g, spec, mode);
        let split = g.partial_eval(&[p.loss], &p.product, &p.directions, "kept").expect("the loss is fixed");
        for (name, open, bound) in [
            ("reference", Session::reference as fn() -> Session, 1e-13),
            ("host", Session::host, 1e-5),
            ("device", device, 1e-5),
        ] {
            let mut session = open();
            p.prepare(&mut session, 0);
            for kept in &split.kept {
                session.reserve(&kept.name, &kept.ty).expect("there is room");
            }
            let before = running(&session);
            evaluate(&mut session, &split.before, &split.before.tensors(&split.fixed), p.inputs());
            for member in [0, 1] {
                p.prepare(&mut session, member);
                let got = evaluate(&mut session, &split.after, &split.after.tensors(&split.varying), ()).concat();
                let want = p.whole(open(), member);
                assert_close(&format!("{spec} on the {name}"), &got, &want, bound);
            }
            assert_eq!(before, running(&session), "a product moved running statistics");
        }
    }
}

/// What is wanted before must not depend on the direction.
#[test]
fn a_value_that_varies_cannot_be_fixed() {
    let g = Graph::new();
    let p = Product::new(&g, "mlp:widths=7", Mode::Eval);
    let error = g.partial_eval(&p.product[..1], &[], &p.directions, "kept").expect_err("it depends on the direction");
    assert!(error.to_string().contains("depends on what the graph is split on"), "{error}");
}

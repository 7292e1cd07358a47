//! Training steps at the edges of what they take.

use hillshade::engine::{Data, Graph, Session};
use hillshade::models::{Builder, Init, Mode, Norm, Perturbation};

use crate::common::*;

/// No inputs.
const NOTHING: &[(&str, Data)] = &[];

/// Steps with a gradient of zero: the norm's slope is zero there, and SAM's gradient has derivatives.
#[test]
fn norms_have_slopes_at_zero() {
    let g = Graph::new();
    let mut b = Builder::new(&g, Mode::Train);
    let w = b.param("w", &[3], Init::Zeros);
    let loss = (w * w * 0.5).sum_all();
    for perturbation in [Perturbation::Sam { rho: 0.05 }, Perturbation::Asam { rho: 0.5 }] {
        let gradient = perturbation.gradient(loss, &b.trained().collect::<Vec<_>>()).expect("it has rules");
        let v = g.literal(&[3], &[1.0, 2.0, 3.0]);
        let moved = g.jvp(&gradient, &[w], &[v]).expect("it has rules");
        for mut session in [Session::host(), Session::reference()] {
            session.set("w", &[3], &[0.0; 3]).expect("the sizes match");
            let got = evaluate(&mut session, &g, &[gradient[0], moved[0]], NOTHING);
            assert!(got.iter().flatten().all(|v| v.is_finite()), "{got:?}");
        }
    }
}

/// What is constant is zero once its mean is taken off, and a running variance moves towards zero and not below.
#[test]
fn constants_are_normalized_to_zero() {
    for value in [0.1_f32, 1.0 / 3.0, 1234.567, -7e5] {
        for (n, side, c) in [(2, 7, 12), (3, 5, 8)] {
            let g = Graph::new();
            let x = g.fill(&[n, side, side, c], f64::from(value));
            let mut b = Builder::new(&g, Mode::Train);
            let kinds = [Norm::Batch, Norm::Group, Norm::Layer, Norm::Instance];
            let y = kinds.map(|kind| b.layer(&format!("{kind:?}"), |b| Ok(b.norm("norm", kind, x))));
            for mut session in [Session::host(), Session::reference()] {
                b.initialize(&mut session, 0).expect("the shapes fit");
                for (kind, y) in kinds.iter().zip(evaluate(&mut session, &g, &y, NOTHING)) {
                    assert!(y.iter().all(|&v| v == 0.0), "{kind:?} of {value}: {:?}", &y[..4]);
                }
                let running = pollster_block(session.get("Batch.norm.running_var")).expect("a state");
                assert!(running.iter().all(|&v| (v - 0.9).abs() < 1e-6), "{running:?}");
            }
        }
    }
}

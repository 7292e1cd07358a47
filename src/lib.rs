//! Hillshade: a GPU training engine that can see the shape of its own loss.
//!
//! [`engine`] has graphs of tensor operations with handwritten WGSL kernels, derivatives of any order, and three
//! executors: a GPU, the CPU in f32, the CPU in f64. [`models`] has layers, networks, data and training on top. [`lab`]
//! measures curvature: exact products with Hessian, Gauss-Newton and Fisher matrices, spectra, traces, slices of the loss.
//! [`plot`] draws what they measure.
//!
//! ```
//! use hillshade::engine::{Data, Graph, Result, Session, Sgd};
//!
//! fn main() -> Result<()> {
//!     // A program as data: a small net on the four points of exclusive or, its gradient, a step of gradient descent.
//!     let g = Graph::new();
//!     let (x, y, rate) = (g.input("x", &[4, 2]), g.input("y", &[4, 1]), g.input("rate", &[1]));
//!     let shapes: [(&str, &[usize]); 4] = [("w1", &[2, 8]), ("b1", &[8]), ("w2", &[8, 1]), ("b2", &[1])];
//!     let params = shapes.map(|(name, shape)| g.state(name, shape));
//!     let [w1, b1, w2, b2] = params;
//!     let loss = x.linear(w1, b1).tanh().linear(w2, b2).mean_squared_error(y);
//!     let gradient = loss.grad(&params)?;
//!     // The Hessian times the gradient: how the slope changes along itself.
//!     let product = loss.hvp(&params, &gradient)?;
//!     let plain = Sgd { momentum: 0.0, nesterov: false, decay: 0.0 };
//!     for (p, slope) in params.into_iter().zip(gradient) {
//!         g.assign(p, p.sgd(plain, slope, rate, None)?[0]);
//!     }
//!
//!     // On a GPU: Session::device(block_on(Gpu::open())?). In f64: Session::reference().
//!     let mut session = Session::host();
//!     let wave = |n: usize| (0..n).map(|i| (2.0 * i as f32 + 1.0).sin()).collect::<Vec<f32>>();
//!     for (name, shape) in shapes {
//!         session.set(name, shape, &wave(shape.iter().product()))?;
//!     }
//!     let mut step = session.compile(&g, &[loss, product[0]])?;
//!     println!("{}", step.plan()); // every dispatch, with its kernel, grid, bytes and FLOPs
//!     let points = [0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0];
//!     let inputs = [(x, Data::F32(&points)), (y, Data::F32(&[0.0, 1.0, 1.0, 0.0])), (rate, Data::F32(&[0.2]))];
//!     for _ in 0..2000 {
//!         step.run(&mut session, inputs)?;
//!     }
//!     assert!(step.read_now(&session, loss)?[0] < 1e-3);
//!     Ok(())
//! }
//! ```

pub use hillshade_engine as engine;
pub use hillshade_lab as lab;
pub use hillshade_models as models;

pub mod plot;

/// The programs of the README, compiled and run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

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
//!     let mut g = Graph::new();
//!     let (x, y) = (g.input("x", &[4, 2])?, g.input("y", &[4, 1])?);
//!     let rate = g.input("rate", &[1])?;
//!     let (w1, b1) = (g.state("w1", &[2, 8])?, g.state("b1", &[8])?);
//!     let (w2, b2) = (g.state("w2", &[8, 1])?, g.state("b2", &[1])?);
//!     let hidden = g.linear(x, w1, b1)?;
//!     let hidden = g.tanh(hidden)?;
//!     let guess = g.linear(hidden, w2, b2)?;
//!     let loss = g.mean_squared_error(guess, y)?;
//!     let params = [w1, b1, w2, b2];
//!     let gradient = g.grad(loss, &params)?;
//!     // The Hessian times the gradient: how the slope changes along itself.
//!     let product = g.jvp(&gradient, &params, &gradient)?;
//!     let plain = Sgd { momentum: 0.0, nesterov: false, decay: 0.0 };
//!     for (p, slope) in params.into_iter().zip(gradient) {
//!         let new = g.sgd(plain, p, slope, rate, None)?;
//!         g.assign(p, new[0])?;
//!     }
//!
//!     // On a GPU: Session::device(block_on(Gpu::open())?). In f64: Session::twin().
//!     let mut session = Session::host();
//!     let wave = |n: usize| (0..n).map(|i| (2.0 * i as f32 + 1.0).sin()).collect::<Vec<f32>>();
//!     for (name, shape) in [("w1", vec![2, 8]), ("b1", vec![8]), ("w2", vec![8, 1]), ("b2", vec![1])] {
//!         session.set(name, &shape, &wave(shape.iter().product()))?;
//!     }
//!     let mut step = session.compile(&g, &[loss, product[0]])?;
//!     println!("{}", step.plan()); // every dispatch, with its kernel, grid, bytes and FLOPs
//!     let points = [0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0];
//!     let feeds = [("x", Data::F32(&points)), ("y", Data::F32(&[0.0, 1.0, 1.0, 0.0])), ("rate", Data::F32(&[0.2]))];
//!     for _ in 0..2000 {
//!         step.run(&mut session, &feeds)?;
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

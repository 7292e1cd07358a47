//! A test of an adapter's cooperative matrices, before a session takes them.

use crate::{device::Gpu, error::Result, graph::Graph, run::session::Session};

/// Extents of the product on which a device is tried: off any tile, several steps long.
const SIZE: [usize; 3] = [37, 45, 83];

/// Numbers between two halves, with the even one that they are to be rounded to.
const TIES: [[f32; 2]; 2] = [[1.0 + 1.0 / 2048.0, 1.0], [1.0 + 3.0 / 2048.0, 1.0 + 4.0 / 2048.0]];

impl Session {
    /// On a device.
    pub fn device(gpu: Gpu) -> Self {
        #[cfg(not(target_arch = "wasm32"))]
        gpu.try_cooperative(|| pollster::block_on(is_right(&gpu)));
        Session::untested(gpu)
    }
}

/// Whether a device multiplies cooperative matrices as it should: small integers and numbers that are rounded, whose
/// sums are exact in f32; and a number that halves do not hold, of which no finite result comes.
async fn is_right(gpu: &Gpu) -> bool {
    let [m, n, k] = SIZE;
    let number = |i: usize| (i * 7 % 9) as f32 - 4.0;
    let mut a: Vec<f32> = (0..m * k).map(number).collect();
    let mut rounded = a.clone();
    let mut b: Vec<f32> = (0..k * n).map(|i| number(i * 5 + 3)).collect();
    for (tie, [given, even]) in TIES.into_iter().enumerate() {
        for i in 0..m {
            (a[i * k + 40 + tie], rounded[i * k + 40 + tie]) = (given, even);
        }
    }
    b[..n].fill(1.0);
    a[(m - 1) * k] = 1e5;
    let Ok(y) = product(gpu, [&a, &b]).await else { return false };
    let sum = |i: usize, j: usize| (0..k).map(|p| rounded[i * k + p] * b[p * n + j]).sum::<f32>();
    (0..m * n).all(|at| if at / n == m - 1 { !y[at].is_finite() } else { y[at] == sum(at / n, at % n) })
}

async fn product(gpu: &Gpu, [a, b]: [&[f32]; 2]) -> Result<Vec<f32>> {
    let ([m, n, k], g) = (SIZE, Graph::new());
    let (left, right) = (g.input("a", &[m, k]), g.input("b", &[k, n]));
    let y = left.matmul(right);
    let mut session = Session::untested(gpu.clone());
    let mut program = session.compile(&g, &[y])?;
    program.run(&mut session, [(left, a), (right, b)])?;
    program.read(&session, y).await
}

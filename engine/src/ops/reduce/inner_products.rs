//! Inner products of rows, chunk by chunk.

use rayon::prelude::*;

use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// The op of [`Tensor::inner_products`].
#[derive(Debug, PartialEq)]
pub struct InnerProducts;

/// Elements of a chunk: at least 1024, and no more than 512 chunks.
fn chunk(n: usize) -> usize {
    n.div_ceil(512).max(1024).next_multiple_of(256)
}

impl InnerProducts {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let (n, k) = (x[0].shape()[1], x[1].shape()[0]);
        let (a, b) = (x[0].floats(), x[1].floats());
        let (chunk, chunks) = (chunk(n), n.div_ceil(chunk(n)));
        y[0].floats_mut().par_chunks_mut(chunks).enumerate().for_each(|(pair, y)| {
            let (a, b) = (&a[pair / k * n..][..n], &b[pair % k * n..][..n]);
            for ((y, a), b) in y.iter_mut().zip(a.chunks(chunk)).zip(b.chunks(chunk)) {
                *y = F::of(a.iter().zip(b).map(|(a, b)| a.wide() * b.wide()).sum());
            }
        });
    }
}

impl Op for InnerProducts {
    cpu!();

    fn name(&self) -> &'static str {
        "inner_products"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        expect_dtypes("inner_products", x, &[DType::F32; 2])?;
        match (&x[0].shape[..], &x[1].shape[..]) {
            (&[m, n], &[k, other]) if n == other => Ok(vec![Type::f32([m, k, n.div_ceil(chunk(n))])]),
            _ => Err(shape_error("inner_products", "a is [m, n], b [k, n]", x)),
        }
    }

    fn launch(&self, _: Class, x: &[&Type], y: &[&Type]) -> Launches {
        let n = x[0].shape[1];
        Launch::new("inner_products", y[0].count())
            .params([n, y[0].shape[1], chunk(n), y[0].shape[2], y[0].count()].map(word))
            .bind([Bind::In(0), Bind::In(1), Bind::Out(0)])
            .into()
    }

    fn flops(&self, x: &[&Type], _: &[&Type]) -> u64 {
        2 * (x[0].count() * x[1].shape[0]) as u64
    }

    fn plain<'g>(&self, x: &[Tensor<'g>]) -> Result<Option<Vec<Tensor<'g>>>> {
        let ([m, n], [k, _]) = (x[0].dims()?, x[1].dims()?);
        let (chunk, chunks) = (chunk(n), n.div_ceil(chunk(n)));
        let [a, b] = [x[0], x[1]].map(|x| x.pad(&[[0, 0], [0, chunks * chunk - n]], 0.0));
        let products = a.reshape(&[m, 1, chunks, chunk]) * b.reshape(&[1, k, chunks, chunk]);
        Ok(Some(vec![products.sum(&[3])]))
    }
}

impl<'g> Tensor<'g> {
    /// `y[i, j, c] = Σ a[i, l] b[j, l]` over the `l` of chunk `c`: inner products of rows as sums over stretches of
    /// fixed length, for whoever adds them up in f64.
    ///
    /// | | shape |
    /// |---|---|
    /// | a, b | `[m, n]`, `[k, n]` |
    /// | y | `[m, k, chunks]`, at most 512 chunks |
    ///
    /// Broken by rows that differ in length ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn inner_products(self, b: Tensor<'g>) -> Tensor<'g> {
        self.apply2(InnerProducts, b)
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    [(1, 1, 1), (3, 2, 67), (2, 3, 1025), (5, 1, 4099)]
        .into_iter()
        .map(|(m, k, n)| {
            let x = vec![unit(&[m, n]), unit(&[k, n])];
            TestCase::one(format!("inner_products {m} {k} {n}"), x, |x| x[0].inner_products(x[1])).tolerance(3e-6)
        })
        .collect()
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<TestCase> {
    let x = vec![unit(&[8, 131_101]); 2];
    vec![TestCase::one("[8, 131101] [8, 131101]", x, |x| x[0].inner_products(x[1])).tolerance(3e-6)]
}

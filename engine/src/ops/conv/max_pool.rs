//! Max pooling: the largest element of each window.

use rayon::prelude::*;

use crate::ops::{conv::frame::Window, matmul::gemm::LONGEST};
use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// Windows of a pooling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// Height and width of a window.
    pub kernel: [usize; 2],
    /// Step from window to window.
    pub stride: [usize; 2],
    /// Margin on either side, which no window takes its maximum from.
    pub padding: [usize; 2],
}

impl Pool {
    /// Square windows side by side.
    pub fn square(size: usize) -> Self {
        Pool { kernel: [size; 2], stride: [size; 2], padding: [0; 2] }
    }

    /// As a convolution with one group for each channel.
    pub(crate) fn geometry(&self, x: &[usize]) -> Option<Geometry> {
        let [_, _, _, channels] = <[usize; 4]>::try_from(x).ok()?;
        // With more margin than this a window could lie outside the image.
        if (0..2).any(|axis| 2 * self.padding[axis] > self.kernel[axis]) {
            return None;
        }
        let conv = Conv { stride: self.stride, padding: self.padding, dilation: [1, 1], groups: channels };
        Geometry::new(conv, x, &[self.kernel[0], self.kernel[1], 1, channels])
    }
}

/// The launches of a pooling kernel for `len` elements: of stretches of a window's rows, since software adapters end the loops of
/// an invocation after 65,535 passes in all, without a word.
pub(crate) fn launches(kernel: &'static str, len: usize, g: &Geometry, bind: &[Bind]) -> Launches {
    let rows = (LONGEST / g.kernel[1]).max(1);
    let launch = |first: usize| {
        let product = [len, first, (first + rows).min(g.kernel[0]), g.conv.groups, 1, 0].map(word);
        let stack = [g.conv.groups, 1, 0, 0, 0, 0].map(word);
        Launch::new(kernel, len.div_ceil(64))
            .constant("FIRST", first == 0)
            .params(product.into_iter().chain(Window::new(g).words()).chain(stack))
            .bind(bind.iter().copied())
    };
    Launches { scratch: Vec::new(), list: (0..g.kernel[0]).step_by(rows).map(launch).collect() }
}

/// The op of [`Tensor::max_pool`].
#[derive(Debug, PartialEq)]
pub struct MaxPool(Pool);

impl MaxPool {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let g = self.0.geometry(x[0].shape()).expect("the shape rule held");
        let (data, channels) = (x[0].floats(), g.conv.groups);
        let [y, argmax] = y else { unreachable!("max_pool has two results") };
        let line = g.out[1] * channels;
        let lines = y.floats_mut().par_chunks_mut(line).zip(argmax.indices_mut().par_chunks_mut(line));
        lines.enumerate().for_each(|(line, (y, argmax))| {
            for (i, (y, argmax)) in y.chunks_mut(channels).zip(argmax.chunks_mut(channels)).enumerate() {
                let mut first = true;
                g.each_tap(line * g.out[1] + i, |_, pixel| {
                    let x = &data[pixel * channels..][..channels];
                    if std::mem::take(&mut first) {
                        y.copy_from_slice(x);
                        argmax.iter_mut().zip((pixel * channels) as u32..).for_each(|(argmax, at)| *argmax = at);
                        return;
                    }
                    for (c, ((y, argmax), &x)) in y.iter_mut().zip(&mut *argmax).zip(x).enumerate() {
                        if x > *y || x.is_nan() {
                            (*y, *argmax) = (x, (pixel * channels + c) as u32);
                        }
                    }
                });
            }
        });
    }
}

impl Op for MaxPool {
    cpu!();

    fn name(&self) -> &'static str {
        "max_pool"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        expect_dtypes("max_pool", x, &[DType::F32])?;
        let g = self.0.geometry(&x[0].shape).ok_or_else(|| {
            let rule = format!("x is [n, h, w, c], the window fits, half of it at most is margin ({:?})", self.0);
            shape_error("max_pool", rule, x)
        })?;
        Ok(vec![Type::f32(g.y()), Type::u32(g.y())])
    }

    fn launch(&self, _: Class, x: &[&Type], y: &[&Type]) -> Launches {
        let g = self.0.geometry(&x[0].shape).expect("the shape rule held");
        launches("max_pool", y[0].count(), &g, &[Bind::In(0), Bind::Out(0), Bind::Out(1)])
    }

    fn flops(&self, _: &[&Type], y: &[&Type]) -> u64 {
        (self.0.kernel[0] * self.0.kernel[1] * y[0].count()) as u64
    }

    fn vjp<'g>(&self, at: At<'_, 'g>, ct: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        let [_, height, width, _] = at.x[0].dims()?;
        Ok(Some(vec![ct[0].map(|ct| ct.max_pool_grad(at.y[1], self.0, [height, width]))]))
    }

    fn jvp<'g>(&self, at: At<'_, 'g>, dx: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        Ok(Some(vec![dx[0].map(|dx| dx.max_pool_take(at.y[1])).transpose()?, None]))
    }
}

impl<'g> Tensor<'g> {
    /// `y = max` over windows, and where in `x` (as a flat index, u32) each maximum was found first. A window with what is
    /// not a number has that, found last as by PyTorch.
    ///
    /// | | shape |
    /// |---|---|
    /// | x | `[n, height, width, c]` |
    /// | y, argmax | `[n, ⌊(height + 2p − k)/s⌋ + 1, …, c]` |
    ///
    /// Broken by a window that does not fit ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn max_pool(self, pool: Pool) -> [Tensor<'g>; 2] {
        self.graph().apply(MaxPool(pool), &[self])
    }

    /// `x` at the places that [`Tensor::max_pool`] found: its tangent.
    pub(crate) fn max_pool_take(self, argmax: Tensor<'g>) -> Result<Tensor<'g>> {
        Ok(self.reshape(&[self.count()?]).gather(argmax))
    }
}

/// Shapes and windows on which pooling is tested.
pub(crate) fn pools() -> [([usize; 4], Pool); 4] {
    [
        ([2, 8, 6, 5], Pool::square(2)),
        ([1, 7, 9, 3], Pool { kernel: [3, 3], stride: [2, 2], padding: [1, 1] }),
        ([2, 5, 7, 67], Pool { kernel: [2, 3], stride: [1, 2], padding: [0, 1] }),
        ([1, 2, 2, 1], Pool::square(2)),
    ]
}

/// Shapes and windows on which pooling is timed.
pub(crate) fn timed_pools() -> [([usize; 4], Pool); 2] {
    let overlapping = Pool { kernel: [3, 3], stride: [2, 2], padding: [1, 1] };
    [([32, 32, 32, 16], Pool::square(2)), ([8, 57, 55, 67], overlapping)]
}

fn case(what: String, x: [usize; 4], pool: Pool) -> TestCase {
    TestCase::new(what, vec![unit(&x)], move |x| Ok(x[0].max_pool(pool).to_vec()))
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    pools().map(|(x, pool)| case(format!("max_pool {x:?} {pool:?}"), x, pool)).into()
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<TestCase> {
    timed_pools().map(|(x, pool)| case(format!("{x:?} by {:?}", pool.kernel), x, pool)).into()
}

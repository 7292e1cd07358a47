//! The two floats of the CPU executors: f32 on the host, f64 in the reference.

use gemm_common::Parallelism;
use half::{f16, slice::HalfFloatSliceExt};
use pulp::{Arch, Scalar, Simd, WithSimd};

use crate::cpu::math;

/// Elements below which a loop stays on one core.
pub(crate) const SERIAL: usize = 1 << 14;

/// A strided matrix in a slice: element (i, j) is `data[i * row + j * col]`.
#[derive(Debug, Clone, Copy)]
pub struct Mat<'a, F> {
    /// The elements.
    pub data: &'a [F],
    /// Stride from row to row.
    pub row: usize,
    /// Stride from column to column.
    pub col: usize,
}

/// f32 or f64.
pub trait Real:
    bytemuck::Pod
    + num_traits::Float
    + num_traits::NumAssign
    + std::iter::Sum
    + std::fmt::Debug
    + Default
    + Send
    + Sync
    + 'static
{
    /// `eˣ`; this and the next two in f32 as loops of vectors, which `Float::exp` is not.
    fn exponential(self) -> Self;

    /// `tanh x`.
    fn hyperbolic_tangent(self) -> Self;

    /// The error function.
    fn erf(self) -> Self;

    /// The larger one, and what is not a number rather than one: `max` passes it over.
    #[inline(always)]
    fn most(self, other: Self) -> Self {
        if self > other || self.is_nan() { self } else { other }
    }

    /// The smaller one, and what is not a number rather than one: `min` passes it over.
    #[inline(always)]
    fn least(self, other: Self) -> Self {
        if self < other || self.is_nan() { self } else { other }
    }

    /// Runs a loop by the widest vectors of the CPU at hand in f32; in f64, where nothing waits for it, as it is, since each
    /// width is compiled by itself.
    fn vectorize<W: WithSimd>(work: W) -> W::Output;

    /// From f64, rounded.
    fn of(x: f64) -> Self;

    /// To f64.
    fn wide(self) -> f64;

    /// To as many 16-bit floats, rounded to nearest, ties to even.
    fn to_halves(x: &[Self], y: &mut [f16]);

    /// From as many 16-bit floats, exactly.
    fn from_halves(x: &[f16], y: &mut [Self]);

    /// `y += a b` or `y = a b`, with `a` `[m, k]`, `b` `[k, n]`, `y` row-major with rows `stride` apart.
    /// The order of summation depends on the extents alone, not on the number of threads.
    fn gemm(
        extents: [usize; 3], y: &mut [Self], stride: usize, a: Mat<Self>, b: Mat<Self>, accumulate: bool,
        parallel: bool,
    );
}

macro_rules! real {
    ($float:ty, [$exp:path, $tanh:path, $erf:path], [$to_halves:ident, $from_halves:ident], $gemm:path, $vectors:expr, $run:ident) => {
        impl Real for $float {
            #[inline(always)]
            fn exponential(self) -> Self {
                $exp(self)
            }

            #[inline(always)]
            fn hyperbolic_tangent(self) -> Self {
                $tanh(self)
            }

            #[inline(always)]
            fn erf(self) -> Self {
                $erf(self)
            }

            #[inline(always)]
            fn vectorize<W: WithSimd>(work: W) -> W::Output {
                $vectors.$run(work)
            }

            fn of(x: f64) -> Self {
                x as $float
            }

            fn wide(self) -> f64 {
                self.into()
            }

            fn to_halves(x: &[Self], y: &mut [f16]) {
                y.$to_halves(x);
            }

            fn from_halves(x: &[f16], y: &mut [Self]) {
                x.$from_halves(y);
            }

            fn gemm(
                [m, n, k]: [usize; 3], y: &mut [Self], stride: usize, a: Mat<Self>, b: Mat<Self>, accumulate: bool,
                parallel: bool,
            ) {
                if m == 0 || n == 0 {
                    return;
                }
                let reach = |m: usize, n: usize, row: usize, col: usize| (m - 1) * row + (n - 1) * col + 1;
                assert!(y.len() >= reach(m, n, stride, 1) && stride >= n);
                if k > 0 {
                    assert!(a.data.len() >= reach(m, k, a.row, a.col));
                    assert!(b.data.len() >= reach(k, n, b.row, b.col));
                }
                let parallelism = if parallel { Parallelism::Rayon(0) } else { Parallelism::None };
                let [stride, a_row, a_col, b_row, b_col] = [stride, a.row, a.col, b.row, b.col].map(|s| s as isize);
                let (y, a, b) = (y.as_mut_ptr(), a.data.as_ptr(), b.data.as_ptr());
                let product = $gemm();
                // SAFETY: the assertions above keep every element that is touched inside its slice, and `stride >= n`
                // keeps the rows of `y` apart. Where columns of `y` are closer than rows, the transposed product is asked
                // for, which the kernels are made for.
                unsafe {
                    if stride > 1 {
                        product(
                            n,
                            m,
                            k,
                            y,
                            stride,
                            1,
                            accumulate,
                            b,
                            b_row,
                            b_col,
                            a,
                            a_row,
                            a_col,
                            1.0,
                            1.0,
                            false,
                            false,
                            false,
                            parallelism,
                        );
                    } else {
                        product(
                            m,
                            n,
                            k,
                            y,
                            1,
                            stride,
                            accumulate,
                            a,
                            a_col,
                            a_row,
                            b,
                            b_col,
                            b_row,
                            1.0,
                            1.0,
                            false,
                            false,
                            false,
                            parallelism,
                        );
                    }
                }
            }
        }
    };
}

real!(
    f32,
    [math::exp, math::tanh, math::erf],
    [convert_from_f32_slice, convert_to_f32_slice],
    gemm_f32::gemm::f32::get_gemm_fn,
    Arch::new(),
    dispatch
);
real!(
    f64,
    [f64::exp, f64::tanh, libm::erf],
    [convert_from_f64_slice, convert_to_f64_slice],
    gemm_f64::gemm::f64::get_gemm_fn,
    Scalar::new(),
    vectorize
);

//! Pointwise ops: a function of one to three numbers, applied elementwise with broadcasting.

use std::fmt::Debug;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::ops::shape::stacks::{align, rank};
use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// A differentiable function of `N` numbers.
pub trait Map<const N: usize>: Debug + Clone + PartialEq + Send + Sync + 'static {
    /// The op's name.
    const NAME: &'static str;

    /// Constants of the function, the kernel's `params.p` and `params.q`.
    fn constants(&self) -> [f64; 2] {
        [0.0; 2]
    }

    /// The function.
    fn f<F: Real>(&self, x: [F; N]) -> F;

    /// `∂f/∂xᵢ · d`, which serves both modes; `None` where the slope is zero.
    fn slope<'g>(&self, x: [Tensor<'g>; N], y: Tensor<'g>, i: usize, d: Tensor<'g>) -> Option<Tensor<'g>>;
}

/// The op of a [`Map`].
#[derive(Clone, PartialEq)]
pub struct Pointwise<M, const N: usize>(pub M);

impl<M: Debug, const N: usize> Debug for Pointwise<M, N> {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl<M: Map<N>, const N: usize> Pointwise<M, N> {
    fn loops(x: [&[usize]; N], y: &[usize]) -> Loops<N> {
        let strides = x.map(|x| signed(&shape::broadcast_strides(x, y)));
        Loops::new(y, std::array::from_fn(|n| strides[n].as_slice()))
    }

    /// A run of results from operands with these strides, 1 or 0.
    fn run<F: Real>(&self, data: [&[F]; N], strides: [isize; N], y: &mut [F]) {
        let map = &self.0;
        match strides == [1; N] {
            true => F::vectorize(Elements { map, data: data.map(|x| &x[..y.len()]), y }),
            false => F::vectorize(Run { map, data, strides, y }),
        }
    }

    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let shapes: [&[usize]; N] = std::array::from_fn(|n| x[n].shape());
        let data: [&[F]; N] = std::array::from_fn(|n| x[n].floats());
        let y = y[0].floats_mut();
        if data.iter().all(|x| x.len() == y.len()) {
            let chunk = |(start, y): (usize, &mut [F])| {
                self.run(data.map(|x| &x[start..]), [1; N], y);
            };
            return match y.len() {
                ..SERIAL => chunk((0, y)),
                _ => y.par_chunks_mut(SERIAL / 2).enumerate().for_each(|(c, y)| chunk((c * SERIAL / 2, y))),
            };
        }
        let out =
            shapes.iter().fold(Vec::new(), |y: Vec<usize>, x| shape::broadcast(&y, x).expect("the shape rule held"));
        let loops = Self::loops(shapes, &out);
        let run = loops.segment();
        let inner = loops.strides[loops.strides.len() - 1];
        let from = |at: [isize; N], step: usize| -> [&[F]; N] {
            std::array::from_fn(|n| &data[n][at[n] as usize + step * inner[n] as usize..])
        };
        if run > SERIAL {
            // The same stretch of each run in turn, since operands with an axis less are the same for all.
            let tasks = stretches(y, loops.segments(), SERIAL / 2);
            return tasks.into_par_iter().enumerate().for_each(|(task, runs)| {
                let mut runs = runs.into_iter();
                loops.each_segment(0, loops.segments(), |_, at| {
                    runs.next().into_iter().for_each(|y| self.run(from(at, task * SERIAL / 2), inner, y));
                });
            });
        }
        let per_task = (SERIAL / 2 / run).max(1);
        let chunk = |(task, y): (usize, &mut [F])| {
            let first = task * per_task;
            loops.each_segment(first, first + y.len() / run, |r, at| {
                self.run(from(at, 0), inner, &mut y[(r - first) * run..][..run]);
            });
        };
        match y.len() {
            ..SERIAL => chunk_serial(y, per_task * run, chunk),
            _ => y.par_chunks_mut(per_task * run).enumerate().for_each(chunk),
        }
    }
}

/// The loop over operands as long as the result. A type of its own, since compilers do not inline closures as long as
/// this into functions for other CPUs, and make no vectors of it then.
struct Elements<'a, M, F, const N: usize> {
    map: &'a M,
    data: [&'a [F]; N],
    y: &'a mut [F],
}

impl<M: Map<N>, F: Real, const N: usize> WithSimd for Elements<'_, M, F, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        const WIDTH: usize = 64;
        let Elements { map, data, y } = self;
        let (y, rest) = y.as_chunks_mut::<WIDTH>();
        let data = data.map(|x| x.as_chunks::<WIDTH>());
        for (c, y) in y.iter_mut().enumerate() {
            let data = data.map(|x| &x.0[c]);
            for i in 0..WIDTH {
                y[i] = map.f(data.map(|x| x[i]));
            }
        }
        for (i, y) in rest.iter_mut().enumerate() {
            *y = map.f(data.map(|x| x.1[i]));
        }
    }
}

/// The loop over operands that lie `strides` apart, 1 or 0.
struct Run<'a, M, F, const N: usize> {
    map: &'a M,
    data: [&'a [F]; N],
    strides: [isize; N],
    y: &'a mut [F],
}

impl<M: Map<N>, F: Real, const N: usize> WithSimd for Run<'_, M, F, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        const WIDTH: usize = 64;
        let Run { map, data, strides, y } = self;
        for (c, y) in y.chunks_mut(WIDTH).enumerate() {
            let mut block = [[F::zero(); WIDTH]; N];
            for n in 0..N {
                match strides[n] {
                    0 => block[n].fill(data[n][0]),
                    _ => block[n][..y.len()].copy_from_slice(&data[n][c * WIDTH..][..y.len()]),
                }
            }
            let mut made = [F::zero(); WIDTH];
            for i in 0..WIDTH {
                made[i] = map.f(std::array::from_fn(|n| block[n][i]));
            }
            y.copy_from_slice(&made[..y.len()]);
        }
    }
}

fn chunk_serial<F>(y: &mut [F], len: usize, chunk: impl Fn((usize, &mut [F]))) {
    y.chunks_mut(len).enumerate().for_each(chunk);
}

impl<M: Map<N>, const N: usize> Op for Pointwise<M, N> {
    cpu!();

    fn name(&self) -> &'static str {
        M::NAME
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        expect_dtypes(M::NAME, x, &[DType::F32; N])?;
        let mut y = Vec::new();
        for operand in x {
            y = shape::broadcast(&y, &operand.shape)
                .ok_or_else(|| shape_error(M::NAME, "extents are equal or 1, aligned at the last axis", x))?;
        }
        Ok(vec![Type::f32(y)])
    }

    fn launch(&self, _: Class, x: &[&Type], y: &[&Type]) -> Launches {
        const LANES: usize = 64;
        let len = y[0].count();
        let loops = Self::loops(std::array::from_fn(|n| x[n].shape.as_slice()), &y[0].shape);
        let broadcast = loops.extents.len() > 1 || loops.strides[0] != [1; N];
        let [p, q] = self.0.constants().map(|v| v as f32);
        let mut words = vec![word(len), p.to_bits(), q.to_bits(), word(loops.extents.len())];
        if N > 1 {
            words.extend(loop_words(&loops.extents, &loops.strides));
        }
        let mut launch = Launch::new(M::NAME, len.div_ceil(4 * LANES)).params(words);
        if N > 1 {
            let run = loops.extents.len() - 1;
            let apart = |i: usize, &stride: &isize| if i == run { stride == 0 || stride == 1 } else { stride % 4 == 0 };
            let alike = |n: usize| loops.strides.iter().enumerate().all(|(i, strides)| apart(i, &strides[n]));
            // What has one number for each run lies anywhere.
            let vec4s = loops.segment().is_multiple_of(4) && (0..N).all(|n| loops.strides[run][n] == 0 || alike(n));
            launch = launch.constant("BROADCAST", broadcast).constant("VEC4", vec4s);
        }
        launch.bind((0..N).map(Bind::In).chain([Bind::Out(0)])).into()
    }

    fn batched<'g>(&self, x: Stacked<'_, 'g>) -> Result<Option<Vec<Tensor<'g>>>> {
        let mut most = 0;
        for (&x, &stacked) in x.x.iter().zip(x.is) {
            most = most.max(rank(x, stacked)?);
        }
        let aligned = x.x.iter().zip(x.is).map(|(&x, &stacked)| if stacked { align(x, most) } else { Ok(x) });
        let own = aligned.collect::<Result<Vec<_>>>()?;
        own[0].graph().apply_all(self.clone(), &own).map(Some)
    }

    fn vjp<'g>(&self, at: At<'_, 'g>, ct: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        let Some(ct) = ct[0] else { return Ok(Some(vec![None; N])) };
        let x = std::array::from_fn(|i| at.x[i]);
        let term = |i: usize| self.0.slope(x, at.y[0], i, ct).map(|term| Ok(term.sum_to(x[i].shape()?))).transpose();
        (0..N).map(term).collect::<Result<_>>().map(Some)
    }

    fn jvp<'g>(&self, at: At<'_, 'g>, dx: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        let x = std::array::from_fn(|i| at.x[i]);
        let terms = (0..N).filter_map(|i| dx[i].and_then(|dx| self.0.slope(x, at.y[0], i, dx)));
        let shape = at.y[0].shape()?;
        Ok(Some(vec![terms.reduce(|sum, term| sum + term).map(|sum| sum.broadcast(shape))]))
    }
}

/// Calls a closure whose types this declares, inline, so that loops over it become vectors.
#[inline(always)]
pub(crate) fn call<M, F, const N: usize>(map: &M, x: [F; N], f: impl FnOnce(&M, [F; N]) -> F) -> F {
    f(map, x)
}

/// Declares a pointwise op: its map, its method on [`Tensor`], or its operator, and its cases.
macro_rules! pointwise {
    (
        $(#[$doc:meta])*
        $name:ident($first:ident $(, $arg:ident)* $(; $($con:ident),+)?): $map:ident, $n:literal,
        $f:expr,
        $slope:expr,
        order $order:literal,
        $cases:expr $(,)?
    ) => {
        $crate::ops::pointwise::map::map! {
            $name($($($con),+)?): $map, $n, $f, $slope
        }

        impl<'g> $crate::graph::tensor::Tensor<'g> {
            $(#[$doc])*
            ///
            /// Broken by operands that do not broadcast ([`Error::Shape`](crate::Error::Shape)).
            #[track_caller]
            pub fn $name(
                self
                $(, $arg: $crate::graph::tensor::Tensor<'g>)*
                $($(, $con: f64)+)?
            ) -> $crate::graph::tensor::Tensor<'g> {
                let op = $crate::ops::pointwise::map::Pointwise::<_, $n>($map { $($($con),+)? });
                let [y] = self.graph().apply(op, &[self $(, $arg)*]);
                y
            }
        }

        /// Its test cases.
        pub(crate) fn cases() -> Vec<$crate::graph::cases::TestCase> {
            $crate::graph::cases::pointwise::<$n>(stringify!($name), $order, $cases, |x| {
                let &[$first $(, $arg)*] = x else { unreachable!("the case gives its operands") };
                $first.$name($($arg,)* $($($crate::graph::cases::constant(stringify!($con))),+)?)
            })
        }
    };
    (
        $(#[$doc:meta])*
        operator $name:ident($first:ident $(, $arg:ident)?): $map:ident, $n:literal,
        $f:expr,
        $slope:expr,
        order $order:literal,
        $cases:expr $(,)?
    ) => {
        $crate::ops::pointwise::map::map! {
            $name(): $map, $n, $f, $slope
        }

        $(#[$doc])*
        ///
        /// Broken by operands that do not broadcast ([`Error::Shape`](crate::Error::Shape)).
        impl<'g> std::ops::$map for $crate::graph::tensor::Tensor<'g> {
            type Output = Self;

            #[track_caller]
            fn $name(self $(, $arg: Self)?) -> Self {
                let op = $crate::ops::pointwise::map::Pointwise::<_, $n>($map {});
                let [y] = self.graph().apply(op, &[self $(, $arg)?]);
                y
            }
        }

        /// Its test cases.
        pub(crate) fn cases() -> Vec<$crate::graph::cases::TestCase> {
            $crate::graph::cases::pointwise::<$n>(stringify!($name), $order, $cases, |x| {
                let &[$first $(, $arg)?] = x else { unreachable!("the case gives its operands") };
                std::ops::$map::$name($first $(, $arg)?)
            })
        }
    };
}
pub(crate) use pointwise;

/// Declares the map of a pointwise op.
macro_rules! map {
    ($name:ident($($con:ident),*): $map:ident, $n:literal, $f:expr, $slope:expr) => {
        #[doc = concat!("The map of the op `", stringify!($name), "`.")]
        #[derive(Debug, Clone)]
        pub struct $map { $(
            #[doc = concat!("`", stringify!($con), "`")]
            pub $con: f64,
        )* }

        /// Bit for bit: a zero is not its negative.
        impl PartialEq for $map {
            fn eq(&self, _other: &Self) -> bool {
                true $(&& self.$con.to_bits() == _other.$con.to_bits())*
            }
        }

        impl $crate::ops::pointwise::map::Map<$n> for $map {
            const NAME: &'static str = stringify!($name);

            fn constants(&self) -> [f64; 2] {
                #[allow(unused_mut, reason = "most maps have no constants")]
                let mut all = vec![$(self.$con),*];
                all.resize(2, 0.0);
                [all[0], all[1]]
            }

            #[inline(always)]
            fn f<F: $crate::cpu::float::Real>(&self, x: [F; $n]) -> F {
                $crate::ops::pointwise::map::call(self, x, $f)
            }

            fn slope<'g>(
                &self,
                x: [$crate::graph::tensor::Tensor<'g>; $n],
                y: $crate::graph::tensor::Tensor<'g>,
                i: usize,
                d: $crate::graph::tensor::Tensor<'g>,
            ) -> Option<$crate::graph::tensor::Tensor<'g>> {
                $crate::ops::pointwise::map::slope(self, x, y, i, d, $slope)
            }
        }
    };
}
pub(crate) use map;

/// Calls a closure whose types this declares.
pub(crate) fn slope<'g, M, const N: usize>(
    map: &M, x: [Tensor<'g>; N], y: Tensor<'g>, i: usize, d: Tensor<'g>,
    rule: impl FnOnce(&M, [Tensor<'g>; N], Tensor<'g>, usize, Tensor<'g>) -> Option<Tensor<'g>>,
) -> Option<Tensor<'g>> {
    rule(map, x, y, i, d)
}

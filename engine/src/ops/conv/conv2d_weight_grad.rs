//! The convolution's derivative by its weights.

use crate::{
    cpu::conv::winograd::Tiling,
    ops::{
        conv::{
            frame::{Direction, extents, flops, items, stacked_factors, steps, vmap_factors},
            trials::{factors, of_stacks, timed_geometries, tolerance, trial, trials, what},
        },
        matmul::{
            gemm::{self, LONGEST},
            variants::{Along, Product},
        },
        pointwise::operators::sum_terms,
    },
};
use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// The op of [`Tensor::conv2d_weight_grad`]; the compiler makes those of two terms.
#[derive(Debug, Clone, PartialEq)]
pub struct Conv2dWeightGrad {
    /// Stride, padding, dilation, groups.
    pub conv: Conv,
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Number of terms that are summed, 1 or 2.
    pub terms: usize,
}

impl Conv2dWeightGrad {
    fn geometry(&self, x: &[usize], ct: &[usize]) -> Option<Geometry> {
        let (x, ct) = (item(x, 4), item(ct, 4));
        let ([.., channels], [.., outs]) = (<[usize; 4]>::try_from(x).ok()?, <[usize; 4]>::try_from(ct).ok()?);
        let ci = channels.checked_div(self.conv.groups)?;
        let g = Geometry::new(self.conv, x, &[self.kernel[0], self.kernel[1], ci, outs])?;
        (g.y() == ct).then_some(g)
    }

    /// By loops for this float.
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>], loops: impl Fn(&Geometry, &[Term<F>], &mut [F])) {
        let g = self.geometry(x[0].shape(), x[1].shape()).expect("the shape rule held");
        loops(&g, &terms(x, self.terms, 4), y[0].floats_mut());
    }
}

impl Op for Conv2dWeightGrad {
    cpu!(Geometry::weight_grad_host, Geometry::weight_grad);

    fn name(&self) -> &'static str {
        "conv2d_weight_grad"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        gemm::expect_terms("conv2d_weight_grad", x, self.terms, false)?;
        let batch = batch_size("conv2d_weight_grad", x, 4)?;
        let g = self.geometry(&x[0].shape, &x[1].shape).ok_or_else(|| {
            let rule = format!("ct is a result of conv2d on x by a kernel {:?} ({:?})", self.kernel, self.conv);
            shape_error("conv2d_weight_grad", rule, x)
        })?;
        Ok(vec![Type::f32(stacked(batch, &g.w()))])
    }

    fn launch(&self, class: Class, x: &[&Type], y: &[&Type]) -> Launches {
        let g = self.geometry(&x[0].shape, &x[1].shape).expect("the shape rule held");
        let y = y[0];
        if g.is_depthwise() && g.out[1] * self.terms <= LONGEST {
            return g.launch_depthwise_weight_grad(class, (items(y), &steps(x, self.terms)));
        }
        let stacks = stacked_factors(x, self.terms);
        let tiled = Tiling::new(&g).and_then(|t| t.launch_weight_grad(class, [g.n, items(y)], &stacks));
        if let Some(launches) = tiled {
            return launches;
        }
        let (m, n, k) = (g.taps() * g.ci, g.co, g.rows());
        let (along, vec4s) = ([Along::Other; 2], [g.ci, g.co].map(|channels| channels.is_multiple_of(4)));
        let unit = if k.is_multiple_of(4) { 4 } else { 1 };
        let direction = Direction {
            g: &g,
            x,
            y,
            terms: self.terms,
            bias: None,
            kernels: ["conv2d_weight_grad", "conv2d_weight_grad_tiles", "conv2d_weight_grad_subgroup"],
            product: Product { m, n, k, batches: items(y) * g.conv.groups, along, vec4s, unit },
        };
        direction.of_pixels(class).unwrap_or_else(|| direction.launches(class))
    }

    fn flops(&self, x: &[&Type], y: &[&Type]) -> u64 {
        flops(self.geometry(&x[0].shape, &x[1].shape), self.terms, y[0])
    }

    fn batched<'g>(&self, x: Stacked<'_, 'g>) -> Result<Option<Vec<Tensor<'g>>>> {
        vmap_factors(self, x, 2 * self.terms)
    }

    fn vjp<'g>(&self, at: At<'_, 'g>, ct: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        gemm::expect_plain("conv2d_weight_grad", "vjp", self.terms, false)?;
        let Some(u) = ct[0] else { return Ok(Some(vec![None; 2])) };
        let (x, ct) = (at.x[0], at.x[1]);
        let [_, height, width, _] = extents(x)?;
        let dx = ct.conv2d_input_grad(u, self.conv, [height, width]);
        let dct = x.conv2d(u, self.conv);
        Ok(Some(vec![Some(dx.sum_to(x.shape()?)), Some(dct.sum_to(ct.shape()?))]))
    }

    fn jvp<'g>(&self, at: At<'_, 'g>, dx: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        gemm::expect_plain("conv2d_weight_grad", "jvp", self.terms, false)?;
        let of_x = dx[0].map(|dx| dx.conv2d_weight_grad(at.x[1], self.conv, self.kernel));
        let of_ct = dx[1].map(|dct| at.x[0].conv2d_weight_grad(dct, self.conv, self.kernel));
        Ok(Some(vec![sum_terms([of_x, of_ct])]))
    }
}

impl<'g> Tensor<'g> {
    /// The cotangent of `w` in [`Tensor::conv2d`] from `x` and that of `y`; `kernel` is the height and width of `w`.
    ///
    /// | | shape |
    /// |---|---|
    /// | x | `[n, height, width, groups·ci]` |
    /// | ct | that of the convolution's result |
    /// | y | `[kernel height, kernel width, ci, groups·co]` |
    ///
    /// x and ct may be stacks, as in [`Tensor::conv2d`].
    ///
    /// Broken by a ct that is not a result of that convolution ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn conv2d_weight_grad(self, ct: Tensor<'g>, conv: Conv, kernel: [usize; 2]) -> Tensor<'g> {
        self.apply2(Conv2dWeightGrad { conv, kernel, terms: 1 }, ct)
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    let mut all = Vec::new();
    for (g, batches) in trials() {
        let tolerance = tolerance(&g).max(if batches == [None; 2] { 0.0 } else { 2e-6 });
        for terms in [1, 2] {
            let what = format!("{} {terms}{}", what("conv2d_weight_grad", &g), of_stacks(batches));
            let op = Conv2dWeightGrad { conv: g.conv, kernel: g.kernel, terms };
            all.push(trial(what, factors([g.x(), g.y()], batches, terms), op, tolerance, terms == 1));
        }
    }
    all
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<TestCase> {
    let case = |(what, g, tolerance): (String, Geometry, f64)| {
        let x = vec![unit(&g.x()), unit(&g.y())];
        let case = TestCase::one(what, x, move |x| x[0].conv2d_weight_grad(x[1], g.conv, g.kernel));
        // Sums over the pixels of all images are long.
        case.tolerance(tolerance.max(1e-5))
    };
    timed_geometries().into_iter().map(case).collect()
}

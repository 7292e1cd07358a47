//! The convolution's derivative by its weights.

use crate::ops::conv::conv2d::{
    at_once, factors, geometries, members, of_pixels, on_stacks, stacked_factors, stacks, steps, tolerance, words,
};
use crate::{
    cpu::{
        buffer::{Operand, OutMut},
        conv::winograd::Tiling,
        float::Real,
        stack::{Term, terms},
    },
    error::Result,
    graph::{
        graph::{Graph, Var},
        op::{At, Op, cpu},
    },
    launch::{launch::Launches, target::Class},
    ops::matmul::gemm::{self, Along, Kernels, Product},
    tensor::{
        dtype::{Type, shape_error},
        geometry::{Conv, Geometry},
        stack::{height, member, stacked},
    },
    testing::cases::{Case, unit},
};

/// The op of [`Graph::conv2d_weight_grad`]; the compiler makes those of two terms.
#[derive(Debug, Clone)]
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
        let (x, ct) = (member(x, 4), member(ct, 4));
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
        let height = height("conv2d_weight_grad", x, 4)?;
        let rule = || {
            let rule = format!("ct is a result of conv2d on x by a kernel {:?} ({:?})", self.kernel, self.conv);
            shape_error("conv2d_weight_grad", rule, x)
        };
        let g = self.geometry(&x[0].shape, &x[1].shape).ok_or_else(rule)?;
        Ok(vec![Type::f32(stacked(height, &g.w()))])
    }

    fn launch(&self, class: Class, x: &[&Type], y: &[&Type]) -> Launches {
        let g = self.geometry(&x[0].shape, &x[1].shape).expect("the shape rule held");
        if g.is_depthwise() {
            return g.launch_depthwise_weight_grad(class, (members(y[0]), &steps(x, self.terms)));
        }
        let stacks = stacked_factors(x, self.terms);
        let tiled = Tiling::new(&g).and_then(|t| t.launch_weight_grad(class, [g.n, members(y[0])], &stacks));
        if let Some(launches) = tiled {
            return launches;
        }
        let (m, n, k) = (g.kernel[0] * g.kernel[1] * g.ci, g.co, g.rows());
        let strides = [[1, m], [n, 1]];
        if let Some(launches) = of_pixels(class, &g, (x, y[0], self.terms, false), [m, n, k], strides) {
            return launches;
        }
        let fours = [g.ci, g.co].map(|channels| channels.is_multiple_of(4));
        let kernels = Kernels {
            names: ["conv2d_weight_grad", "conv2d_weight_grad_tiles"],
            lanes: Some("conv2d_weight_grad_lanes"),
            words: &words(&g, y[0]),
            terms: &steps(x, self.terms),
            bias: None,
        };
        let batches = members(y[0]) * self.conv.groups;
        let unit = if k.is_multiple_of(4) { 4 } else { 1 };
        let product = Product { m, n, k, batches, along: [Along::Other; 2], fours, unit };
        on_stacks(product.launches(class, kernels), y[0])
    }

    fn flops(&self, x: &[&Type], y: &[&Type]) -> u64 {
        let of_one = self.geometry(&x[0].shape, &x[1].shape).map_or(0, |g| g.flops());
        (self.terms * members(y[0])) as u64 * of_one
    }

    fn batched(&self, g: &mut Graph, x: crate::graph::op::Stacked) -> Result<Option<Vec<Var>>> {
        at_once(self, g, x, 2 * self.terms)
    }

    fn vjp(&self, g: &mut Graph, at: At, ct: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        gemm::expect_plain("conv2d_weight_grad", "vjp", self.terms, false)?;
        let Some(u) = ct[0] else { return Ok(vec![None; 2]) };
        let [x, ct] = [0, 1].map(|i| g.shape(at.x[i]).to_vec());
        let size = member(&x, 4);
        let dx = g.conv2d_input_grad(at.x[1], u, self.conv, [size[1], size[2]])?;
        let dct = g.conv2d(at.x[0], u, self.conv)?;
        Ok(vec![Some(g.sum_to(dx, &x)?), Some(g.sum_to(dct, &ct)?)])
    }

    fn jvp(&self, g: &mut Graph, at: At, dx: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        gemm::expect_plain("conv2d_weight_grad", "jvp", self.terms, false)?;
        let left = dx[0].map(|dx| g.conv2d_weight_grad(dx, at.x[1], self.conv, self.kernel)).transpose()?;
        let right = dx[1].map(|dct| g.conv2d_weight_grad(at.x[0], dct, self.conv, self.kernel)).transpose()?;
        Ok(vec![crate::ops::pointwise::add::sum_terms(g, left, right)?])
    }
}

impl Graph {
    /// The cotangent of `w` in [`Graph::conv2d`] from that of `y`; `kernel` is the height and width of `w`.
    ///
    /// | | shape |
    /// |---|---|
    /// | x | `[n, height, width, groups·ci]` |
    /// | ct | that of the convolution's result |
    /// | y | `[kernel height, kernel width, ci, groups·co]` |
    ///
    /// x and ct may be stacks, as in [`Graph::conv2d`].
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) when `ct` is not a result of that convolution.
    pub fn conv2d_weight_grad(&mut self, x: Var, ct: Var, conv: Conv, kernel: [usize; 2]) -> Result<Var> {
        self.apply(Conv2dWeightGrad { conv, kernel, terms: 1 }, &[x, ct])
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for (x, w, conv) in geometries() {
        let g = Geometry::new(conv, &x, &w).expect("a list of fitting shapes");
        for terms in [1, 2] {
            let operands = vec![unit(&x), unit(&g.y()), unit(&x), unit(&g.y())][..2 * terms].to_vec();
            let op = Conv2dWeightGrad { conv, kernel: g.kernel, terms };
            let what = format!("conv2d_weight_grad {x:?} {w:?} {conv:?} {terms}");
            let case = Case::new(what, operands, move |g, x| g.apply_all(op.clone(), x));
            all.push(case.tolerance(tolerance(&g)).order(if terms == 1 { 2 } else { 0 }));
        }
    }
    for ((x, w, conv), heights @ [a, b]) in stacks() {
        let g = Geometry::new(conv, &x, &w).expect("a list of fitting shapes");
        for terms in [1, 2] {
            let operands = [factors([&x, &g.y()], [a, b]), factors([&x, &g.y()], [b, a])][..terms].concat();
            let op = Conv2dWeightGrad { conv, kernel: g.kernel, terms };
            let what = format!("conv2d_weight_grad {x:?} {w:?} {conv:?} {terms}, stacks {heights:?}");
            let case = Case::new(what, operands, move |g, x| g.apply_all(op.clone(), x));
            all.push(case.tolerance(tolerance(&g).max(2e-6)).order(if terms == 1 { 2 } else { 0 }));
        }
    }
    all
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<Case> {
    let case = |(what, (x, w, conv), tolerance): (String, super::conv2d::Shapes, f64)| {
        let y = Geometry::new(conv, &x, &w).expect("a list of fitting shapes").y();
        Case::new(what, vec![unit(&x), unit(&y)], move |g, v| {
            Ok(vec![g.conv2d_weight_grad(v[0], v[1], conv, [w[0], w[1]])?])
        })
        // Sums over the pixels of all images are long.
        .tolerance(tolerance.max(1e-5))
    };
    super::conv2d::timed_geometries().into_iter().map(case).collect()
}

//! The convolution's derivative by its input: the transposed convolution.

use super::conv2d::geometries;
use crate::{
    At, Case, Class, Conv, Geometry, Graph, Launches, Op, Operand, OutMut, Real, Result, Type, Var,
    case::unit,
    gemm::{self, Along, Kernels, Product},
    op::{cpu, shape_error},
};

/// The op of [`Graph::conv2d_input_grad`]; the compiler makes those of two terms.
#[derive(Debug, Clone)]
pub struct Conv2dInputGrad {
    /// Stride, padding, dilation, groups.
    pub conv: Conv,
    /// Height and width of the convolution's input.
    pub size: [usize; 2],
    /// Number of terms that are summed, 1 or 2.
    pub terms: usize,
}

impl Conv2dInputGrad {
    fn geometry(&self, ct: &[usize], w: &[usize]) -> Option<Geometry> {
        let ([n, ..], [_, _, ci, _]) = (<[usize; 4]>::try_from(ct).ok()?, <[usize; 4]>::try_from(w).ok()?);
        let g = Geometry::new(self.conv, &[n, self.size[0], self.size[1], ci * self.conv.groups], w)?;
        (g.y() == ct).then_some(g)
    }

    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let g = self.geometry(x[0].shape(), x[1].shape()).expect("the shape rule held");
        let y = y[0].floats_mut();
        y.fill(F::zero());
        let terms: Vec<_> = x.chunks_exact(2).map(|t| (t[0].floats(), t[1].floats())).collect();
        g.input_grad(&terms, y);
    }
}

impl Op for Conv2dInputGrad {
    cpu!();

    fn name(&self) -> &'static str {
        "conv2d_input_grad"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        gemm::expect_terms("conv2d_input_grad", x, self.terms, false)?;
        let rule = || {
            let rule = format!("ct is a result of conv2d on {:?} by w ({:?})", self.size, self.conv);
            shape_error("conv2d_input_grad", rule, x)
        };
        let g = self.geometry(&x[0].shape, &x[1].shape).ok_or_else(rule)?;
        Ok(vec![Type::f32(g.x())])
    }

    fn launch(&self, class: Class, x: &[&Type], _: &[&Type]) -> Launches {
        let g = self.geometry(&x[0].shape, &x[1].shape).expect("the shape rule held");
        let (m, n, k) = (g.n * g.size[0] * g.size[1], g.ci, g.kernel[0] * g.kernel[1] * g.co);
        let kernels = Kernels {
            names: ["conv2d_input_grad", "conv2d_input_grad_tiles"],
            words: &g.words(),
            terms: self.terms,
            bias: None,
        };
        let (along, fours, batches) = ([Along::K; 2], [g.co.is_multiple_of(4); 2], self.conv.groups);
        let product = Product { m, n, k, batches, along, fours, unit: g.co };
        if class == Class::Gpu {
            return product.launches(class, kernels);
        }
        let stride = self.conv.stride;
        let phases = [0, 1].map(|axis| if g.size[axis].is_multiple_of(stride[axis]) { stride[axis] } else { 1 });
        let count = phases[0] * phases[1];
        let mut launches = Product { m: m / count, batches: batches * count, ..product }.launches(class, kernels);
        let strides = ["STRIDE_Y", "STRIDE_X"].into_iter().zip(stride);
        let constants = strides.chain(["PHASES_Y", "PHASES_X"].into_iter().zip(phases));
        for launch in &mut launches.list[..self.terms] {
            launch.constants.extend(constants.clone().map(|(name, value)| (name, value as f64)));
        }
        launches
    }

    fn flops(&self, x: &[&Type], _: &[&Type]) -> u64 {
        self.geometry(&x[0].shape, &x[1].shape).map_or(0, |g| self.terms as u64 * g.flops())
    }

    fn batched(&self, g: &mut Graph, x: crate::Stacked) -> Result<Option<Vec<Var>>> {
        match x.is {
            [true, false] if self.terms == 1 => {
                let cts = g.fold_stack(x.x[0], 0)?;
                let y = g.conv2d_input_grad(cts, x.x[1], self.conv, self.size)?;
                Ok(Some(vec![g.unfold_stack(y, 0, x.k)?]))
            }
            [false, true] if self.terms == 1 && self.conv.groups == 1 => {
                let weights = g.fold_stack(x.x[1], 2)?;
                let y = g.conv2d_input_grad(x.x[0], weights, self.conv, self.size)?;
                Ok(Some(vec![g.unfold_stack(y, 3, x.k)?]))
            }
            _ => Ok(None),
        }
    }

    fn vjp(&self, g: &mut Graph, at: At, ct: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        gemm::expect_plain("conv2d_input_grad", "vjp", self.terms, false)?;
        let Some(u) = ct[0] else { return Ok(vec![None; 2]) };
        let kernel = [g.shape(at.x[1])[0], g.shape(at.x[1])[1]];
        Ok(vec![Some(g.conv2d(u, at.x[1], self.conv)?), Some(g.conv2d_weight_grad(u, at.x[0], self.conv, kernel)?)])
    }

    fn jvp(&self, g: &mut Graph, at: At, dx: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        gemm::expect_plain("conv2d_input_grad", "jvp", self.terms, false)?;
        let left = dx[0].map(|dct| g.conv2d_input_grad(dct, at.x[1], self.conv, self.size)).transpose()?;
        let right = dx[1].map(|dw| g.conv2d_input_grad(at.x[0], dw, self.conv, self.size)).transpose()?;
        Ok(vec![super::sum_terms(g, left, right)?])
    }
}

impl Graph {
    /// The cotangent of `x` in [`Graph::conv2d`] from that of `y`; `size` is the height and width of `x`.
    ///
    /// | | shape |
    /// |---|---|
    /// | ct | that of the convolution's result |
    /// | w | `[kernel height, kernel width, ci, groups·co]` |
    /// | y | `[n, height, width, groups·ci]` |
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) when `ct` is not a result of that convolution.
    pub fn conv2d_input_grad(&mut self, ct: Var, w: Var, conv: Conv, size: [usize; 2]) -> Result<Var> {
        self.apply(Conv2dInputGrad { conv, size, terms: 1 }, &[ct, w])
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for (x, w, conv) in geometries() {
        let g = Geometry::new(conv, &x, &w).expect("a list of fitting shapes");
        for terms in [1, 2] {
            let operands = vec![unit(&g.y()), unit(&w), unit(&g.y()), unit(&w)][..2 * terms].to_vec();
            let op = Conv2dInputGrad { conv, size: g.size, terms };
            let what = format!("conv2d_input_grad {x:?} {w:?} {conv:?} {terms}");
            let case = Case::new(what, operands, move |g, x| g.apply_all(op.clone(), x));
            all.push(case.order(if terms == 1 { 2 } else { 0 }));
        }
    }
    all
}

//! The convolution's derivative by its input: the transposed convolution.

use crate::ops::conv::conv2d::{
    at_once, expect_ends, factors, geometries, members, of_pixels, on_stacks, stacked_factors, stacks, steps,
    tolerance, words,
};
use crate::{
    cpu::{
        buffer::{Operand, OutMut},
        conv::winograd::Tiling,
        epilogue::Finish,
        float::Real,
        stack::{Stack, Term, terms},
    },
    error::Result,
    graph::{
        graph::{Graph, Var},
        op::{At, Op, cpu},
    },
    launch::{launch::Launches, target::Class},
    ops::{
        conv::{epilogue::Endings, phases, winograd::Ends},
        matmul::gemm::{self, Along, Kernels, Product},
    },
    tensor::{
        dtype::{Type, shape_error},
        geometry::{Conv, Geometry},
        stack::{height, member, stacked},
    },
    testing::cases::{Case, Sample, unit},
};

/// The op of [`Graph::conv2d_input_grad`]; the compiler makes those of two terms, with a residual or a gate.
#[derive(Debug, Clone)]
pub struct Conv2dInputGrad {
    /// Stride, padding, dilation, groups.
    pub conv: Conv,
    /// Height and width of the convolution's input.
    pub size: [usize; 2],
    /// Number of terms that are summed, 1 or 2.
    pub terms: usize,
    /// Whether an operand like the result is added.
    pub residual: bool,
    /// Whether a last operand like a single result makes it zero where it is not positive.
    pub gate: bool,
}

impl Conv2dInputGrad {
    fn geometry(&self, ct: &[usize], w: &[usize]) -> Option<Geometry> {
        let (ct, w) = (member(ct, 4), member(w, 4));
        let ([n, ..], [_, _, ci, _]) = (<[usize; 4]>::try_from(ct).ok()?, <[usize; 4]>::try_from(w).ok()?);
        let g = Geometry::new(self.conv, &[n, self.size[0], self.size[1], ci * self.conv.groups], w)?;
        (g.y() == ct).then_some(g)
    }

    /// By loops for this float.
    fn eval<F: Real>(
        &self,
        x: &[Operand<F>],
        y: &mut [OutMut<F>],
        loops: impl Fn(&Geometry, &[Term<F>], Finish<F>, &mut [F]),
    ) {
        let g = self.geometry(x[0].shape(), x[1].shape()).expect("the shape rule held");
        let finish = Finish {
            residual: self.residual().map(|i| Stack::new(&x[i], 4)),
            gate: self.gate.then(|| x[x.len() - 1].floats()),
            relu: false,
        };
        loops(&g, &terms(x, self.terms, 4), finish, y[0].floats_mut());
    }

    fn residual(&self) -> Option<usize> {
        self.residual.then_some(2 * self.terms)
    }

    fn gated(&self) -> Option<usize> {
        self.gate.then_some(2 * self.terms + usize::from(self.residual))
    }

    /// One term, and nothing after it.
    pub(crate) fn is_plain(&self) -> bool {
        self.terms == 1 && !self.has_ends()
    }

    fn has_ends(&self) -> bool {
        self.residual || self.gate
    }
}

impl Op for Conv2dInputGrad {
    cpu!(Geometry::input_grad_host, Geometry::input_grad);

    fn name(&self) -> &'static str {
        "conv2d_input_grad"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        let (factors, ends) = x.split_at(x.len().min(2 * self.terms));
        gemm::expect_terms("conv2d_input_grad", factors, self.terms, false)?;
        let height = height("conv2d_input_grad", factors, 4)?;
        let rule = || {
            let rule = format!("ct is a result of conv2d on {:?} by w ({:?})", self.size, self.conv);
            shape_error("conv2d_input_grad", rule, x)
        };
        let g = self.geometry(&x[0].shape, &x[1].shape).ok_or_else(rule)?;
        let y = Type::f32(stacked(height, &g.x()));
        expect_ends("conv2d_input_grad", x, ends, [self.residual, self.gate], &y)?;
        Ok(vec![y])
    }

    fn launch(&self, class: Class, x: &[&Type], y: &[&Type]) -> Launches {
        let g = self.geometry(&x[0].shape, &x[1].shape).expect("the shape rule held");
        let endings = Endings { residual: self.residual(), gate: self.gated(), relu: false };
        let ends = Ends { bias: None, endings };
        if g.is_depthwise() {
            return g.launch_depthwise_input_grad(class, (members(y[0]), &steps(x, self.terms)), endings);
        }
        let tiling = Tiling::new(&g).map(Tiling::reversed).filter(Tiling::is_full);
        let stacks = stacked_factors(x, self.terms);
        if let Some(launches) = tiling.and_then(|t| t.launch(class, [g.n, members(y[0])], &stacks, true, ends)) {
            return launches;
        }
        let (m, n, k) = (g.n * g.size[0] * g.size[1], g.ci, g.kernel[0] * g.kernel[1] * g.co);
        let len = [y[0].count() / members(y[0]), members(y[0])];
        let finish = endings.launch(len);
        let strides = [[k, 1], [1, k]];
        let finished = |mut launches: Launches| {
            launches.list.extend(finish);
            launches
        };
        if let Some(launches) = of_pixels(class, &g, (x, y[0], self.terms, false), [m, n, k], strides) {
            return finished(launches);
        }
        let kernels = Kernels {
            names: ["conv2d_input_grad", "conv2d_input_grad_tiles"],
            lanes: Some("conv2d_input_grad_lanes"),
            words: &words(&g, y[0]),
            terms: &steps(x, self.terms),
            bias: None,
        };
        let (along, fours) = ([Along::K; 2], [g.co.is_multiple_of(4); 2]);
        let batches = members(y[0]) * self.conv.groups;
        let [pixels, taps] = phases::largest(&g);
        let product = Product { m: pixels, n, k: taps * g.co, batches, along, fours, unit: g.co };
        let launches = product.launches_among(class, kernels, y[0].count());
        finished(phases::launches(&g, on_stacks(launches, y[0])))
    }

    fn flops(&self, x: &[&Type], y: &[&Type]) -> u64 {
        let of_one = self.geometry(&x[0].shape, &x[1].shape).map_or(0, |g| g.flops());
        (self.terms * members(y[0])) as u64 * of_one
    }

    fn batched(&self, g: &mut Graph, x: crate::graph::op::Stacked) -> Result<Option<Vec<Var>>> {
        // Graphs are made of those without.
        if self.has_ends() { Ok(None) } else { at_once(self, g, x, 2 * self.terms) }
    }

    fn vjp(&self, g: &mut Graph, at: At, ct: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        gemm::expect_plain("conv2d_input_grad", "vjp", self.terms, self.has_ends())?;
        let Some(u) = ct[0] else { return Ok(vec![None; 2]) };
        let [ct, w] = [0, 1].map(|i| g.shape(at.x[i]).to_vec());
        let kernel = member(&w, 4);
        let dct = g.conv2d(u, at.x[1], self.conv)?;
        let dw = g.conv2d_weight_grad(u, at.x[0], self.conv, [kernel[0], kernel[1]])?;
        Ok(vec![Some(g.sum_to(dct, &ct)?), Some(g.sum_to(dw, &w)?)])
    }

    fn jvp(&self, g: &mut Graph, at: At, dx: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        gemm::expect_plain("conv2d_input_grad", "jvp", self.terms, self.has_ends())?;
        let left = dx[0].map(|dct| g.conv2d_input_grad(dct, at.x[1], self.conv, self.size)).transpose()?;
        let right = dx[1].map(|dw| g.conv2d_input_grad(at.x[0], dw, self.conv, self.size)).transpose()?;
        Ok(vec![crate::ops::pointwise::add::sum_terms(g, left, right)?])
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
    /// ct and w may be stacks, as in [`Graph::conv2d`].
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) when `ct` is not a result of that convolution.
    pub fn conv2d_input_grad(&mut self, ct: Var, w: Var, conv: Conv, size: [usize; 2]) -> Result<Var> {
        self.apply(Conv2dInputGrad { conv, size, terms: 1, residual: false, gate: false }, &[ct, w])
    }
}

/// The case of an op with a residual or a gate added to it.
fn ending(
    op: &Conv2dInputGrad,
    g: &Geometry,
    height: Option<usize>,
    (what, x): (&str, &[Sample]),
    [residual, gate]: [bool; 2],
) -> Case {
    let mut x = x.to_vec();
    x.extend(residual.then(|| unit(&stacked(height, &g.x()))));
    x.extend(gate.then(|| unit(&g.x())));
    let op = Conv2dInputGrad { residual, gate, ..op.clone() };
    let case = Case::new(format!("{what}, {residual} {gate}"), x, move |g, x| g.apply_all(op.clone(), x));
    case.tolerance(tolerance(g)).order(0)
}

/// Its test cases.
pub(crate) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for (x, w, conv) in geometries() {
        let g = Geometry::new(conv, &x, &w).expect("a list of fitting shapes");
        for terms in [1, 2] {
            let operands = vec![unit(&g.y()), unit(&w), unit(&g.y()), unit(&w)][..2 * terms].to_vec();
            let op = Conv2dInputGrad { conv, size: g.size, terms, residual: false, gate: false };
            let what = format!("conv2d_input_grad {x:?} {w:?} {conv:?} {terms}");
            all.push(ending(&op, &g, None, (&what, &operands), [terms == 1, true]));
            let case = Case::new(what, operands, move |g, x| g.apply_all(op.clone(), x));
            all.push(case.tolerance(tolerance(&g)).order(if terms == 1 { 2 } else { 0 }));
        }
    }
    for ((x, w, conv), heights @ [a, b]) in stacks() {
        let g = Geometry::new(conv, &x, &w).expect("a list of fitting shapes");
        for terms in [1, 2] {
            let operands = [factors([&g.y(), &w], [a, b]), factors([&g.y(), &w], [b, a])][..terms].concat();
            let op = Conv2dInputGrad { conv, size: g.size, terms, residual: false, gate: false };
            let what = format!("conv2d_input_grad {x:?} {w:?} {conv:?} {terms}, stacks {heights:?}");
            if g.x().iter().product::<usize>().is_multiple_of(4) {
                all.push(ending(&op, &g, a.or(b), (&what, &operands), [true, terms == 1]));
            }
            let case = Case::new(what, operands, move |g, x| g.apply_all(op.clone(), x));
            all.push(case.tolerance(tolerance(&g)).order(if terms == 1 { 2 } else { 0 }));
        }
    }
    all
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<Case> {
    let case = |(what, (x, w, conv), tolerance): (String, super::conv2d::Shapes, f64)| {
        let y = Geometry::new(conv, &x, &w).expect("a list of fitting shapes").y();
        Case::new(what, vec![unit(&y), unit(&w)], move |g, v| {
            Ok(vec![g.conv2d_input_grad(v[0], v[1], conv, [x[1], x[2]])?])
        })
        .tolerance(tolerance.max(2e-6))
    };
    super::conv2d::timed_geometries().into_iter().map(case).collect()
}

//! The convolution's derivative by its input: the transposed convolution.

use crate::{
    cpu::conv::winograd::Tiling,
    ops::{
        conv::{
            epilogue::EpilogueOperands,
            frame::{Direction, extents, flops, items, stacked_factors, steps, vmap_factors},
            phases,
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

/// The op of [`Tensor::conv2d_input_grad`]; the compiler makes those of two terms, with a residual or a ReLU mask.
#[derive(Debug, Clone, PartialEq)]
pub struct Conv2dInputGrad {
    /// Stride, padding, dilation, groups.
    pub conv: Conv,
    /// Height and width of the convolution's input.
    pub size: [usize; 2],
    /// Number of terms that are summed, 1 or 2.
    pub terms: usize,
    /// Whether an operand like the result is added.
    pub residual: bool,
    /// Whether a last operand like a single result makes it zero where it is zero or less: a ReLU mask.
    pub mask: bool,
}

impl Conv2dInputGrad {
    fn geometry(&self, ct: &[usize], w: &[usize]) -> Option<Geometry> {
        let (ct, w) = (item(ct, 4), item(w, 4));
        let ([n, ..], [_, _, ci, _]) = (<[usize; 4]>::try_from(ct).ok()?, <[usize; 4]>::try_from(w).ok()?);
        let g = Geometry::new(self.conv, &[n, self.size[0], self.size[1], ci * self.conv.groups], w)?;
        (g.y() == ct).then_some(g)
    }

    fn epilogue(&self) -> EpilogueOperands {
        EpilogueOperands::new(2 * self.terms, [false, self.residual, self.mask], false)
    }

    /// By loops for this float.
    fn eval<F: Real>(
        &self, x: &[Operand<F>], y: &mut [OutMut<F>], loops: impl Fn(&Geometry, &[Term<F>], Epilogue<F>, &mut [F]),
    ) {
        let g = self.geometry(x[0].shape(), x[1].shape()).expect("the shape rule held");
        loops(&g, &terms(x, self.terms, 4), self.epilogue().on_cpu(x), y[0].floats_mut());
    }

    /// One term, and nothing after it.
    pub(crate) fn is_plain(&self) -> bool {
        self.terms == 1 && !self.has_epilogue()
    }

    fn has_epilogue(&self) -> bool {
        self.residual || self.mask
    }
}

impl Op for Conv2dInputGrad {
    cpu!(Geometry::input_grad_host, Geometry::input_grad);

    fn name(&self) -> &'static str {
        "conv2d_input_grad"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        let (factors, others) = x.split_at(x.len().min(2 * self.terms));
        gemm::expect_terms("conv2d_input_grad", factors, self.terms, false)?;
        let batch = batch_size("conv2d_input_grad", factors, 4)?;
        let g = self.geometry(&x[0].shape, &x[1].shape).ok_or_else(|| {
            let rule = format!("ct is a result of conv2d on {:?} by w ({:?})", self.size, self.conv);
            shape_error("conv2d_input_grad", rule, x)
        })?;
        let y = Type::f32(stacked(batch, &g.x()));
        self.epilogue().expect("conv2d_input_grad", x, others, &y)?;
        Ok(vec![y])
    }

    fn launch(&self, class: Class, x: &[&Type], y: &[&Type]) -> Launches {
        let g = self.geometry(&x[0].shape, &x[1].shape).expect("the shape rule held");
        let (epilogue, y) = (self.epilogue(), y[0]);
        if g.is_depthwise() && g.taps() * g.co <= LONGEST {
            return g.launch_depthwise_input_grad(class, (items(y), &steps(x, self.terms)), epilogue);
        }
        let tiling = Tiling::new(&g).map(Tiling::reversed).filter(Tiling::is_full);
        let stacks = stacked_factors(x, self.terms);
        if let Some(launches) = tiling.and_then(|t| t.launch(class, [g.n, items(y)], &stacks, true, epilogue)) {
            return launches;
        }
        let [pixels, taps] = phases::largest(&g);
        let (along, vec4s) = ([Along::K; 2], [g.co.is_multiple_of(4); 2]);
        let batches = items(y) * g.conv.groups;
        let direction = Direction {
            g: &g,
            x,
            y,
            terms: self.terms,
            bias: None,
            kernels: ["conv2d_input_grad", "conv2d_input_grad_tiles", "conv2d_input_grad_subgroup"],
            product: Product { m: pixels, n: g.ci, k: taps * g.co, batches, along, vec4s, unit: g.co },
        };
        let in_phases = || phases::launches(class, &direction);
        epilogue.after(direction.of_pixels(class).unwrap_or_else(in_phases), y)
    }

    fn flops(&self, x: &[&Type], y: &[&Type]) -> u64 {
        flops(self.geometry(&x[0].shape, &x[1].shape), self.terms, y[0])
    }

    fn batched<'g>(&self, x: Stacked<'_, 'g>) -> Result<Option<Vec<Tensor<'g>>>> {
        // Graphs are made of those without an epilogue.
        if self.has_epilogue() { Ok(None) } else { vmap_factors(self, x, 2 * self.terms) }
    }

    fn vjp<'g>(&self, at: At<'_, 'g>, ct: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        gemm::expect_plain("conv2d_input_grad", "vjp", self.terms, self.has_epilogue())?;
        let Some(u) = ct[0] else { return Ok(Some(vec![None; 2])) };
        let (ct, w) = (at.x[0], at.x[1]);
        let [down, across, ..] = extents(w)?;
        let dct = u.conv2d(w, self.conv);
        let dw = u.conv2d_weight_grad(ct, self.conv, [down, across]);
        Ok(Some(vec![Some(dct.sum_to(ct.shape()?)), Some(dw.sum_to(w.shape()?))]))
    }

    fn jvp<'g>(&self, at: At<'_, 'g>, dx: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        gemm::expect_plain("conv2d_input_grad", "jvp", self.terms, self.has_epilogue())?;
        let of_ct = dx[0].map(|dct| dct.conv2d_input_grad(at.x[1], self.conv, self.size));
        let of_w = dx[1].map(|dw| at.x[0].conv2d_input_grad(dw, self.conv, self.size));
        Ok(Some(vec![sum_terms([of_ct, of_w])]))
    }
}

impl<'g> Tensor<'g> {
    /// Of the cotangent ct of `y` in [`Tensor::conv2d`] that of `x`; `size` is the height and width of `x`.
    ///
    /// | | shape |
    /// |---|---|
    /// | ct | that of the convolution's result |
    /// | w | `[kernel height, kernel width, ci, groups·co]` |
    /// | y | `[n, height, width, groups·ci]` |
    ///
    /// ct and w may be stacks, as in [`Tensor::conv2d`].
    ///
    /// Broken by a ct that is not a result of that convolution ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn conv2d_input_grad(self, w: Tensor<'g>, conv: Conv, size: [usize; 2]) -> Tensor<'g> {
        self.apply2(Conv2dInputGrad { conv, size, terms: 1, residual: false, mask: false }, w)
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    let mut all = Vec::new();
    for (g, batches) in trials() {
        for terms in [1, 2] {
            let what = format!("{} {terms}{}", what("conv2d_input_grad", &g), of_stacks(batches));
            let mut x = factors([g.y(), g.w()], batches, terms);
            let op = Conv2dInputGrad { conv: g.conv, size: g.size, terms, residual: false, mask: false };
            all.push(trial(what.clone(), x.clone(), op.clone(), tolerance(&g), terms == 1));
            let batch = batches[0].or(batches[1]);
            let [residual, mask] = if batch.is_some() { [true, terms == 1] } else { [terms == 1, true] };
            if batch.is_none() || g.x().iter().product::<usize>().is_multiple_of(4) {
                x.extend(residual.then(|| unit(&stacked(batch, &g.x()))));
                x.extend(mask.then(|| unit(&g.x())));
                let op = Conv2dInputGrad { residual, mask, ..op };
                all.push(trial(format!("{what}, {residual} {mask}"), x, op, tolerance(&g), false));
            }
        }
    }
    all
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<TestCase> {
    let case = |(what, g, tolerance): (String, Geometry, f64)| {
        let x = vec![unit(&g.y()), unit(&g.w())];
        TestCase::one(what, x, move |x| x[0].conv2d_input_grad(x[1], g.conv, g.size)).tolerance(tolerance.max(2e-6))
    };
    timed_geometries().into_iter().map(case).collect()
}

//! Two-dimensional convolution, channels last.

use crate::{
    cpu::conv::winograd::Tiling,
    ops::{
        conv::{
            epilogue::EpilogueOperands,
            frame::{Direction, extents, flops, items, stacked_factors, steps, vmap_factors},
            trials::{factors, geometries, of_stacks, timed_geometries, tolerance, trial, trials, what},
        },
        matmul::{
            gemm::{self, LONGEST},
            variants::{Along, Product},
        },
        pointwise::operators::sum_terms,
    },
};
use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// The op of [`Tensor::conv2d`]; the compiler makes those of two terms and with more operands, in this order.
#[derive(Debug, Clone, PartialEq)]
pub struct Conv2d {
    /// Stride, padding, dilation, groups.
    pub conv: Conv,
    /// Number of convolutions that are summed, 1 or 2.
    pub terms: usize,
    /// Whether an operand of one number for each output channel is added.
    pub bias: bool,
    /// Whether an operand like the result is added.
    pub residual: bool,
    /// Whether a last operand like a single result makes it zero where it is zero or less: a ReLU mask.
    pub mask: bool,
    /// Whether `max(y, 0)` comes last.
    pub relu: bool,
}

impl Conv2d {
    fn geometry(&self, x: &[usize], w: &[usize]) -> Option<Geometry> {
        Geometry::new(self.conv, item(x, 4), item(w, 4))
    }

    /// The op of [`Tensor::conv2d`] itself.
    pub fn new(conv: Conv) -> Self {
        Conv2d { conv, terms: 1, bias: false, residual: false, mask: false, relu: false }
    }

    /// One term, and nothing after it.
    pub(crate) fn is_plain(&self) -> bool {
        self.terms == 1 && !self.bias && !self.has_epilogue()
    }

    /// Whether anything comes after the bias, after which nothing else can be added.
    pub(crate) fn has_epilogue(&self) -> bool {
        self.residual || self.mask || self.relu
    }

    fn epilogue(&self) -> EpilogueOperands {
        EpilogueOperands::new(2 * self.terms, [self.bias, self.residual, self.mask], self.relu)
    }

    /// By loops for this float.
    fn eval<F: Real>(
        &self, x: &[Operand<F>], y: &mut [OutMut<F>],
        loops: impl Fn(&Geometry, &[Term<F>], &[F], Epilogue<F>, &mut [F]),
    ) {
        let g = self.geometry(x[0].shape(), x[1].shape()).expect("the shape rule held");
        let bias = if self.bias { x[2 * self.terms].floats() } else { &[] };
        loops(&g, &terms(x, self.terms, 4), bias, self.epilogue().on_cpu(x), y[0].floats_mut());
    }
}

impl Op for Conv2d {
    cpu!(Geometry::forward_host, Geometry::forward);

    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        let (products, others) = x.split_at(x.len().min(2 * self.terms + usize::from(self.bias)));
        gemm::expect_terms("conv2d", products, self.terms, self.bias)?;
        let batch = batch_size("conv2d", &x[..2 * self.terms], 4)?;
        let g = self.geometry(&x[0].shape, &x[1].shape).ok_or_else(|| {
            let rule = "[n, h, w, groups·ci] [kh, kw, ci, groups·co], the window fits the padded image";
            shape_error("conv2d", format!("{rule} ({:?})", self.conv), x)
        })?;
        gemm::expect_bias("conv2d", products, self.bias, g.y()[3])?;
        let y = Type::f32(stacked(batch, &g.y()));
        self.epilogue().expect("conv2d", x, others, &y)?;
        Ok(vec![y])
    }

    fn launch(&self, class: Class, x: &[&Type], y: &[&Type]) -> Launches {
        let g = self.geometry(&x[0].shape, &x[1].shape).expect("the shape rule held");
        let (epilogue, y) = (self.epilogue(), y[0]);
        if g.is_depthwise() && g.taps() <= LONGEST {
            let stacks = (items(y), &steps(x, self.terms)[..]);
            return epilogue.after(g.launch_depthwise(class, stacks, epilogue.bias), y);
        }
        let stacks = stacked_factors(x, self.terms);
        let tiled = Tiling::new(&g).and_then(|t| t.launch(class, [g.n, items(y)], &stacks, false, epilogue));
        if let Some(launches) = tiled {
            return launches;
        }
        let (m, n, k) = (g.rows(), g.co, g.taps() * g.ci);
        let (along, vec4s) = ([Along::K, Along::Other], [g.ci, g.co].map(|channels| channels.is_multiple_of(4)));
        let direction = Direction {
            g: &g,
            x,
            y,
            terms: self.terms,
            bias: Some(self.bias),
            kernels: ["conv2d", "conv2d_tiles", "conv2d_subgroup"],
            product: Product { m, n, k, batches: items(y) * g.conv.groups, along, vec4s, unit: g.ci },
        };
        epilogue.after(direction.of_pixels(class).unwrap_or_else(|| direction.launches(class)), y)
    }

    fn flops(&self, x: &[&Type], y: &[&Type]) -> u64 {
        flops(self.geometry(&x[0].shape, &x[1].shape), self.terms, y[0])
    }

    fn batched<'g>(&self, x: Stacked<'_, 'g>) -> Result<Option<Vec<Tensor<'g>>>> {
        // Graphs are made of those without an epilogue.
        if self.has_epilogue() || self.bias && x.is[2 * self.terms] {
            return Ok(None);
        }
        vmap_factors(self, x, 2 * self.terms)
    }

    fn vjp<'g>(&self, at: At<'_, 'g>, ct: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        gemm::expect_plain("conv2d", "vjp", self.terms, self.bias || self.has_epilogue())?;
        let Some(ct) = ct[0] else { return Ok(Some(vec![None; 2])) };
        let (x, w) = (at.x[0], at.x[1]);
        let ([_, height, width, _], [down, across, ..]) = (extents(x)?, extents(w)?);
        let dx = ct.conv2d_input_grad(w, self.conv, [height, width]);
        let dw = x.conv2d_weight_grad(ct, self.conv, [down, across]);
        // What is one for all items has the sum of their cotangents.
        Ok(Some(vec![Some(dx.sum_to(x.shape()?)), Some(dw.sum_to(w.shape()?))]))
    }

    fn jvp<'g>(&self, at: At<'_, 'g>, dx: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        gemm::expect_plain("conv2d", "jvp", self.terms, self.bias || self.has_epilogue())?;
        let of_x = dx[0].map(|dx| dx.conv2d(at.x[1], self.conv));
        let of_w = dx[1].map(|dw| at.x[0].conv2d(dw, self.conv));
        Ok(Some(vec![sum_terms([of_x, of_w])]))
    }
}

impl<'g> Tensor<'g> {
    /// `y[n, i, j, o] = Σ x[n, i·s + a·d − p, j·s + b·d − p, c] w[a, b, c, o]`, a cross-correlation, zeros outside `x`.
    ///
    /// | | shape |
    /// |---|---|
    /// | x | `[n, height, width, groups·ci]` |
    /// | w | `[kernel height, kernel width, ci, groups·co]` |
    /// | y | `[n, ⌊(height + 2p − d(kh − 1) − 1)/s⌋ + 1, …, groups·co]` |
    ///
    /// Bilinear; its derivatives are [`Tensor::conv2d_input_grad`] and [`Tensor::conv2d_weight_grad`], and the three are
    /// each other's derivatives. Factors of the three may be stacks, of one batch size: along an axis before the four. The
    /// result is a stack then, and a factor that is none is the same for all items.
    ///
    /// What is not a number stays visible. By Winograd's tiles, which windows of 3 × 3 with stride 1 may be made by, so does an
    /// infinity, but as not a number in all results of its tile, also in those whose windows do not meet it.
    ///
    /// Broken by shapes that do not match and by a window that does not fit ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn conv2d(self, w: Tensor<'g>, conv: Conv) -> Tensor<'g> {
        self.apply2(Conv2d::new(conv), w)
    }

    /// The mean over windows, padding counted in, as PyTorch's default: a convolution with constant weights.
    ///
    /// Broken by what is not `[n, h, w, c]` and by a window that does not fit ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn avg_pool(self, kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2]) -> Tensor<'g> {
        let channels = self.shape().ok().and_then(|x| x.last()).map_or(1, |&c| c);
        let w = self.graph().fill(&[kernel[0], kernel[1], 1, channels], 1.0 / (kernel[0] * kernel[1]) as f64);
        self.conv2d(w, Conv { stride, padding, dilation: [1, 1], groups: channels })
    }

    /// The mean over all pixels: `[n, h, w, c]` to `[n, c]`.
    ///
    /// Broken by fewer than three axes ([`Error::Shape`](crate::Error::Shape)).
    #[track_caller]
    pub fn global_avg_pool(self) -> Tensor<'g> {
        self.mean(&[1, 2])
    }
}

/// Test cases of epilogues, by direct sums, products and Winograd's tiles, of one and of stacks.
fn epilogues() -> Vec<TestCase> {
    let (all, mut cases) = (geometries(), Vec::new());
    let single = [1, 2, 6, 7, 11, 14].map(|at| (at, None));
    for (at, batch) in single.into_iter().chain([(2, Some(2)), (13, Some(3)), (14, Some(2)), (18, Some(2))]) {
        let g = all[at];
        for (residual, mask, relu) in
            [(true, false, true), (false, false, true), (true, true, false), (false, true, false)]
        {
            let x = stacked(batch, &g.x());
            let what = format!("conv2d {x:?} {:?} {:?}, bias, {residual} {mask} {relu}", g.w(), g.conv);
            let mut operands = vec![unit(&x), unit(&g.w()), unit(&[g.y()[3]])];
            operands.extend(residual.then(|| unit(&stacked(batch, &g.y()))));
            operands.extend(mask.then(|| unit(&g.y())));
            let op = Conv2d { bias: true, residual, mask, relu, ..Conv2d::new(g.conv) };
            cases.push(trial(what, operands, op, tolerance(&g), false));
        }
    }
    cases
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    let mut all = Vec::new();
    for (g, batches) in trials() {
        let what = format!("{}{}", what("conv2d", &g), of_stacks(batches));
        let op = Conv2d::new(g.conv);
        let x = |terms| factors([g.x(), g.w()], batches, terms);
        all.push(trial(what.clone(), x(1), op.clone(), tolerance(&g), true));
        if batches != [None; 2] {
            all.push(trial(format!("{what}, 2 terms"), x(2), Conv2d { terms: 2, ..op }, tolerance(&g), false));
        }
    }
    let padded = Conv2d::new(Conv::padded(1));
    for (terms, bias) in [(2, false), (1, true), (2, true)] {
        let mut x = factors([[2, 9, 7, 3], [3, 3, 3, 5]], [None; 2], terms);
        x.extend(bias.then(|| unit(&[5])));
        let op = Conv2d { terms, bias, ..padded.clone() };
        all.push(trial(format!("conv2d {terms} terms, bias {bias}"), x, op, 1e-6, false));
    }
    let long = vec![unit(&[2, 9, 8, 64]), unit(&[3, 3, 64, 20]), unit(&[20])];
    let strided = Conv2d { bias: true, ..Conv2d::new(Conv::padded(1).strided(2)) };
    all.push(trial("conv2d of many channels, bias".into(), long, strided, 1e-6, false));
    let stack = vec![unit(&[3, 2, 5, 4, 16]), unit(&[3, 3, 16, 16]), unit(&[16])];
    all.push(trial("conv2d of a stack, bias".into(), stack, Conv2d { bias: true, ..padded }, 3e-6, false));
    all.extend(epilogues());
    let image = vec![unit(&[2, 7, 6, 5])];
    all.push(TestCase::one("avg_pool", image.clone(), |x| x[0].avg_pool([3, 2], [2, 2], [1, 0])));
    all.push(TestCase::one("global_avg_pool", image, |x| x[0].global_avg_pool()));
    all
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<TestCase> {
    let case = |(what, g, tolerance): (String, Geometry, f64)| {
        TestCase::one(what, vec![unit(&g.x()), unit(&g.w())], move |x| x[0].conv2d(x[1], g.conv)).tolerance(tolerance)
    };
    timed_geometries().into_iter().map(case).collect()
}

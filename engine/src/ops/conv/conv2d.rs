//! Two-dimensional convolution, channels last.

pub(crate) use crate::ops::conv::trials::{Shapes, factors, geometries, stacks, timed_geometries, tolerance};

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
        conv::{epilogue::Endings, winograd::Ends},
        matmul::gemm::{self, Along, Kernels, Product},
    },
    tensor::{
        dtype::{Type, shape_error},
        geometry::{Conv, Geometry},
        stack::{height, member, stacked},
    },
    testing::cases::{Case, unit},
};

/// The op of [`Graph::conv2d`]; the compiler makes those of two terms and with more operands, in this order.
#[derive(Debug, Clone)]
pub struct Conv2d {
    /// Stride, padding, dilation, groups.
    pub conv: Conv,
    /// Number of convolutions that are summed, 1 or 2.
    pub terms: usize,
    /// Whether an operand of one number for each output channel is added.
    pub bias: bool,
    /// Whether an operand like the result is added.
    pub residual: bool,
    /// Whether a last operand like a single result makes it zero where it is not positive.
    pub gate: bool,
    /// Whether `max(y, 0)` comes last.
    pub relu: bool,
}

/// Members of the stack that a result is, of four axes each.
pub(crate) fn members(y: &Type) -> usize {
    if y.shape.len() > 4 { y.shape[0] } else { 1 }
}

/// The words of the family's kernels after those of the product.
pub(crate) fn words(g: &Geometry, y: &Type) -> Vec<usize> {
    [&g.words()[..], &[g.conv.groups, members(y)]].concat()
}

/// Launches whose batches are groups of the members of a stack, or just groups.
pub(crate) fn on_stacks(mut launches: Launches, y: &Type) -> Launches {
    for launch in launches.list.iter_mut().filter(|launch| launch.kernel != "sum") {
        launch.constants.push(("STACK", f64::from(u8::from(members(y) > 1))));
    }
    launches
}

/// For the factors of each term how far apart the members of their stacks are.
pub(crate) fn steps(x: &[&Type], terms: usize) -> Vec<Vec<usize>> {
    let step = |x: &&Type| if x.shape.len() > 4 { x.count() / x.shape[0] } else { 0 };
    x.chunks(2).take(terms).map(|factors| factors.iter().map(step).collect()).collect()
}

/// The launches of a convolution of single pixels, which is a matrix product of all of them, `[m, k] [k, n]`; `None` where it
/// is no such, or the terms' stacks differ. The strides are of left factors along rows and the summed axis, of right ones
/// along that and columns.
pub(crate) fn of_pixels(
    class: Class,
    g: &Geometry,
    (x, y, terms, bias): (&[&Type], &Type, usize, bool),
    size: [usize; 3],
    [a, b]: [[usize; 2]; 2],
) -> Option<Launches> {
    let steps = steps(x, terms);
    let alike = g.is_pointwise() && g.conv.groups == 1 && steps[0] == steps[terms - 1];
    let strides = [[steps[0][0], a[0], a[1]], [steps[0][1], b[0], b[1]]];
    alike.then(|| gemm::matmul(class, size, members(y), strides, terms, bias))
}

/// For each term which of its factors are stacks.
pub(crate) fn stacked_factors(x: &[&Type], terms: usize) -> Vec<[bool; 2]> {
    x.chunks_exact(2).take(terms).map(|factors| [0, 1].map(|i| factors[i].shape.len() > 4)).collect()
}

/// Refuses a residual that is not like the result, and a gate that is not like a single one.
pub(crate) fn expect_ends(
    op: &'static str,
    x: &[&Type],
    ends: &[&Type],
    [residual, gate]: [bool; 2],
    y: &Type,
) -> Result<()> {
    let one = Type::f32(member(&y.shape, 4));
    let wanted: Vec<&Type> = [(residual, y), (gate, &one)].into_iter().filter(|e| e.0).map(|e| e.1).collect();
    let rule = "a residual is like the result, a gate like a single one, and members of a gated stack come in fours";
    match ends == wanted && (members(y) == 1 || !gate || one.count().is_multiple_of(4)) {
        true => Ok(()),
        false => Err(shape_error(op, rule, x)),
    }
}

/// An op of the family on stacks of its first operands, of four axes each.
pub(crate) fn at_once(
    op: &(impl Op + Clone),
    g: &mut Graph,
    x: crate::graph::op::Stacked,
    factors: usize,
) -> Result<Option<Vec<Var>>> {
    let single = |i: usize| crate::ops::shape::stacks::rank(g.ty(x.x[i]), x.is[i]) == 4;
    match (0..factors).all(single) {
        true => g.apply_all(op.clone(), x.x).map(Some),
        false => Ok(None),
    }
}

pub(crate) const RULE: &str = "[n, h, w, groups·ci] [kh, kw, ci, groups·co], the window fits the padded image";

impl Conv2d {
    fn geometry(&self, x: &[usize], w: &[usize]) -> Option<Geometry> {
        Geometry::new(self.conv, member(x, 4), member(w, 4))
    }

    /// The op of [`Graph::conv2d`] itself.
    pub fn new(conv: Conv) -> Self {
        Conv2d { conv, terms: 1, bias: false, residual: false, gate: false, relu: false }
    }

    /// One term, and nothing after it.
    pub(crate) fn is_plain(&self) -> bool {
        self.terms == 1 && !self.bias && !self.has_ends()
    }

    /// Whether results end with anything, after which nothing else can be added.
    pub(crate) fn has_ends(&self) -> bool {
        self.residual || self.gate || self.relu
    }

    fn endings(&self) -> Endings {
        let first = 2 * self.terms + usize::from(self.bias);
        Endings {
            residual: self.residual.then_some(first),
            gate: self.gate.then_some(first + usize::from(self.residual)),
            relu: self.relu,
        }
    }

    /// By loops for this float.
    fn eval<F: Real>(
        &self,
        x: &[Operand<F>],
        y: &mut [OutMut<F>],
        loops: impl Fn(&Geometry, &[Term<F>], &[F], Finish<F>, &mut [F]),
    ) {
        let g = self.geometry(x[0].shape(), x[1].shape()).expect("the shape rule held");
        let bias = if self.bias { x[2 * self.terms].floats() } else { &[] };
        let Endings { residual, gate, relu } = self.endings();
        let residual = residual.map(|i| Stack::new(&x[i], 4));
        let finish = Finish { residual, gate: gate.map(|i| x[i].floats()), relu };
        loops(&g, &terms(x, self.terms, 4), bias, finish, y[0].floats_mut());
    }
}

impl Op for Conv2d {
    cpu!(Geometry::forward_host, Geometry::forward);

    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        let (products, ends) = x.split_at(x.len().min(2 * self.terms + usize::from(self.bias)));
        gemm::expect_terms("conv2d", products, self.terms, self.bias)?;
        let height = height("conv2d", &x[..2 * self.terms], 4)?;
        let rule = || shape_error("conv2d", format!("{RULE} ({:?})", self.conv), x);
        let g = self.geometry(&x[0].shape, &x[1].shape).ok_or_else(rule)?;
        gemm::expect_bias("conv2d", products, self.bias, g.y()[3])?;
        let y = Type::f32(stacked(height, &g.y()));
        expect_ends("conv2d", x, ends, [self.residual, self.gate], &y)?;
        Ok(vec![y])
    }

    fn launch(&self, class: Class, x: &[&Type], y: &[&Type]) -> Launches {
        let g = self.geometry(&x[0].shape, &x[1].shape).expect("the shape rule held");
        let endings = self.endings();
        let ends = Ends { bias: self.bias.then_some(2 * self.terms), endings };
        let finished = |mut launches: Launches| {
            launches.list.extend(endings.launch([y[0].count() / members(y[0]), members(y[0])]));
            launches
        };
        if g.is_depthwise() {
            return finished(g.launch_depthwise(class, (members(y[0]), &steps(x, self.terms)), ends.bias));
        }
        let stacks = stacked_factors(x, self.terms);
        let tiled = Tiling::new(&g).and_then(|t| t.launch(class, [g.n, members(y[0])], &stacks, false, ends));
        if let Some(launches) = tiled {
            return launches;
        }
        let (m, n, k) = (g.rows(), g.co, g.kernel[0] * g.kernel[1] * g.ci);
        let strides = [[k, 1], [n, 1]];
        if let Some(launches) = of_pixels(class, &g, (x, y[0], self.terms, self.bias), [m, n, k], strides) {
            return finished(launches);
        }
        let fours = [g.ci, g.co].map(|channels| channels.is_multiple_of(4));
        let kernels = Kernels {
            names: ["conv2d", "conv2d_tiles"],
            lanes: Some("conv2d_lanes"),
            words: &words(&g, y[0]),
            terms: &steps(x, self.terms),
            bias: Some(self.bias),
        };
        let batches = members(y[0]) * self.conv.groups;
        let product = Product { m, n, k, batches, along: [Along::K, Along::Other], fours, unit: g.ci };
        finished(on_stacks(product.launches(class, kernels), y[0]))
    }

    fn flops(&self, x: &[&Type], y: &[&Type]) -> u64 {
        let of_one = self.geometry(&x[0].shape, &x[1].shape).map_or(0, |g| g.flops());
        (self.terms * members(y[0])) as u64 * of_one
    }

    fn batched(&self, g: &mut Graph, x: crate::graph::op::Stacked) -> Result<Option<Vec<Var>>> {
        // Graphs are made of those without ends.
        if self.has_ends() || self.bias && x.is[2 * self.terms] {
            return Ok(None);
        }
        at_once(self, g, x, 2 * self.terms)
    }

    fn vjp(&self, g: &mut Graph, at: At, ct: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        gemm::expect_plain("conv2d", "vjp", self.terms, self.bias || self.has_ends())?;
        let Some(ct) = ct[0] else { return Ok(vec![None; 2]) };
        let [x, w] = [0, 1].map(|i| g.shape(at.x[i]).to_vec());
        let (size, kernel) = (member(&x, 4), member(&w, 4));
        let dx = g.conv2d_input_grad(ct, at.x[1], self.conv, [size[1], size[2]])?;
        let dw = g.conv2d_weight_grad(at.x[0], ct, self.conv, [kernel[0], kernel[1]])?;
        // What is one for all members has the sum of their cotangents.
        Ok(vec![Some(g.sum_to(dx, &x)?), Some(g.sum_to(dw, &w)?)])
    }

    fn jvp(&self, g: &mut Graph, at: At, dx: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        gemm::expect_plain("conv2d", "jvp", self.terms, self.bias || self.has_ends())?;
        let left = dx[0].map(|dx| g.conv2d(dx, at.x[1], self.conv)).transpose()?;
        let right = dx[1].map(|dw| g.conv2d(at.x[0], dw, self.conv)).transpose()?;
        Ok(vec![crate::ops::pointwise::add::sum_terms(g, left, right)?])
    }
}

impl Graph {
    /// `y[n, i, j, o] = Σ x[n, i·s + a·d − p, j·s + b·d − p, c] w[a, b, c, o]`, a cross-correlation, zeros outside `x`.
    ///
    /// | | shape |
    /// |---|---|
    /// | x | `[n, height, width, groups·ci]` |
    /// | w | `[kernel height, kernel width, ci, groups·co]` |
    /// | y | `[n, ⌊(height + 2p − d(kh − 1) − 1)/s⌋ + 1, …, groups·co]` |
    ///
    /// Bilinear; its derivatives are [`Graph::conv2d_input_grad`] and [`Graph::conv2d_weight_grad`], and the three are
    /// each other's derivatives. Factors of the three may be stacks, of one height: along an axis before the four, and so is
    /// the result then; a factor that is none is the same for all members.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) when the shapes do not match or the window does not fit.
    pub fn conv2d(&mut self, x: Var, w: Var, conv: Conv) -> Result<Var> {
        self.apply(Conv2d::new(conv), &[x, w])
    }

    /// The mean over windows, padding counted in, as PyTorch's default: a convolution with constant weights.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) when `x` is not `[n, h, w, c]` or the window does not fit.
    pub fn avg_pool(&mut self, x: Var, kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2]) -> Result<Var> {
        let channels = self.shape(x).last().copied().unwrap_or(1);
        let w = self.fill(&[kernel[0], kernel[1], 1, channels], 1.0 / (kernel[0] * kernel[1]) as f64)?;
        self.conv2d(x, w, Conv { stride, padding, dilation: [1, 1], groups: channels })
    }

    /// The mean over all pixels: `[n, h, w, c]` to `[n, c]`.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) when `x` has fewer than three axes.
    pub fn global_avg_pool(&mut self, x: Var) -> Result<Var> {
        self.mean(x, &[1, 2])
    }
}

/// Cases of what results end with, by direct sums, products and Winograd's tiles, of one and of stacks.
fn endings() -> Vec<Case> {
    let all = geometries();
    let of = |at: usize, height| {
        let (x, w, conv) = all[at];
        let g = Geometry::new(conv, &x, &w).expect("a list of fitting shapes");
        [(true, false, true), (false, false, true), (true, true, false), (false, true, false)].map(
            move |(residual, gate, relu)| {
                let own = stacked(height, &x);
                let mut operands = vec![unit(&own), unit(&w), unit(&[g.y()[3]])];
                operands.extend(residual.then(|| unit(&stacked(height, &g.y()))));
                operands.extend(gate.then(|| unit(&g.y())));
                let op = Conv2d { bias: true, residual, gate, relu, ..Conv2d::new(conv) };
                let what = format!("conv2d {own:?} {w:?} {conv:?}, bias, {residual} {gate} {relu}");
                Case::new(what, operands, move |g, x| g.apply_all(op.clone(), x)).tolerance(tolerance(&g)).order(0)
            },
        )
    };
    [
        (1, None),
        (2, None),
        (6, None),
        (7, None),
        (11, None),
        (14, None),
        (2, Some(2)),
        (13, Some(3)),
        (14, Some(2)),
        (18, Some(2)),
    ]
    .into_iter()
    .flat_map(|(at, height)| of(at, height))
    .collect()
}

/// Its test cases.
pub(crate) fn cases() -> Vec<Case> {
    let mut all: Vec<Case> = geometries()
        .into_iter()
        .map(|(x, w, conv)| {
            let tolerance = Geometry::new(conv, &x, &w).map_or(1e-6, |g| tolerance(&g));
            Case::new(format!("conv2d {x:?} {w:?} {conv:?}"), vec![unit(&x), unit(&w)], move |g, x| {
                Ok(vec![g.conv2d(x[0], x[1], conv)?])
            })
            .tolerance(tolerance)
        })
        .collect();
    for ((x, w, conv), heights @ [a, b]) in stacks() {
        let what = format!("conv2d {x:?} {w:?} {conv:?}, stacks {heights:?}");
        let own = factors([&x, &w], [a, b]);
        let tolerance = Geometry::new(conv, &x, &w).map_or(1e-6, |g| tolerance(&g));
        let one = Case::new(what.clone(), own.to_vec(), move |g, x| Ok(vec![g.conv2d(x[0], x[1], conv)?]));
        all.push(one.tolerance(tolerance));
        let both = [own, factors([&x, &w], [b, a])].concat();
        let op = Conv2d { terms: 2, ..Conv2d::new(conv) };
        all.push(
            Case::new(format!("{what}, 2 terms"), both, move |g, x| g.apply_all(op.clone(), x))
                .tolerance(tolerance)
                .order(0),
        );
    }
    for (terms, bias) in [(2, false), (1, true), (2, true)] {
        let mut x = Vec::new();
        for _ in 0..terms {
            x.extend([unit(&[2, 9, 7, 3]), unit(&[3, 3, 3, 5])]);
        }
        x.extend(bias.then(|| unit(&[5])));
        let build =
            move |g: &mut Graph, x: &[Var]| g.apply_all(Conv2d { terms, bias, ..Conv2d::new(Conv::padded(1)) }, x);
        all.push(Case::new(format!("conv2d {terms} terms, bias {bias}"), x, build).order(0));
    }
    let long = vec![unit(&[2, 9, 8, 64]), unit(&[3, 3, 64, 20]), unit(&[20])];
    let build =
        |g: &mut Graph, x: &[Var]| g.apply_all(Conv2d { bias: true, ..Conv2d::new(Conv::padded(1).strided(2)) }, x);
    all.push(Case::new("conv2d of many channels, bias", long, build).order(0));
    let biased = vec![unit(&[3, 2, 5, 4, 16]), unit(&[3, 3, 16, 16]), unit(&[16])];
    let build = |g: &mut Graph, x: &[Var]| g.apply_all(Conv2d { bias: true, ..Conv2d::new(Conv::padded(1)) }, x);
    all.push(Case::new("conv2d of a stack, bias", biased, build).tolerance(3e-6).order(0));
    all.extend(endings());
    let pooled = |g: &mut Graph, x: &[Var]| Ok(vec![g.avg_pool(x[0], [3, 2], [2, 2], [1, 0])?]);
    all.push(Case::new("avg_pool", vec![unit(&[2, 7, 6, 5])], pooled));
    all.push(Case::new("global_avg_pool", vec![unit(&[2, 7, 6, 5])], |g, x| Ok(vec![g.global_avg_pool(x[0])?])));
    all
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<Case> {
    let case = |(what, (x, w, conv), tolerance): (String, Shapes, f64)| {
        let build = move |g: &mut Graph, x: &[Var]| Ok(vec![g.conv2d(x[0], x[1], conv)?]);
        Case::new(what, vec![unit(&x), unit(&w)], build).tolerance(tolerance)
    };
    timed_geometries().into_iter().map(case).collect()
}

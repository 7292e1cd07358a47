//! Batch normalization with batch statistics, and with running ones.

use crate::ops::{
    norm::frame::{self, Normed, all_or_zeros},
    optim::running_variance::RunningVariance,
};
use crate::{cpu::*, error::*, graph::*, launch::*, tensor::*};

/// The op of [`Tensor::batch_norm`]; the compiler makes those with a residual and a ReLU.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchNorm {
    /// Added to the variance.
    pub eps: f64,
    /// Whether a last operand like `x` is added to `y`.
    pub residual: bool,
    /// Whether `max(y, 0)` comes last.
    pub relu: bool,
}

impl BatchNorm {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let [_, channels] = frame::rows(x[0].shape());
        let [data, gamma, beta] = [0, 1, 2].map(|i| x[i].floats());
        let [mean, variance] = channels::moments(channels, data);
        let rstd: Vec<F> = variance.iter().map(|v| F::of((v + self.eps).sqrt().recip())).collect();
        let scale: Vec<F> = rstd.iter().zip(gamma).map(|(&r, &g)| r * g).collect();
        // What the mean loses in rounding, which may be more than numbers far from zero differ by, is taken off beta.
        let shift =
            |((&mean, scale), beta): ((&f64, &F), &F)| F::of(beta.wide() - (mean - F::of(mean).wide()) * scale.wide());
        let shift: Vec<F> = mean.iter().zip(&scale).zip(beta).map(shift).collect();
        let mean: Vec<F> = mean.into_iter().map(F::of).collect();
        let (c, out) = (&[[&mean[..], &scale, &shift]], y[0].floats_mut());
        let residual = || [data, x[3].floats()].map(Stack::one);
        match (self.residual, self.relu) {
            (false, false) => channels::write(channels, &Line::<false>, [Stack::one(data)], c, out),
            (false, true) => channels::write(channels, &Line::<true>, [Stack::one(data)], c, out),
            (true, false) => channels::write(channels, &Line::<false>, residual(), c, out),
            (true, true) => channels::write(channels, &Line::<true>, residual(), c, out),
        }
        y[1].floats_mut().copy_from_slice(&mean);
        y[2].floats_mut().copy_from_slice(&rstd);
    }
}

/// The results' elements, with a ReLU or without.
struct Line<const RELU: bool>;

/// Of x, and a residual where there is one, with mean, scale and shift.
impl<const RELU: bool, const X: usize> Formula<X, 3, 1> for Line<RELU> {
    #[inline(always)]
    fn f<F: Real>(&self, x: [F; X], [mean, scale, shift]: [F; 3]) -> [F; 1] {
        let mut y = (x[0] - mean) * scale + shift;
        for &residual in &x[1..] {
            y += residual;
        }
        [if RELU && y < F::zero() { F::zero() } else { y }]
    }
}

impl Op for BatchNorm {
    cpu!();

    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        let arrays: &[usize] = if self.residual { &[0, 3] } else { &[0] };
        frame::types("batch_norm", x, arrays)
    }

    fn launch(&self, class: Class, x: &[&Type], _: &[&Type]) -> Launches {
        let size @ [rows, channels] = frame::rows(&x[0].shape);
        let [chunk, chunks] = frame::chunks(class, size);
        let (partial, mean, rstd) = (Bind::Scratch(0), Bind::Out(1), Bind::Out(2));
        let residual = Bind::In(if self.residual { 3 } else { 0 });
        let bind = [Bind::In(0), Bind::In(1), Bind::In(2), mean, rstd, residual, Bind::Out(0)];
        Launches {
            scratch: vec![(2 * chunks + 1) * channels],
            list: vec![
                frame::over_rows(class, "batch_norm_moments", size, 1, &[Bind::In(0), partial]),
                Launch::new("batch_norm_merge", channels.div_ceil(64))
                    .params([rows, channels, chunk, chunks].map(word))
                    .params([(self.eps as f32).to_bits()])
                    .bind([partial, mean, rstd]),
                frame::each_element(class, "batch_norm", size, 1, &bind)
                    .constant("RESIDUAL", self.residual)
                    .constant("RELU", self.relu),
            ],
        }
    }

    fn flops(&self, x: &[&Type], _: &[&Type]) -> u64 {
        7 * x[0].count() as u64
    }

    fn plain<'g>(&self, x: &[Tensor<'g>]) -> Result<Option<Vec<Tensor<'g>>>> {
        let n = Normed::new(x[0], self.eps)?;
        let mut y = n.normed * x[1] + x[2];
        if self.residual {
            y = y + x[3];
        }
        if self.relu {
            y = y.relu();
        }
        Ok(Some(vec![y, n.mean, n.rstd]))
    }

    fn vjp<'g>(&self, at: At<'_, 'g>, ct: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        match *ct {
            [Some(ct), None, None] if !self.residual && !self.relu => {
                let d = at.x[0].batch_norm_grad(at.x[1], [at.y[1], at.y[2]], ct, self.eps);
                Ok(Some(d.map(Some).into()))
            }
            _ => Ok(None),
        }
    }

    fn jvp<'g>(&self, at: At<'_, 'g>, dx: &[Option<Tensor<'g>>]) -> Result<Derivatives<'g>> {
        if self.residual || self.relu {
            return Ok(None);
        }
        let d = all_or_zeros(dx, at.x);
        let dy = at.x[0].batch_norm_tangent(at.x[1], [at.y[1], at.y[2]], [d[0], d[1], d[2]], self.eps);
        Ok(Some(dy.map(Some).into()))
    }
}

impl<'g> Tensor<'g> {
    /// `y = γ (x − mean)/√(variance + ε) + β` with the statistics of the batch (Ioffe and Szegedy 2015); also returns the
    /// mean and `rstd = 1/√(variance + ε)` of each channel.
    ///
    /// | | shape | range |
    /// |---|---|---|
    /// | x, y | `[…, c]` | |
    /// | gamma, beta, mean, rstd | `[c]` | |
    /// | eps | | `> 0` |
    ///
    /// The variance is the biased one, summed from deviations; a constant channel has `rstd = 1/√ε`. Gradient, tangent
    /// and the gradient's tangent are fused ops too; higher derivatives come from the plain graph.
    ///
    /// Broken by shapes that do not match ([`Error::Shape`]).
    #[track_caller]
    pub fn batch_norm(self, gamma: Tensor<'g>, beta: Tensor<'g>, eps: f64) -> [Tensor<'g>; 3] {
        self.graph().apply(BatchNorm { eps, residual: false, relu: false }, &[self, gamma, beta])
    }

    /// `y = γ (x − mean)/√(variance + ε) + β` with given statistics, as in evaluation; linear in `x`.
    ///
    /// Written as one product and one sum, which become the epilogue of a convolution. Broken by shapes that do not match
    /// ([`Error::Shape`]).
    #[track_caller]
    pub fn batch_norm_eval(
        self, [gamma, beta]: [Tensor<'g>; 2], [mean, variance]: [Tensor<'g>; 2], eps: f64,
    ) -> Tensor<'g> {
        let scale = gamma * (variance + eps).rsqrt();
        self * scale + (beta - mean * scale)
    }

    /// The running mean and variance after this batch, as PyTorch defines them: `r ← (1 − momentum) r + momentum s` with
    /// the batch mean and the unbiased batch variance, `n/(n − 1)` times the biased one. Derivatives do not see them.
    ///
    /// Broken by shapes that do not match, and by a batch that has a single number for each channel ([`Error::Shape`]).
    #[track_caller]
    pub fn batch_norm_running(
        self, [mean, rstd]: [Tensor<'g>; 2], [old_mean, old_variance]: [Tensor<'g>; 2], momentum: f64, eps: f64,
    ) -> [Tensor<'g>; 2] {
        let unbiased = match self.unbiased() {
            Ok(unbiased) => unbiased,
            Err(error) => return self.graph().wait_all(Err(error)),
        };
        let share = self.graph().fill(&[1], momentum);
        let variance = old_variance.running_variance(RunningVariance { unbiased, eps }, rstd.stop_gradient(), share);
        [old_mean.lerp(mean.stop_gradient(), share), variance]
    }

    /// `n/(n − 1)` for a batch of `n` numbers for each channel.
    fn unbiased(self) -> Result<f64> {
        let shape = self.shape()?;
        let rows: usize = shape.iter().rev().skip(1).product();
        if rows < 2 {
            let rule = "a batch has at least two numbers for each channel".into();
            return Err(Error::Shape { op: "batch_norm_running", rule, got: format!("{shape:?}") });
        }
        Ok(rows as f64 / (rows - 1) as f64)
    }
}

/// Shapes on which the family is tried.
pub(crate) const SHAPES: &[&[usize]] = &[&[2, 1], &[67, 5], &[3, 5, 7, 33], &[2, 9, 5, 64], &[2053, 3], &[8, 130]];

/// Operands on such a shape: x, gamma, beta.
pub(crate) fn operands(shape: &[usize]) -> Vec<Generator> {
    let c = &shape[shape.len() - 1..];
    vec![range(shape, -2.0, 3.0), range(c, 0.5, 1.5), unit(c)]
}

fn all_results<'g>(x: &[Tensor<'g>]) -> Result<Vec<Tensor<'g>>> {
    Ok(x[0].batch_norm(x[1], x[2], 1e-5).into())
}

/// Its test cases.
pub(crate) fn cases() -> Vec<TestCase> {
    let mut all = Vec::new();
    for &shape in SHAPES {
        let what = format!("batch_norm {shape:?}");
        let case = TestCase::new(&what, operands(shape), |x| Ok(x[0].batch_norm(x[1], x[2], 1e-2).into()));
        all.push(case.tolerance(3e-6));
        for (residual, relu) in [(true, false), (false, true), (true, true)] {
            let mut x = operands(shape);
            x.extend(residual.then(|| unit(shape)));
            let op = BatchNorm { eps: 1e-2, residual, relu };
            let what = format!("{what} {residual} {relu}");
            let case = TestCase::new(what, x, move |x| x[0].graph().apply_all(op.clone(), x));
            all.push(case.tolerance(3e-6).order(0));
        }
    }
    let far = vec![range(&[131, 7], 999.0, 1001.0), range(&[7], 0.5, 1.5), unit(&[7])];
    all.push(TestCase::new("batch_norm far from zero", far, all_results).tolerance(2e-4).order(0));
    let constant = vec![range(&[5, 3], 2.0, 2.0), range(&[3], 0.5, 1.5), unit(&[3])];
    all.push(TestCase::new("batch_norm of constants", constant, all_results).order(0));
    let x = vec![unit(&[3, 5, 7]), range(&[7], 0.5, 1.5), unit(&[7]), unit(&[7]), range(&[7], 0.5, 2.0)];
    all.push(TestCase::one("batch_norm_eval", x.clone(), |x| x[0].batch_norm_eval([x[1], x[2]], [x[3], x[4]], 1e-5)));
    let running = TestCase::new("batch_norm_running", x, |x| {
        let [_, mean, rstd] = x[0].batch_norm(x[1], x[2], 1e-5);
        Ok(x[0].batch_norm_running([mean, rstd], [x[3], x[4]], 0.1, 1e-5).into())
    });
    all.push(running.order(0));
    all
}

/// Shapes on which the family is timed: of a small ResNet, off every tile, and one for GPUs.
const TIMED: [&[usize]; 3] = [&[32, 32, 32, 16], &[16, 27, 29, 67], &[64, 56, 56, 64]];

/// The timed cases of one of the family's ops, on operands like x (`a`) and like gamma (`c`).
pub(crate) fn timed_family<O: Op + Clone>(op: O, operands: &'static str, tolerance: f64) -> Vec<TestCase> {
    let case = |shape: &[usize]| {
        let draw = |o| if o == 'a' { range(shape, -2.0, 3.0) } else { range(&shape[shape.len() - 1..], 0.5, 1.5) };
        let (x, op) = (operands.chars().map(draw).collect(), op.clone());
        TestCase::new(format!("{shape:?}"), x, move |x| x[0].graph().apply_all(op.clone(), x)).tolerance(tolerance)
    };
    TIMED.into_iter().map(case).collect()
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<TestCase> {
    timed_family(BatchNorm { eps: 1e-5, residual: false, relu: false }, "acc", 3e-6)
}

//! Batch normalization with batch statistics, and with running ones.

use crate::{
    cpu::{
        buffer::{Operand, OutMut},
        channels::{self, Formula},
        float::Real,
        stack::Stack,
    },
    error::{Error, Result},
    graph::{
        graph::{Graph, Var},
        op::{At, Op, cpu},
    },
    launch::{
        launch::{Bind, Launch, Launches, word},
        target::Class,
    },
    ops::norm::frame::{self, Normed, or_zeros},
    tensor::dtype::Type,
    testing::cases::{Case, range, unit},
};

/// The op of [`Graph::batch_norm`]; the compiler makes those with a residual and a ReLU.
#[derive(Debug, Clone)]
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
        let mean: Vec<F> = mean.into_iter().map(F::of).collect();
        let rstd: Vec<F> = variance.iter().map(|v| F::of((v + self.eps).sqrt().recip())).collect();
        let scale: Vec<F> = rstd.iter().zip(gamma).map(|(&r, &g)| r * g).collect();
        let (c, out) = (&[[&mean[..], &scale, beta]], y[0].floats_mut());
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

/// Of x, and a residual where there is one, with mean, scale and beta.
impl<const RELU: bool, const X: usize> Formula<X, 3, 1> for Line<RELU> {
    #[inline(always)]
    fn f<F: Real>(&self, x: [F; X], [mean, scale, beta]: [F; 3]) -> [F; 1] {
        let mut y = (x[0] - mean) * scale + beta;
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
        let shape = frame::check("batch_norm", x, arrays)?;
        let channels = shape[shape.len() - 1];
        Ok(vec![Type::f32(shape), Type::f32([channels]), Type::f32([channels])])
    }

    fn launch(&self, class: Class, x: &[&Type], _: &[&Type]) -> Launches {
        let size @ [rows, channels] = frame::rows(&x[0].shape);
        let [chunk, chunks] = frame::chunks(class, size);
        let (partial, mean, rstd) = (Bind::Scratch(0), Bind::Out(1), Bind::Out(2));
        let residual = Bind::In(if self.residual { 3 } else { 0 });
        Launches {
            scratch: vec![chunks * 2 * channels],
            list: vec![
                frame::over_rows(class, "batch_norm_moments", size, &[Bind::In(0), partial]),
                Launch::new("batch_norm_merge", channels.div_ceil(64))
                    .params([rows, channels, chunk, chunks].map(word))
                    .params([(self.eps as f32).to_bits()])
                    .bind([partial, mean, rstd]),
                frame::each_element(
                    class,
                    "batch_norm",
                    size,
                    &[Bind::In(0), Bind::In(1), Bind::In(2), mean, rstd, residual, Bind::Out(0)],
                )
                .constant("RESIDUAL", self.residual)
                .constant("RELU", self.relu),
            ],
        }
    }

    fn flops(&self, x: &[&Type], _: &[&Type]) -> u64 {
        7 * x[0].count() as u64
    }

    fn plain(&self, g: &mut Graph, x: &[Var]) -> Result<Option<Vec<Var>>> {
        let n = Normed::new(g, x[0], self.eps)?;
        let scaled = g.mul(n.normed, x[1])?;
        let mut y = g.add(scaled, x[2])?;
        if self.residual {
            y = g.add(y, x[3])?;
        }
        if self.relu {
            y = g.relu(y)?;
        }
        Ok(Some(vec![y, n.mean, n.rstd]))
    }

    fn vjp(&self, g: &mut Graph, at: At, ct: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        match ct {
            [Some(ct), None, None] if !self.residual && !self.relu => {
                let d = g.batch_norm_grad(at.x[0], at.x[1], [at.y[1], at.y[2]], *ct, self.eps)?;
                Ok(d.into_iter().map(Some).collect())
            }
            _ => {
                let plain = self.plain(g, at.x)?.unwrap_or_default();
                crate::diff::grad::pull(g, &plain, ct, at.x)
            }
        }
    }

    fn jvp(&self, g: &mut Graph, at: At, dx: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        if self.residual || self.relu {
            let plain = self.plain(g, at.x)?.unwrap_or_default();
            return crate::diff::grad::push(g, &plain, at.x, dx);
        }
        let d = (0..3).map(|i| or_zeros(g, dx[i], at.x[i])).collect::<Result<Vec<_>>>()?;
        let dy = g.batch_norm_tangent(at.x[0], at.x[1], [at.y[1], at.y[2]], [d[0], d[1], d[2]], self.eps)?;
        Ok(dy.into_iter().map(Some).collect())
    }
}

impl Graph {
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
    /// # Errors
    ///
    /// [`Error::Shape`] when the shapes do not match.
    pub fn batch_norm(&mut self, x: Var, gamma: Var, beta: Var, eps: f64) -> Result<[Var; 3]> {
        let y = self.apply_all(BatchNorm { eps, residual: false, relu: false }, &[x, gamma, beta])?;
        Ok([y[0], y[1], y[2]])
    }

    /// `y = γ (x − mean)/√(variance + ε) + β` with given statistics, as in evaluation; linear in `x`.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] when the shapes do not match.
    pub fn batch_norm_eval(
        &mut self,
        x: Var,
        [gamma, beta]: [Var; 2],
        [mean, variance]: [Var; 2],
        eps: f64,
    ) -> Result<Var> {
        let shifted = self.affine(variance, 1.0, eps)?;
        let rstd = self.rsqrt(shifted)?;
        let scale = self.mul(gamma, rstd)?;
        let offset = self.mul(mean, scale)?;
        let shift = self.sub(beta, offset)?;
        let scaled = self.mul(x, scale)?;
        self.add(scaled, shift)
    }

    /// The running mean and variance after this batch, as PyTorch defines them: `r ← (1 − momentum) r + momentum s` with
    /// the batch mean and the unbiased batch variance, `n/(n − 1)` times the biased one. Derivatives do not see them.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] when the shapes do not match or the batch has a single number for each channel.
    pub fn batch_norm_running(
        &mut self,
        x: Var,
        [mean, rstd]: [Var; 2],
        running: [Var; 2],
        momentum: f64,
        eps: f64,
    ) -> Result<[Var; 2]> {
        let [rows, _] = frame::rows(self.shape(x));
        if rows < 2 {
            let got = format!("{:?}", self.shape(x));
            let rule = "a batch has at least two numbers for each channel".into();
            return Err(Error::Shape { op: "batch_norm_running", rule, got });
        }
        let [mean, rstd] = [self.stop_gradient(mean)?, self.stop_gradient(rstd)?];
        let square = self.mul(rstd, rstd)?;
        let shifted = self.recip(square)?;
        let unbiased = rows as f64 / (rows - 1) as f64;
        let variance = self.affine(shifted, unbiased, -eps * unbiased)?;
        let mut mix = |running: Var, fresh: Var| {
            let kept = self.affine(running, 1.0 - momentum, 0.0)?;
            let fresh = self.affine(fresh, momentum, 0.0)?;
            self.add(kept, fresh)
        };
        Ok([mix(running[0], mean)?, mix(running[1], variance)?])
    }
}

/// Shapes on which the family is tried.
pub(crate) const SHAPES: &[&[usize]] = &[&[2, 1], &[67, 5], &[3, 5, 7, 33], &[2, 9, 5, 64], &[2053, 3], &[8, 130]];

/// Its test cases.
pub(crate) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for &shape in SHAPES {
        let c = [shape[shape.len() - 1]];
        let x = vec![range(shape, -2.0, 3.0), range(&c, 0.5, 1.5), unit(&c)];
        all.push(
            Case::new(format!("batch_norm {shape:?}"), x.clone(), |g, x| {
                Ok(g.batch_norm(x[0], x[1], x[2], 1e-2)?.to_vec())
            })
            .tolerance(3e-6),
        );
        for (residual, relu) in [(true, false), (false, true), (true, true)] {
            let mut x = x.clone();
            x.extend(residual.then(|| unit(shape)));
            let build = move |g: &mut Graph, x: &[Var]| g.apply_all(BatchNorm { eps: 1e-2, residual, relu }, x);
            all.push(Case::new(format!("batch_norm {shape:?} {residual} {relu}"), x, build).tolerance(3e-6).order(0));
        }
    }
    let far = vec![range(&[131, 7], 999.0, 1001.0), range(&[7], 0.5, 1.5), unit(&[7])];
    let build = |g: &mut Graph, x: &[Var]| Ok(g.batch_norm(x[0], x[1], x[2], 1e-5)?.to_vec());
    all.push(Case::new("batch_norm far from zero", far, build).tolerance(2e-4).order(0));
    let constant = vec![range(&[5, 3], 2.0, 2.0), range(&[3], 0.5, 1.5), unit(&[3])];
    all.push(Case::new("batch_norm of constants", constant, build).order(0));
    let eval = vec![unit(&[3, 5, 7]), range(&[7], 0.5, 1.5), unit(&[7]), unit(&[7]), range(&[7], 0.5, 2.0)];
    all.push(Case::new("batch_norm_eval", eval, |g, x| {
        Ok(vec![g.batch_norm_eval(x[0], [x[1], x[2]], [x[3], x[4]], 1e-5)?])
    }));
    let running = vec![unit(&[3, 5, 7]), range(&[7], 0.5, 1.5), unit(&[7]), unit(&[7]), range(&[7], 0.5, 2.0)];
    all.push(
        Case::new("batch_norm_running", running, |g, x| {
            let [_, mean, rstd] = g.batch_norm(x[0], x[1], x[2], 1e-5)?;
            Ok(g.batch_norm_running(x[0], [mean, rstd], [x[3], x[4]], 0.1, 1e-5)?.to_vec())
        })
        .order(0),
    );
    all
}

/// Shapes on which the family is timed: of a small ResNet, off every tile, and one for GPUs.
pub(crate) const TIMED: [&[usize]; 3] = [&[32, 32, 32, 16], &[16, 27, 29, 67], &[64, 56, 56, 64]];

/// The timed cases of one of the family's ops, on operands like x (`a`) and like gamma (`c`).
pub(crate) fn timed_family<O: Op + Clone>(op: O, operands: &'static str, tolerance: f64) -> Vec<Case> {
    let case = |shape: &[usize]| {
        let c = &shape[shape.len() - 1..];
        let draw = |o| if o == 'a' { range(shape, -2.0, 3.0) } else { range(c, 0.5, 1.5) };
        let op = op.clone();
        let build = move |g: &mut Graph, x: &[Var]| g.apply_all(op.clone(), x);
        Case::new(format!("{shape:?}"), operands.chars().map(draw).collect(), build).tolerance(tolerance)
    };
    TIMED.into_iter().map(case).collect()
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<Case> {
    timed_family(BatchNorm { eps: 1e-5, residual: false, relu: false }, "acc", 3e-6)
}

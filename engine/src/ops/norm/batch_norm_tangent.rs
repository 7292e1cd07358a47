//! The tangent of batch normalization.

use crate::ops::norm::{batch_norm::SHAPES, batch_norm_grad::WithDeviation};
use crate::{
    cpu::{
        buffer::{Operand, OutMut},
        channels::{self, Formula},
        float::Real,
        stack::Stack,
    },
    error::Result,
    graph::{
        graph::{Graph, Var},
        op::{Op, cpu},
    },
    launch::{
        launch::{Bind, Launch, Launches, word},
        target::Class,
    },
    ops::norm::{
        frame::{self, Normed},
        tangent::{self, members},
    },
    tensor::{
        dtype::{Type, shape_error},
        stack::stacked,
    },
    testing::cases::{Case, range, unit},
};

/// The first operand that is a tangent.
const FIRST: usize = 4;

/// The op of [`Graph::batch_norm_tangent`]; the compiler makes those with a residual and a gate.
#[derive(Debug, Clone)]
pub struct BatchNormTangent {
    /// Added to the variance.
    pub eps: f64,
    /// Whether an operand like `x'` is added to `y'`.
    pub residual: bool,
    /// Whether a last operand like `x` makes `y'` zero where it is not positive.
    pub gate: bool,
}

/// Operands of [`Graph::batch_norm_tangent`].
const PLAIN: usize = 7;

impl BatchNormTangent {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let [rows, channels] = frame::rows(x[0].shape());
        let [data, gamma, mean, rstd, dx, dgamma, dbeta] = [0, 1, 2, 3, 4, 5, 6].map(|i| x[i].floats());
        let (n, len) = (rows as f64, rows * channels);
        for group in channels::groups(dx.len() / len, len) {
            let arrays = [Stack::of(dx, len).part(&group), Stack::one(data)];
            let sums = channels::sums(channels, &WithDeviation, arrays, [mean], group.len());
            let mut own = Vec::with_capacity(sums.len());
            for (m, [sum, with]) in group.clone().zip(&sums) {
                let mut c: [Vec<F>; 3] = std::array::from_fn(|_| Vec::with_capacity(channels));
                for i in 0..channels {
                    let (at, r, g) = (m * channels + i, rstd[i].wide(), gamma[i].wide());
                    let (a, dmean) = (with[i] * r / n, sum[i] / n);
                    y[1].floats_mut()[at] = F::of(dmean);
                    y[2].floats_mut()[at] = F::of(-r * r * a);
                    let slope = (dgamma[at].wide() - g * r * a) * r;
                    let all = [g * r, slope, dbeta[at].wide() - g * r * dmean];
                    c.iter_mut().zip(all).for_each(|(c, own)| c.push(F::of(own)));
                }
                own.push(c);
            }
            let own: Vec<_> = own.iter().map(|[scale, slope, shift]| [mean, scale, slope, shift]).collect();
            let y = &mut y[0].floats_mut()[group.start * len..group.end * len];
            let [dx, data] = arrays;
            let residual = || Stack::of(x[PLAIN].floats(), len).part(&group);
            let gate = || Stack::one(x[x.len() - 1].floats());
            match (self.residual, self.gate) {
                (false, false) => channels::write(channels, &Line::<false, false>, arrays, &own, y),
                (true, false) => channels::write(channels, &Line::<true, false>, [dx, data, residual()], &own, y),
                (false, true) => channels::write(channels, &Line::<false, true>, [dx, data, gate()], &own, y),
                (true, true) => channels::write(channels, &Line::<true, true>, [dx, data, residual(), gate()], &own, y),
            }
        }
    }
}

/// The results' elements, with a residual and a gate or without.
struct Line<const RESIDUAL: bool, const GATE: bool>;

/// Of x' and x, a residual and a gate where there are such, with mean, scale, slope and shift.
impl<const RESIDUAL: bool, const GATE: bool, const X: usize> Formula<X, 4, 1> for Line<RESIDUAL, GATE> {
    #[inline(always)]
    fn f<F: Real>(&self, x: [F; X], [mean, scale, slope, shift]: [F; 4]) -> [F; 1] {
        let mut y = scale * x[0] + slope * (x[1] - mean) + shift;
        if RESIDUAL {
            y += x[2];
        }
        [if !GATE || x[X - 1] > F::zero() { y } else { F::zero() }]
    }
}

impl Op for BatchNormTangent {
    cpu!();

    fn name(&self) -> &'static str {
        "batch_norm_tangent"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        let (x, gate) = x.split_at(x.len() - usize::from(self.gate));
        if gate.iter().any(|gate| gate.shape != x[0].shape) {
            return Err(shape_error("batch_norm_tangent", "the gate is an array like x", gate));
        }
        let arrays = if self.residual { &[0, 4, 7][..] } else { &[0, 4] };
        tangent::infer("batch_norm_tangent", x, arrays, FIRST)
    }

    fn launch(&self, class: Class, x: &[&Type], y: &[&Type]) -> Launches {
        let (size @ [rows, channels], members) = (frame::rows(&x[0].shape), members(x[0], y[0]));
        let all = members * channels;
        let [_, chunks] = frame::chunks(class, size);
        let (x, mean, rstd, dx) = (Bind::In(0), Bind::In(2), Bind::In(3), Bind::In(4));
        let (partial, sums, scales) = (Bind::Scratch(0), Bind::Scratch(1), Bind::Scratch(2));
        let residual = if self.residual { Bind::In(PLAIN) } else { dx };
        let gate = if self.gate { Bind::In(PLAIN + usize::from(self.residual)) } else { x };
        let scaled = [sums, Bind::In(1), rstd, Bind::In(5), Bind::In(6), scales, Bind::Out(1), Bind::Out(2)];
        Launches {
            scratch: vec![2 * chunks * all, 2 * all, 3 * all],
            list: vec![
                frame::over_stacks(class, "batch_norm_sums", size, members, &[x, mean, rstd, dx, partial]),
                frame::sum_chunks(class, size, [partial, sums], 0, 2 * members),
                Launch::new("batch_norm_tangent_scales", all.div_ceil(64))
                    .params([word(all), (rows as f32).to_bits(), word(channels)])
                    .bind(scaled),
                frame::each_of_stacks(
                    class,
                    "batch_norm_tangent",
                    size,
                    members,
                    &[x, mean, rstd, dx, scales, residual, gate, Bind::Out(0)],
                )
                .constant("RESIDUAL", self.residual)
                .constant("GATE", self.gate),
            ],
        }
    }

    fn flops(&self, _: &[&Type], y: &[&Type]) -> u64 {
        10 * y[0].count() as u64
    }

    fn batched(&self, g: &mut Graph, x: crate::graph::op::Stacked) -> Result<Option<Vec<Var>>> {
        // Graphs are made of those without; a gate would be the same for all members.
        if self.gate { Ok(None) } else { tangent::batched(self, g, x, FIRST) }
    }

    fn plain(&self, g: &mut Graph, x: &[Var]) -> Result<Option<Vec<Var>>> {
        let (x, more) = x.split_at(PLAIN);
        let mut y = tangent::plain(g, x, FIRST, |g, x| self.single(g, x))?;
        if self.residual {
            y[0] = g.add(y[0], more[0])?;
        }
        if self.gate {
            y[0] = g.gate(more[more.len() - 1], y[0])?;
        }
        Ok(Some(y))
    }
}

impl BatchNormTangent {
    fn single(&self, g: &mut Graph, x: &[Var]) -> Result<Vec<Var>> {
        let n = Normed::new(g, x[0], self.eps)?;
        let [gamma, dx, dgamma, dbeta] = [x[1], x[4], x[5], x[6]];
        let dmean = g.mean(dx, &n.axes)?;
        let a = n.mean_of(g, n.normed, dx)?;
        let along = g.mul(n.normed, a)?;
        let centred = g.sub(dx, dmean)?;
        let projected = g.sub(centred, along)?;
        let dnormed = g.mul(projected, n.rstd)?;
        let first = g.mul(dnormed, gamma)?;
        let second = g.mul(n.normed, dgamma)?;
        let both = g.add(first, second)?;
        let dy = g.add(both, dbeta)?;
        let square = g.mul(n.rstd, n.rstd)?;
        let product = g.mul(square, a)?;
        let drstd = g.neg(product)?;
        Ok(vec![dy, dmean, drstd])
    }
}

impl Graph {
    /// The tangents of `y`, mean and rstd in [`Graph::batch_norm`] from those of `x`, `gamma` and `beta`:
    /// `x̂' = rstd (x' − mean(x') − x̂ mean(x̂ x'))`, `y' = γ x̂' + γ' x̂ + β'`.
    ///
    /// `statistics` are the mean and rstd of this very `x`, as in [`Graph::batch_norm_grad`]. The three tangents may be
    /// stacks of one height, along an axis before the others, and so are the results then.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) when the shapes do not match.
    pub fn batch_norm_tangent(
        &mut self,
        x: Var,
        gamma: Var,
        statistics: [Var; 2],
        [dx, dgamma, dbeta]: [Var; 3],
        eps: f64,
    ) -> Result<[Var; 3]> {
        let operands = [x, gamma, statistics[0], statistics[1], dx, dgamma, dbeta];
        let y = self.apply_all(BatchNormTangent { eps, residual: false, gate: false }, &operands)?;
        Ok([y[0], y[1], y[2]])
    }
}

/// Its test cases.
pub(crate) fn cases() -> Vec<Case> {
    let single = SHAPES.iter().map(|&shape| (shape, None));
    let shapes: Vec<_> = single.chain([(SHAPES[3], Some(3)), (&[4, 2, 17], Some(2)), (&[37, 20], Some(4))]).collect();
    let fused = shapes.iter().flat_map(|&(shape, height)| {
        [(true, false), (false, true), (true, true)].map(|(residual, gate)| {
            let c = [shape[shape.len() - 1]];
            let mut x = vec![range(shape, -2.0, 3.0), range(&c, 0.5, 1.5), unit(&c)];
            x.extend([shape, &c, &c].map(|s| unit(&stacked(height, s))));
            x.extend(residual.then(|| unit(&stacked(height, shape))));
            x.extend(gate.then(|| unit(shape)));
            let op = BatchNormTangent { eps: 1e-2, residual, gate };
            let build = move |g: &mut Graph, x: &[Var]| {
                let [_, mean, rstd] = g.batch_norm(x[0], x[1], x[2], 1e-2)?;
                let operands = [&[x[0], x[1], mean, rstd], &x[3..]].concat();
                g.apply_all(op.clone(), &operands)
            };
            Case::new(format!("batch_norm_tangent {shape:?} {height:?} {residual} {gate}"), x, build)
                .tolerance(frame::tolerance(shape, 5e-6))
                .order(0)
        })
    });
    let plain = shapes.iter().map(|&(shape, height)| {
        let c = [shape[shape.len() - 1]];
        let mut x = vec![range(shape, -2.0, 3.0), range(&c, 0.5, 1.5), unit(&c)];
        x.extend([shape, &c, &c].map(|s| unit(&stacked(height, s))));
        Case::new(format!("batch_norm_tangent {shape:?} {height:?}"), x, |g, x| {
            let [_, mean, rstd] = g.batch_norm(x[0], x[1], x[2], 1e-2)?;
            Ok(g.batch_norm_tangent(x[0], x[1], [mean, rstd], [x[3], x[4], x[5]], 1e-2)?.to_vec())
        })
        .tolerance(frame::tolerance(shape, 5e-6))
    });
    plain.chain(fused).collect()
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<Case> {
    let op = BatchNormTangent { eps: 1e-5, residual: false, gate: false };
    super::batch_norm::timed_family(op, "acccacc", 5e-6)
}

//! Scaled dot-product attention.

use crate::ops::attention::{attention_grad::AttentionGrad, attention_tangent::AttentionTangent};
use crate::{
    cpu::{
        buffer::{Operand, OutMut},
        float::Real,
        math::exponentials,
    },
    error::Result,
    graph::{
        graph::{Graph, Var},
        op::{At, Op, Stacked, cpu},
    },
    launch::{
        launch::{Bind, Launches},
        target::Class,
    },
    ops::{
        attention::{
            blocks::{BLOCK, Blocks},
            heads::{Extents, Like, Scores},
        },
        norm::frame::or_zeros,
    },
    tensor::dtype::Type,
    testing::cases::{Case, Sample, unit},
};

/// The op of [`Graph::attention`]: its settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attention {
    /// Whether query `i` sees keys `j ≤ i + s − t` only, so that the last query sees the last key.
    pub causal: bool,
    /// What products of queries and keys are multiplied by, usually `1/√d`.
    pub scale: f64,
}

impl Attention {
    fn eval<F: Real>(&self, x: &[Operand<F>], y: &mut [OutMut<F>]) {
        let b = Blocks::new(*self, x);
        let [q, k, v] = [0, 1, 2].map(|i| x[i].floats());
        let (d, scale) = (x[0].shape()[3], F::of(self.scale));
        b.each_query_block(y, |n, h, rows| {
            let (mut most, mut sum) = (vec![F::min_value(); rows.len()], vec![F::zero(); rows.len()]);
            let (mut y, mut p) = (vec![F::zero(); rows.len() * d], vec![F::zero(); BLOCK * BLOCK]);
            for columns in b.key_blocks(n, rows) {
                b.products(&mut p, b.queries(q, n, h, rows), b.keys(k, n, h, &columns), false);
                for (r, i) in rows.clone().enumerate() {
                    let (p, hidden) = p[r * BLOCK..][..BLOCK].split_at_mut(b.seen(n, i, &columns));
                    hidden.fill(F::zero());
                    let next = p.iter().fold(most[r], |most, &p| most.max(p * scale));
                    exponentials(p, scale, next);
                    let kept = (most[r] - next).exponential();
                    sum[r] = sum[r] * kept + p.iter().copied().sum();
                    y[r * d..][..d].iter_mut().for_each(|y| *y *= kept);
                    most[r] = next;
                }
                b.weigh(&mut y, rows.len(), &p, b.keys(v, n, h, &columns));
            }
            for ((y, lse), sum) in y.chunks_mut(d).zip(&mut most).zip(sum) {
                let (norm, log) = if sum > F::zero() { (sum.recip(), *lse + sum.ln()) } else { (sum, sum) };
                y.iter_mut().for_each(|y| *y *= norm);
                *lse = log;
            }
            [y, most]
        });
    }
}

impl Op for Attention {
    cpu!();

    fn name(&self) -> &'static str {
        "attention"
    }

    fn infer(&self, x: &[&Type]) -> Result<Vec<Type>> {
        let e = Extents::check("attention", x, &[Like::Query, Like::Key, Like::Key, Like::Lengths])?;
        Ok(vec![e.ty(Like::Query), e.ty(Like::Row)])
    }

    fn launch(&self, class: Class, x: &[&Type], _: &[&Type]) -> Launches {
        let e = Extents::of(&x[0].shape, &x[1].shape);
        let bind = [Bind::In(0), Bind::In(1), Bind::In(2), Bind::In(3), Bind::Out(0), Bind::Out(1)];
        self.launch_tiles(class, "attention", &e, (e.t, e.heads), 2, &bind).into()
    }

    fn flops(&self, x: &[&Type], _: &[&Type]) -> u64 {
        self.count_flops(x, 2)
    }

    fn plain(&self, g: &mut Graph, x: &[Var]) -> Result<Option<Vec<Var>>> {
        let scores = Scores::new(g, self, x, x[3])?;
        let lse = scores.logsumexp(g)?;
        let p = scores.weights(g, lse)?;
        Ok(Some(vec![scores.weigh(g, p, x[2])?, lse]))
    }

    fn batched(&self, g: &mut Graph, x: Stacked) -> Result<Option<Vec<Var>>> {
        Attention::on_stacks(*self, g, x)
    }

    /// A cotangent of the logarithm is one of Σ ct y less: both move the scores' cotangents along the probabilities.
    fn vjp(&self, g: &mut Graph, at: At, ct: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        let ct_y = or_zeros(g, ct[0], at.y[0])?;
        let product = g.mul(ct_y, at.y[0])?;
        let mut delta = g.sum(product, &[3])?;
        if let Some(ct) = ct[1] {
            delta = g.sub(delta, ct)?;
        }
        let d = g.apply_all(AttentionGrad(*self), &[at.x[0], at.x[1], at.x[2], at.x[3], at.y[1], delta, ct_y])?;
        Ok(d.into_iter().map(Some).chain([None]).collect())
    }

    fn jvp(&self, g: &mut Graph, at: At, dx: &[Option<Var>]) -> Result<Vec<Option<Var>>> {
        let mut x = [at.x, at.y].concat();
        for (&dx, &like) in dx.iter().zip(&at.x[..3]) {
            x.push(or_zeros(g, dx, like)?);
        }
        let dy = g.apply_all(AttentionTangent(*self), &x)?;
        Ok(dy.into_iter().map(Some).collect())
    }
}

impl Graph {
    /// `y[i] = Σⱼ softmaxⱼ(scale q[i]·k[j]) v[j]` for every head (Vaswani et al. 2017), and the logarithm of the sum of
    /// exponentials that the softmax divides by. Groups of query heads may share a head of keys and values (Ainslie et
    /// al. 2023).
    ///
    /// | | shape | range |
    /// |---|---|---|
    /// | q, y | `[n, t, heads, d]` | `d ≤ 256` |
    /// | k, v | `[n, s, kv_heads, d]` | `heads` a multiple of `kv_heads` |
    /// | lengths | `[n]`, u32 | keys at or behind it are masked; none without it |
    /// | logsumexp | `[n, t, heads]` | 0 for a query that sees no key, whose `y` and derivatives are 0 |
    ///
    /// The softmax is made in one pass over tiles of keys (Milakov and Gimelshein 2018; Dao et al. 2022), so memory
    /// grows with `t + s`. Gradient, tangent and the gradient's tangent are fused in the same way; higher derivatives
    /// come from the plain graph, which holds `t·s` numbers for each head.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) when the shapes do not match, [`Error::DType`](crate::Error::DType) for
    /// floats as lengths.
    pub fn attention(&mut self, q: Var, k: Var, v: Var, how: Attention, lengths: Option<Var>) -> Result<[Var; 2]> {
        let lengths = match lengths {
            Some(lengths) => lengths,
            None => {
                let n = self.shape(q).first().copied().unwrap_or(1);
                self.fill_u32(&[n], u32::MAX)?
            }
        };
        let y = self.apply_all(how, &[q, k, v, lengths])?;
        Ok([y[0], y[1]])
    }
}

/// Extents on which the family is tried: n, t, s, heads, kv_heads, d, causal, and lengths.
pub(crate) const SIZES: &[([usize; 6], bool, &[u32])] = &[
    ([2, 5, 7, 2, 1, 8], false, &[7, 4]),
    ([2, 33, 17, 4, 2, 8], false, &[17, 0]),
    ([1, 35, 40, 2, 2, 8], true, &[39]),
    ([1, 37, 3, 2, 1, 8], true, &[99]),
    ([1, 9, 70, 1, 1, 130], true, &[67]),
];

/// The cases of one of the family's ops, whose operands are these, then those of [`Attention`].
pub(crate) fn on_sizes<O: Op>(name: &str, op: fn(Attention) -> O, operands: &[Like], tolerance: f64) -> Vec<Case> {
    let case = |&(size, causal, lengths): &([usize; 6], bool, &[u32])| {
        let what = format!("{name} {size:?} causal {causal} {lengths:?}");
        on_size(what, op, operands, (size, causal, lengths)).tolerance(tolerance)
    };
    SIZES.iter().map(case).collect()
}

fn on_size<O: Op>(
    what: String,
    op: fn(Attention) -> O,
    operands: &[Like],
    ([n, t, s, heads, kv_heads, d], causal, lengths): ([usize; 6], bool, &[u32]),
) -> Case {
    let e = Extents { n, t, s, heads, kv_heads, d };
    let draw = |&like: &Like| match like {
        Like::Lengths => Sample::Words(lengths.to_vec()),
        like => unit(&e.ty(like).shape),
    };
    let how = Attention { causal, scale: 1.5 / (d as f64).sqrt() };
    Case::new(what, operands.iter().map(draw).collect(), move |g, x| g.apply_all(op(how), x))
}

/// The timed cases of one of the family's ops: of a small transformer, and off every tile.
pub(crate) fn timed_sizes<O: Op>(op: fn(Attention) -> O, operands: &[Like], tolerance: f64) -> Vec<Case> {
    let sizes: [([usize; 6], bool, &[u32]); 2] =
        [([4, 128, 128, 4, 4, 32], true, &[128; 4]), ([3, 197, 197, 6, 6, 24], false, &[197; 3])];
    let case = |(size @ [n, t, _, heads, _, d], causal, lengths): ([usize; 6], bool, &[u32])| {
        let what = format!("[{n}, {t}, {heads}, {d}]{}", if causal { " causal" } else { "" });
        on_size(what, op, operands, (size, causal, lengths)).tolerance(tolerance)
    };
    sizes.map(case).into()
}

/// Its test cases.
pub(crate) fn cases() -> Vec<Case> {
    let mut all = on_sizes("attention", |how| how, &[Like::Query, Like::Key, Like::Key, Like::Lengths], 3e-6);
    let x = vec![unit(&[2, 9, 2, 256]), unit(&[2, 9, 2, 256]), unit(&[2, 9, 2, 256])];
    all.push(Case::new("attention without lengths", x, |g, x| {
        Ok(g.attention(x[0], x[1], x[2], Attention { causal: true, scale: 0.1 }, None)?.to_vec())
    }));
    // Scores up to ±200, far beyond the range of the exponential.
    let x = vec![unit(&[1, 40, 1, 8]), unit(&[1, 70, 1, 8]), unit(&[1, 70, 1, 8])];
    all.push(
        Case::new("attention, large scores", x, |g, x| {
            Ok(g.attention(x[0], x[1], x[2], Attention { causal: false, scale: 50.0 }, None)?.to_vec())
        })
        .tolerance(1e-4)
        .order(0),
    );
    all
}

/// Its timed cases.
pub(crate) fn timed() -> Vec<Case> {
    timed_sizes(|how| how, &[Like::Query, Like::Key, Like::Key, Like::Lengths], 3e-6)
}

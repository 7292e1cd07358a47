//! What the attention family shares: settings, extents, masks, launches and plain graphs.

use Like::{Key, Lengths, Query, Row};

use crate::{error::*, graph::*, launch::*, tensor::*};

/// The longest heads: what fits the registers of eight invocations with four rows.
const LONGEST: usize = 256;

/// Queries of a workgroup in the class of GPUs, or keys where it makes keys' cotangents.
const ROWS: usize = 32;

/// Passes of an invocation's loops in a launch on a software adapter, which ends them after 65,535 in all, without a word.
const PASSES: usize = 60_000;

/// What a kernel of the family does: whether queries or keys are a workgroup's, how many weights it holds for each pair, and how
/// often for each tile of the others it loads one, multiplies rows with it, weighs it, and goes through its columns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    pub over: Like,
    pub planes: usize,
    pub steps: [usize; 4],
}

impl Work {
    /// Passes of an invocation's loops for a tile.
    fn passes(&self, columns: usize, vec4s: usize, lanes: usize) -> usize {
        let each = [(columns * vec4s).div_ceil(lanes), vec4s, columns * (1 + vec4s.div_ceil(8)), columns];
        1 + 8 + each.iter().zip(self.steps).map(|(passes, times)| (passes + 1) * times).sum::<usize>()
    }
}

/// The op of [`Tensor::attention`]: its settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attention {
    /// Whether query `i` sees keys `j ≤ i + s − t` only, so that the last query sees the last key.
    pub causal: bool,
    /// What products of queries and keys are multiplied by, usually `1/√d`.
    pub scale: f64,
}

/// Operands of attention.
pub(crate) const OPERANDS: [Like; 4] = [Query, Key, Key, Lengths];

/// Operands of its backward: then the logarithm, delta and the cotangent of `y`.
pub(crate) const GRAD_OPERANDS: [Like; 7] = [Query, Key, Key, Lengths, Row, Row, Query];

/// A query's logarithm of up to this size is as good as its sum; of one that is larger rounding takes up to this share, which
/// is then looked for.
pub(crate) const SMALL: f64 = 32.0;
pub(crate) const LOST: f64 = 1.0 / 4_194_304.0;

/// Extents: q is `[n, t, heads, d]`, k and v are `[n, s, kv_heads, d]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extents {
    pub n: usize,
    pub t: usize,
    pub s: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub d: usize,
}

/// What an operand or a result of the family is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Like {
    Query,
    Key,
    /// One number for each query and head.
    Row,
    Lengths,
}

impl Extents {
    /// Those of operands that begin with q and k.
    pub(crate) fn of(q: &[usize], k: &[usize]) -> Self {
        Extents { n: q[0], t: q[1], s: k[1], heads: q[2], kv_heads: k[2], d: q[3] }
    }

    /// Query heads that share a key head.
    pub(crate) fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    pub(crate) fn ty(&self, like: Like) -> Type {
        match like {
            Query => Type::f32([self.n, self.t, self.heads, self.d]),
            Key => Type::f32([self.n, self.s, self.kv_heads, self.d]),
            Row => Type::f32([self.n, self.t, self.heads]),
            Lengths => Type::u32([self.n]),
        }
    }
}

/// The types of results like these, from operands like those, which begin with a query, a key.
pub(crate) fn infer(op: &'static str, x: &[&Type], operands: &[Like], results: &[Like]) -> Result<Vec<Type>> {
    let dtype = |&like: &Like| if like == Lengths { DType::U32 } else { DType::F32 };
    expect_dtypes(op, x, &operands.iter().map(dtype).collect::<Vec<_>>())?;
    if let ([_, _, heads, d], [_, _, kv_heads, _]) = (&x[0].shape[..], &x[1].shape[..])
        && heads.is_multiple_of(*kv_heads)
        && *d <= LONGEST
    {
        let e = Extents::of(&x[0].shape, &x[1].shape);
        if x.iter().zip(operands).all(|(x, &like)| **x == e.ty(like)) {
            return Ok(results.iter().map(|&like| e.ty(like)).collect());
        }
    }
    let rule = format!(
        "q is [n, t, heads, d], k and v [n, s, kv_heads, d], lengths [n], with heads a multiple of kv_heads, \
         d at most {LONGEST}, and derivatives like their values"
    );
    Err(shape_error(op, rule, x))
}

impl Attention {
    /// The number of keys that a query sees: they are the first ones.
    pub(crate) fn visible(&self, e: &Extents, length: u32, i: usize) -> usize {
        let most = if self.causal { (i + 1 + e.s).saturating_sub(e.t) } else { e.s };
        most.min(e.s).min(length as usize)
    }

    /// The launches of a kernel that imports `attend`, in which some queries or keys of a head are a workgroup's, as the work
    /// says. On software adapters each goes over a stretch of the others.
    pub(crate) fn launch_tiles(
        &self, class: Class, kernel: &'static str, x: &[&Type], work: Work, rest: usize, bind: &[Bind],
    ) -> Vec<Launch> {
        let e = Extents::of(&x[0].shape, &x[1].shape);
        let ((rows, heads), all) = if work.over == Key { ((e.s, e.kv_heads), e.t) } else { ((e.t, e.heads), e.s) };
        let own = if class.is_software() { ROWS / 4 } else { ROWS };
        let vec4s = e.d.div_ceil(4);
        let bytes = |columns: usize| 16 * columns * (vec4s + 1) + 4 * work.planes * own * (columns + 1);
        let columns = [32, 16].into_iter().find(|&c| bytes(c) <= 16 << 10).unwrap_or(8);
        let launch = Launch::new(kernel, e.n * heads * rows.div_ceil(own))
            .constant("ROWS", own as f64)
            .constant("COLUMNS", columns as f64)
            .constant("VEC4", vec4s as f64)
            .constant("PLANES", work.planes as f64)
            .constant("EVEN", e.d.is_multiple_of(4))
            .params([e.n, e.t, e.s, e.heads, e.kv_heads, e.d].map(word))
            .params([u32::from(self.causal), (self.scale as f32).to_bits()])
            .bind(bind.iter().copied());
        let heads = if work.over == Key { e.group() } else { 1 };
        let most = match class {
            Class::Gpu(_) => all,
            Class::Software { .. } => (PASSES / (heads * work.passes(columns, vec4s, 2 * own))).max(1) * columns,
        };
        let stretch = |first: usize| {
            let end = (first + most).min(all);
            launch
                .clone()
                .constant("FIRST", first == 0)
                .constant("LAST", end == all)
                .params([first, end, rest].map(word))
        };
        (0..all).step_by(most).map(stretch).collect()
    }

    /// The launches of a backward, or of its tangent, after those that pack operands: one over queries and one over keys. They
    /// bind q, k, v, lengths, rows' numbers and ct.
    pub(crate) fn launch_backward(
        &self, class: Class, x: &[&Type], mut launches: Launches, operands: [Bind; 6], tangent: bool,
    ) -> Launches {
        let [of_queries, of_keys] = if tangent {
            [Work { over: Query, planes: 2, steps: [5, 6, 2, 0] }, Work { over: Key, planes: 4, steps: [7, 6, 4, 0] }]
        } else {
            [Work { over: Query, planes: 1, steps: [2, 2, 1, 0] }, Work { over: Key, planes: 2, steps: [3, 2, 2, 0] }]
        };
        let dq = [&operands[..], &[Bind::Out(0)]].concat();
        let dk_dv = [&operands[..], &[Bind::Out(1), Bind::Out(2)]].concat();
        let rest = if tangent { 4 } else { 2 } * x[4].count();
        let list = [("attention_grad_q", of_queries, &dq), ("attention_grad_kv", of_keys, &dk_dv)];
        let list =
            list.into_iter().flat_map(|(kernel, work, bind)| self.launch_tiles(class, kernel, x, work, rest, bind));
        launches.list.extend(list.map(|launch| launch.constant("TANGENT", tangent)));
        launches
    }

    /// Puts numbers of rows into a scratch buffer: the first part of the logarithm lse, those operands, and the second part. It
    /// is their number times that of rows where the second part begins.
    pub(crate) fn pack_rows(
        &self, class: Class, x: &[&Type], launches: &mut Launches, lse: usize, others: &[usize],
    ) -> (Bind, usize) {
        let (len, to) = (x[lse].count(), Bind::Scratch(launches.scratch.len()));
        let (total, rest) = ((others.len() + 2) * len, (others.len() + 1) * len);
        launches.scratch.push(total);
        let work = Work { over: Query, planes: 2, steps: [1, 1, 0, 2] };
        let bind = [Bind::In(0), Bind::In(1), Bind::In(3), Bind::In(lse), to];
        launches.list.extend(self.launch_tiles(class, "attention_rows", x, work, rest, &bind));
        launches.list.extend((1..).zip(others).map(|(i, &other)| put_at(other, len, [total, i * len], to)));
        (to, rest)
    }

    /// Floating-point operations of `products` matrix products of queries and keys.
    pub(crate) fn count_flops(&self, x: &[&Type], products: u64) -> u64 {
        let pairs = (x[0].count() * x[1].shape[1]) as u64;
        2 * products * pairs / if self.causal { 2 } else { 1 }
    }
}

/// The same op on stacks: they become more of `n`.
pub(crate) fn on_stacks<'g>(op: impl Op, x: Stacked<'_, 'g>) -> Result<Option<Vec<Tensor<'g>>>> {
    let stack = |(&v, &stacked): (&Tensor<'g>, &bool)| if stacked { Ok(v) } else { v.repeat(x.k) };
    let all = x.x.iter().zip(x.is).map(|v| stack(v)?.fold_stack(0)).collect::<Result<Vec<_>>>()?;
    let y = all[0].graph().apply_all(op, &all)?;
    y.into_iter().map(|y| y.unfold_stack(0, x.k)).collect::<Result<_>>().map(Some)
}

impl Launches {
    /// Puts operands one after the other into a scratch buffer, for kernels that may bind eight buffers.
    pub(crate) fn pack(&mut self, x: &[&Type], operands: &[usize]) -> Bind {
        let total = operands.iter().map(|&i| x[i].count()).sum();
        let to = Bind::Scratch(self.scratch.len());
        self.scratch.push(total);
        let mut offset = 0;
        for &i in operands {
            let len = x[i].count();
            self.list.push(put_at(i, len, [total, offset], to));
            offset += len;
        }
        to
    }
}

/// The launch that puts an operand of so many elements into a buffer of `total`, at an offset.
fn put_at(operand: usize, len: usize, [total, offset]: [usize; 2], to: Bind) -> Launch {
    let words = [len, len, total, offset].map(word);
    Launch::new("concat", len.div_ceil(64)).params(words).bind([Bind::In(operand), to])
}

/// Plain graphs of the family, with `[n, heads, t, s]` scores.
pub(crate) struct Scores<'g> {
    e: Extents,
    scale: f64,
    q: Tensor<'g>,
    k: Tensor<'g>,
    /// 0 where the query sees the key, −1e30 elsewhere.
    hidden: Tensor<'g>,
    /// 1 where the query sees a key, `[n, 1, t]`.
    sees: Tensor<'g>,
}

impl<'g> Scores<'g> {
    /// From operands that begin with q, k, v and lengths.
    pub(crate) fn new(op: &Attention, x: &[Tensor<'g>]) -> Result<Self> {
        let (g, e) = (x[0].graph(), Extents::of(x[0].shape()?, x[1].shape()?));
        let behind: Vec<f32> = (0..=e.s).flat_map(|m| (0..e.s).map(move |j| f32::from(j >= m))).collect();
        let within = 1.0 - g.literal(&[e.s + 1, e.s], &behind).gather(x[3]);
        let seen = |i: usize, j: usize| f32::from(j < op.visible(&e, u32::MAX, i));
        let seen: Vec<f32> = (0..e.t).flat_map(|i| (0..e.s).map(move |j| (i, j))).map(|(i, j)| seen(i, j)).collect();
        let mask = within.reshape(&[e.n, 1, 1, e.s]) * g.literal(&[e.t, e.s], &seen);
        let (q, k) = (e.by_head(x[0])?, e.by_head(x[1])?);
        Ok(Scores { e, scale: op.scale, q, k, hidden: mask * 1e30 - 1e30, sees: mask.max_over(&[3]) })
    }

    /// `scale Σ q k`.
    fn product(&self, q: Tensor<'g>, k: Tensor<'g>) -> Tensor<'g> {
        q.matmul_as(false, k, true) * self.scale
    }

    /// The scores; −1e30 where a key is not seen, with no derivative there.
    fn masked(&self) -> Tensor<'g> {
        self.product(self.q, self.k) + self.hidden
    }

    /// The logarithm of Σ e^score, 0 for a query that sees no key.
    pub(crate) fn logsumexp(&self) -> Tensor<'g> {
        (self.masked().logsumexp(&[3]) * self.sees).transpose(&[0, 2, 1])
    }

    /// `p = e^(score − lse)`; what the logarithm lost in rounding is taken off as well.
    pub(crate) fn weights(&self, lse: Tensor<'g>) -> Tensor<'g> {
        let (lse, g) = (rows(lse), lse.graph());
        let t = self.masked() - lse;
        let rest = t.logsumexp(&[3]).unsqueeze(&[3]).stop_gradient();
        let [large, lost] = [lse.abs().gt(g.fill(&[], SMALL)), rest.abs().le(lse.abs() * LOST)];
        (t - (large * lost).relu_mask(rest)).exp()
    }

    /// The tangent of the scores.
    pub(crate) fn tangent(&self, dq: Tensor<'g>, dk: Tensor<'g>) -> Result<Tensor<'g>> {
        Ok(self.product(self.e.by_head(dq)?, self.k) + self.product(self.q, self.e.by_head(dk)?))
    }

    /// `y = Σ weights v`.
    pub(crate) fn weigh(&self, weights: Tensor<'g>, v: Tensor<'g>) -> Result<Tensor<'g>> {
        Ok(weights.matmul(self.e.by_head(v)?).transpose(&[0, 2, 1, 3]))
    }

    /// `dq`, `dk` and `dv` from the backward's operands: with `ds = scale p (Σ ct v − delta)`, `Σ ds k`, `Σ ds q`, `Σ p ct`.
    pub(crate) fn grads(op: &Attention, x: &[Tensor<'g>]) -> Result<Vec<Tensor<'g>>> {
        let scores = Scores::new(op, x)?;
        let Scores { e, q, k, .. } = scores;
        let p = scores.weights(x[4]);
        let (v, ct) = (e.by_head(x[2])?, e.by_head(x[6])?);
        let ds = p * (ct.matmul_as(false, v, true) - rows(x[5])) * op.scale;
        let (dk, dv) = (ds.matmul_as(true, q, false), p.matmul_as(true, ct, false));
        Ok(vec![ds.matmul(k).transpose(&[0, 2, 1, 3]), e.by_key(dk), e.by_key(dv)])
    }
}

impl Extents {
    /// `[n, length, heads, d]` as `[n, heads, length, d]` for every query head.
    fn by_head<'g>(&self, x: Tensor<'g>) -> Result<Tensor<'g>> {
        let [n, length, heads, d] = x.dims()?;
        let apart = x.transpose(&[0, 2, 1, 3]).reshape(&[n, heads, 1, length, d]);
        Ok(apart.broadcast(&[n, heads, self.heads / heads, length, d]).reshape(&[n, self.heads, length, d]))
    }

    /// The transpose of [`Extents::by_head`] for keys: heads of a group are added up.
    fn by_key<'g>(&self, x: Tensor<'g>) -> Tensor<'g> {
        let apart = x.reshape(&[self.n, self.kv_heads, self.group(), self.s, self.d]);
        apart.sum(&[2]).transpose(&[0, 2, 1, 3])
    }
}

/// `[n, t, heads]` as `[n, heads, t, 1]`.
fn rows(x: Tensor) -> Tensor {
    x.transpose(&[0, 2, 1]).unsqueeze(&[3])
}

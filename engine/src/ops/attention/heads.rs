//! What the attention family shares: extents, masks, plain graphs, launches, and blocks of queries and keys on the CPU.

use crate::{
    error::{Error, Result},
    graph::{
        graph::{Graph, Var},
        op::Stacked,
    },
    launch::{
        launch::{Bind, Launch, Launches, word},
        target::Class,
    },
    ops::attention::attention::Attention,
    tensor::dtype::{DType, Type, expect_dtypes, shape_error},
};

/// The longest heads: what fits the registers of eight invocations with four rows.
const LONGEST: usize = 256;

/// Queries of a workgroup in the class of GPUs, or keys where it makes keys' cotangents.
const ROWS: usize = 32;

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
            Like::Query => Type::f32([self.n, self.t, self.heads, self.d]),
            Like::Key => Type::f32([self.n, self.s, self.kv_heads, self.d]),
            Like::Row => Type::f32([self.n, self.t, self.heads]),
            Like::Lengths => Type::u32([self.n]),
        }
    }

    /// Those of operands that are as `like` says, which begins with a query, a key.
    pub(crate) fn check(op: &'static str, x: &[&Type], like: &[Like]) -> Result<Self> {
        let dtype = |&l: &Like| if l == Like::Lengths { DType::U32 } else { DType::F32 };
        expect_dtypes(op, x, &like.iter().map(dtype).collect::<Vec<_>>())?;
        let rule = || -> Error {
            let rule = format!(
                "q is [n, t, heads, d], k and v [n, s, kv_heads, d], lengths [n], with heads a multiple of kv_heads, \
                 d at most {LONGEST}, and derivatives like their values"
            );
            shape_error(op, rule, x)
        };
        let ([_, _, heads, d], [_, _, kv_heads, _]) = (&x[0].shape[..], &x[1].shape[..]) else { return Err(rule()) };
        if !heads.is_multiple_of(*kv_heads) || *d > LONGEST {
            return Err(rule());
        }
        let e = Extents::of(&x[0].shape, &x[1].shape);
        if x.iter().zip(like).any(|(x, &like)| **x != e.ty(like)) {
            return Err(rule());
        }
        Ok(e)
    }
}

impl Attention {
    /// The number of keys that a query sees: they are the first ones.
    pub(crate) fn visible(&self, e: &Extents, length: u32, i: usize) -> usize {
        let most = if self.causal { (i + 1 + e.s).saturating_sub(e.t) } else { e.s };
        most.min(e.s).min(length as usize)
    }

    /// The launch of a kernel that imports `attend`, in which `rows` queries or keys each of `heads` heads are a
    /// workgroup's, with `planes` weights for each pair.
    pub(crate) fn launch_tiles(
        &self,
        class: Class,
        kernel: &'static str,
        e: &Extents,
        (rows, heads): (usize, usize),
        planes: usize,
        bind: &[Bind],
    ) -> Launch {
        let own = if class.is_software() { ROWS / 4 } else { ROWS };
        let fours = e.d.div_ceil(4);
        let bytes = |columns: usize| 16 * columns * (fours + 1) + 4 * planes * own * (columns + 1);
        let columns = [32, 16].into_iter().find(|&c| bytes(c) <= 16 << 10).unwrap_or(8);
        Launch::new(kernel, e.n * heads * rows.div_ceil(own))
            .constant("ROWS", own as f64)
            .constant("COLUMNS", columns as f64)
            .constant("FOURS", fours as f64)
            .constant("PLANES", planes as f64)
            .constant("EVEN", e.d.is_multiple_of(4))
            .params([e.n, e.t, e.s, e.heads, e.kv_heads, e.d].map(word))
            .params([u32::from(self.causal), (self.scale as f32).to_bits()])
            .bind(bind.iter().copied())
    }

    /// The launches of a backward, or of its tangent: those that pack operands, then one over queries and one over
    /// keys. `x` are q, k, v, lengths, rows' numbers and ct.
    pub(crate) fn launch_backward(
        &self,
        class: Class,
        e: &Extents,
        mut launches: Launches,
        x: [Bind; 6],
        tangent: bool,
    ) -> Launches {
        let [of_queries, of_keys] = if tangent { [2, 4] } else { [1, 2] };
        let dq = [&x[..], &[Bind::Out(0)]].concat();
        let dk_dv = [&x[..], &[Bind::Out(1), Bind::Out(2)]].concat();
        let list = [
            self.launch_tiles(class, "attention_grad_q", e, (e.t, e.heads), of_queries, &dq),
            self.launch_tiles(class, "attention_grad_kv", e, (e.s, e.kv_heads), of_keys, &dk_dv),
        ];
        launches.list.extend(list.map(|launch| launch.constant("TANGENT", tangent)));
        launches
    }

    /// Floating-point operations of `products` matrix products of queries and keys.
    pub(crate) fn count_flops(&self, x: &[&Type], products: u64) -> u64 {
        let pairs = (x[0].count() * x[1].shape[1]) as u64;
        2 * products * pairs / if self.causal { 2 } else { 1 }
    }

    /// The same op on stacks: they become more of `n`.
    pub(crate) fn on_stacks(op: impl crate::graph::op::Op, g: &mut Graph, x: Stacked) -> Result<Option<Vec<Var>>> {
        let mut all = Vec::new();
        for (&v, &stacked) in x.x.iter().zip(x.is) {
            let stack = if stacked { v } else { g.repeat(v, x.k)? };
            all.push(g.fold_stack(stack, 0)?);
        }
        let y = g.apply_all(op, &all)?;
        y.into_iter().map(|y| g.unfold_stack(y, 0, x.k)).collect::<Result<Vec<_>>>().map(Some)
    }
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
            let words = [len, len, total, offset].map(word);
            self.list.push(Launch::new("concat", len.div_ceil(64)).params(words).bind([Bind::In(i), to]));
            offset += len;
        }
        to
    }
}

/// Plain graphs of the family, with `[n, heads, t, s]` scores.
pub(crate) struct Scores {
    e: Extents,
    scale: f64,
    q: Var,
    k: Var,
    /// 0 where the query sees the key, −1e30 elsewhere.
    hidden: Var,
    /// 1 where the query sees a key, `[n, 1, t]`.
    sees: Var,
}

impl Scores {
    pub(crate) fn new(g: &mut Graph, op: &Attention, x: &[Var], lengths: Var) -> Result<Self> {
        let e = Extents::of(g.shape(x[0]), g.shape(x[1]));
        let behind: Vec<f32> = (0..=e.s).flat_map(|m| (0..e.s).map(move |j| f32::from(j >= m))).collect();
        let behind = g.literal(&[e.s + 1, e.s], &behind)?;
        let masked = g.gather(behind, lengths)?;
        let within = g.affine(masked, -1.0, 1.0)?;
        let within = g.reshape(within, &[e.n, 1, 1, e.s])?;
        let seen = |i: usize, j: usize| f32::from(j < op.visible(&e, u32::MAX, i));
        let seen: Vec<f32> = (0..e.t).flat_map(|i| (0..e.s).map(move |j| (i, j))).map(|(i, j)| seen(i, j)).collect();
        let seen = g.literal(&[e.t, e.s], &seen)?;
        let mask = g.mul(within, seen)?;
        let hidden = g.affine(mask, 1e30, -1e30)?;
        let sees = g.max_over(mask, &[3])?;
        let (q, k) = (e.by_head(g, x[0])?, e.by_head(g, x[1])?);
        Ok(Scores { e, scale: op.scale, q, k, hidden, sees })
    }

    /// `scale Σ q k`.
    fn product(&self, g: &mut Graph, q: Var, k: Var) -> Result<Var> {
        let product = g.matmul_as(q, false, k, true)?;
        g.affine(product, self.scale, 0.0)
    }

    /// The scores; −1e30 where a key is not seen, with no derivative there.
    fn masked(&self, g: &mut Graph) -> Result<Var> {
        let scores = self.product(g, self.q, self.k)?;
        g.add(scores, self.hidden)
    }

    /// The logarithm of Σ e^score, 0 for a query that sees no key.
    pub(crate) fn logsumexp(&self, g: &mut Graph) -> Result<Var> {
        let scores = self.masked(g)?;
        let lse = g.logsumexp(scores, &[3])?;
        let lse = g.mul(lse, self.sees)?;
        g.transpose(lse, &[0, 2, 1])
    }

    /// `p = e^(score − lse)`.
    pub(crate) fn weights(&self, g: &mut Graph, lse: Var) -> Result<Var> {
        let scores = self.masked(g)?;
        let lse = self.e.rows(g, lse)?;
        let relative = g.sub(scores, lse)?;
        g.exp(relative)
    }

    /// The tangent of the scores.
    pub(crate) fn tangent(&self, g: &mut Graph, dq: Var, dk: Var) -> Result<Var> {
        let (dq, dk) = (self.e.by_head(g, dq)?, self.e.by_head(g, dk)?);
        let (left, right) = (self.product(g, dq, self.k)?, self.product(g, self.q, dk)?);
        g.add(left, right)
    }

    /// `y = Σ weights v`.
    pub(crate) fn weigh(&self, g: &mut Graph, weights: Var, v: Var) -> Result<Var> {
        let v = self.e.by_head(g, v)?;
        let y = g.matmul(weights, v)?;
        g.transpose(y, &[0, 2, 1, 3])
    }

    /// `dq`, `dk` and `dv` from the weights: with `ds = p (Σ ct v − delta)`, `scale Σ ds k`, `scale Σ ds q`, `Σ p ct`.
    pub(crate) fn grads(&self, g: &mut Graph, p: Var, v: Var, delta: Var, ct: Var) -> Result<Vec<Var>> {
        let (v, ct) = (self.e.by_head(g, v)?, self.e.by_head(g, ct)?);
        let delta = self.e.rows(g, delta)?;
        let dp = g.matmul_as(ct, false, v, true)?;
        let centred = g.sub(dp, delta)?;
        let ds = g.mul(p, centred)?;
        let ds = g.affine(ds, self.scale, 0.0)?;
        let dq = g.matmul(ds, self.k)?;
        let (dk, dv) = (g.matmul_as(ds, true, self.q, false)?, g.matmul_as(p, true, ct, false)?);
        Ok(vec![g.transpose(dq, &[0, 2, 1, 3])?, self.e.by_key(g, dk)?, self.e.by_key(g, dv)?])
    }
}

impl Extents {
    /// `[n, length, heads, d]` as `[n, heads, length, d]` for every query head.
    fn by_head(&self, g: &mut Graph, x: Var) -> Result<Var> {
        let x = g.transpose(x, &[0, 2, 1, 3])?;
        let [n, heads, length, d] = [0, 1, 2, 3].map(|axis| g.shape(x)[axis]);
        let group = self.heads / heads;
        let apart = g.reshape(x, &[n, heads, 1, length, d])?;
        let each = g.broadcast(apart, &[n, heads, group, length, d])?;
        g.reshape(each, &[n, self.heads, length, d])
    }

    /// The transpose of [`Extents::by_head`] for keys: heads of a group are added up.
    fn by_key(&self, g: &mut Graph, x: Var) -> Result<Var> {
        let apart = g.reshape(x, &[self.n, self.kv_heads, self.group(), self.s, self.d])?;
        let sum = g.sum(apart, &[2])?;
        g.transpose(sum, &[0, 2, 1, 3])
    }

    /// `[n, t, heads]` as `[n, heads, t, 1]`.
    fn rows(&self, g: &mut Graph, x: Var) -> Result<Var> {
        let x = g.transpose(x, &[0, 2, 1])?;
        g.unsqueeze(x, &[3])
    }
}

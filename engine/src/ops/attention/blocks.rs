//! Blockwise attention on the CPU: scores of one block of queries against one block of keys are held at a time.

use std::ops::Range;

use rayon::prelude::*;

use crate::cpu::*;
use crate::ops::attention::heads::{Attention, Extents, LOST, SMALL};

/// Queries, and keys, of a block.
pub(crate) const BLOCK: usize = 64;

/// A block's rows of one head, `stride` apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<'a, F> {
    data: &'a [F],
    stride: usize,
    len: usize,
}

/// The settings, the extents, and how many keys there are.
pub(crate) struct Blocks<'a> {
    op: Attention,
    e: Extents,
    lengths: &'a [u32],
}

/// `BLOCK × BLOCK` numbers, one for each query and key.
type Tile<F> = Vec<F>;

/// q, k, v, lse, delta and ct: operands of the backward.
pub(crate) type Operands<'a, F> = [&'a [F]; 6];

/// Row `r` of a tile for the keys that are seen; 0 for the others.
pub(crate) fn seen_row<F: Real>(tile: &mut [F], r: usize, seen: usize) -> &mut [F] {
    let (row, hidden) = tile[r * BLOCK..][..BLOCK].split_at_mut(seen);
    hidden.fill(F::zero());
    row
}

/// Scores `scale x − shift` less the largest so far, as powers of e, in their place. Adds them to the sum of those before,
/// which are to be multiplied by what this returns.
pub(crate) fn powers<F: Real>(x: &mut [F], scale: F, shift: F, most: &mut F, sum: &mut F) -> F {
    let next = x.iter().fold(*most, |most, &x| most.max(x * scale - shift));
    exponentials(x, scale, [shift, next]);
    let kept = (*most - next).exponential();
    *sum = *sum * kept + F::of(total(x));
    *most = next;
    kept
}

fn ranges(len: usize) -> impl Iterator<Item = Range<usize>> {
    (0..len).step_by(BLOCK).map(move |from| from..(from + BLOCK).min(len))
}

impl<'a> Blocks<'a> {
    /// From operands that begin with q, k, v and lengths.
    pub(crate) fn new<F: Real>(op: Attention, x: &[Operand<'a, F>]) -> Self {
        Blocks { op, e: Extents::of(x[0].shape(), x[1].shape()), lengths: x[3].indices() }
    }

    /// The blocks of keys of which one of these queries sees some.
    pub(crate) fn key_blocks(&self, n: usize, rows: &Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
        ranges(self.op.visible(&self.e, self.lengths[n], rows.end - 1))
    }

    /// How many of these keys the query sees: they are the first ones.
    pub(crate) fn seen(&self, n: usize, i: usize, columns: &Range<usize>) -> usize {
        self.op.visible(&self.e, self.lengths[n], i).saturating_sub(columns.start).min(columns.len())
    }

    /// Whether the query sees any key.
    pub(crate) fn sees(&self, n: usize, i: usize) -> bool {
        self.op.visible(&self.e, self.lengths[n], i) > 0
    }

    /// For each of these queries what its logarithm lost in rounding: `log Σ e^(score − lse)`, which is zero but for that, and
    /// is more than scores differ by where these are large. Of small ones it is too little to matter, and 0 is returned;
    /// so it is where an `lse` is not the logarithm for these q and k.
    pub(crate) fn rests<F: Real>(
        &self, (n, h, rows): (usize, usize, &Range<usize>), q: &[F], k: &[F], lse: &[F], tile: &mut [F],
    ) -> Vec<F> {
        let mut rests = vec![F::zero(); rows.len()];
        let lse = |i: usize| lse[self.row(n, h, i)];
        if rows.clone().all(|i| lse(i).abs() <= F::of(SMALL)) {
            return rests;
        }
        let (scale, mut sums) = (F::of(self.op.scale), vec![(F::min_value(), F::zero()); rows.len()]);
        for columns in self.key_blocks(n, rows) {
            self.products(tile, self.queries(q, n, h, rows), self.keys(k, n, h, &columns), false);
            for ((r, i), (most, sum)) in rows.clone().enumerate().zip(&mut sums) {
                let scores = &mut tile[r * BLOCK..][..self.seen(n, i, &columns)];
                powers(scores, scale, lse(i), most, sum);
            }
        }
        for ((rest, i), (most, sum)) in rests.iter_mut().zip(rows.clone()).zip(sums) {
            let lost = most + sum.ln();
            if lost.abs() <= lse(i).abs() * F::of(LOST) {
                *rest = lost;
            }
        }
        rests
    }

    /// Queries of head `h`.
    pub(crate) fn queries<'b, F>(&self, x: &'b [F], n: usize, h: usize, rows: &Range<usize>) -> Rows<'b, F> {
        let (len, stride) = (rows.len(), self.e.heads * self.e.d);
        Rows { data: &x[(n * self.e.t + rows.start) * stride + h * self.e.d..], stride, len }
    }

    /// Keys, or values, that query head `h` uses.
    pub(crate) fn keys<'b, F>(&self, x: &'b [F], n: usize, h: usize, columns: &Range<usize>) -> Rows<'b, F> {
        let (len, stride) = (columns.len(), self.e.kv_heads * self.e.d);
        let at = (n * self.e.s + columns.start) * stride + h / self.e.group() * self.e.d;
        Rows { data: &x[at..], stride, len }
    }

    /// `tile[i, j] = Σ a[i] b[j]`, or that much more.
    pub(crate) fn products<F: Real>(&self, tile: &mut [F], a: Rows<F>, b: Rows<F>, accumulate: bool) {
        let (left, right) = (Mat { data: a.data, row: a.stride, col: 1 }, Mat { data: b.data, row: 1, col: b.stride });
        F::gemm([a.len, b.len, self.e.d], tile, BLOCK, left, right, accumulate, false);
    }

    /// `y[i] += Σ tile[i, j] x[j]` for `rows` rows.
    pub(crate) fn weigh<F: Real>(&self, y: &mut [F], rows: usize, tile: &[F], x: Rows<F>) {
        let (left, right) = (Mat { data: tile, row: BLOCK, col: 1 }, Mat { data: x.data, row: x.stride, col: 1 });
        F::gemm([rows, self.e.d, x.len], y, self.e.d, left, right, true, false);
    }

    /// `y[j] += Σ tile[i, j] x[i]` for `columns` columns.
    fn weigh_back<F: Real>(&self, y: &mut [F], columns: usize, tile: &[F], x: Rows<F>) {
        let (left, right) = (Mat { data: tile, row: 1, col: BLOCK }, Mat { data: x.data, row: x.stride, col: 1 });
        F::gemm([columns, self.e.d, x.len], y, self.e.d, left, right, true, false);
    }

    /// The place of a query's number in an array of one for each query and head.
    pub(crate) fn row(&self, n: usize, h: usize, i: usize) -> usize {
        (n * self.e.t + i) * self.e.heads + h
    }

    /// Writes rows of head `h`, from number `from` on, into `[n, length, heads, width]`.
    fn put<F: Real>(y: &mut [F], [length, heads, width]: [usize; 3], [n, h, from]: [usize; 3], rows: &[F]) {
        for (i, row) in rows.chunks(width).enumerate() {
            y[((n * length + from + i) * heads + h) * width..][..width].copy_from_slice(row);
        }
    }

    /// Makes two results, one like q and one number for each query and head, block by block.
    pub(crate) fn each_query_block<F: Real>(
        &self, y: &mut [OutMut<F>], make: impl Fn(usize, usize, &Range<usize>) -> [Vec<F>; 2] + Sync,
    ) {
        let Extents { n, t, heads, d, .. } = self.e;
        let tasks: Vec<_> = (0..n * heads).flat_map(|head| ranges(t).map(move |rows| (head, rows))).collect();
        let made: Vec<_> = tasks.par_iter().map(|(head, rows)| make(head / heads, head % heads, rows)).collect();
        for ((head, rows), made) in tasks.iter().zip(&made) {
            for ((y, made), width) in y.iter_mut().zip(made).zip([d, 1]) {
                Self::put(y.floats_mut(), [t, heads, width], [head / heads, head % heads, rows.start], made);
            }
        }
    }

    /// The cotangents of q, k and v, or with tangents of the operands those of the cotangents. A task makes all of one
    /// head of keys, so that the weights of a block are made once.
    pub(crate) fn backward<F: Real>(&self, x: Operands<F>, dx: Option<Operands<F>>, y: &mut [OutMut<F>]) {
        let e = &self.e;
        let (group, queries, keys) = (e.group(), e.t * e.d, e.s * e.d);
        let task = |task: usize| {
            let (n, head) = (task / e.kv_heads, task % e.kv_heads);
            let (mut dq, mut dk, mut dv) =
                (vec![F::zero(); group * queries], vec![F::zero(); keys], vec![F::zero(); keys]);
            let mut tiles: [Tile<F>; 4] = std::array::from_fn(|_| vec![F::zero(); BLOCK * BLOCK]);
            let blocks = |h: usize| ranges(e.t).map(move |rows| (h, rows));
            let all = (head * group..(head + 1) * group).flat_map(blocks);
            let rests: Vec<F> =
                all.flat_map(|(h, rows)| self.rests((n, h, &rows), x[0], x[1], x[3], &mut tiles[0])).collect();
            for columns in ranges(e.s) {
                let own = columns.start * e.d..columns.end * e.d;
                for (item, h) in (head * group..(head + 1) * group).enumerate() {
                    for rows in ranges(e.t).filter(|rows| self.seen(n, rows.end - 1, &columns) > 0) {
                        let rests = &rests[item * e.t..][rows.clone()];
                        self.make_weights(&mut tiles, (n, h, &rows, &columns), rests, x, dx);
                        let dq = &mut dq[item * queries + rows.start * e.d..];
                        let [p, ds, dp, dds] = &tiles;
                        let terms = match dx {
                            None => vec![(x, p, ds)],
                            Some(dx) => vec![(x, dp, dds), (dx, p, ds)],
                        };
                        for ([q, k, .., ct], p, ds) in terms {
                            let [q, ct] = [q, ct].map(|x| self.queries(x, n, h, &rows));
                            self.weigh(dq, rows.len(), ds, self.keys(k, n, h, &columns));
                            self.weigh_back(&mut dk[own.clone()], columns.len(), ds, q);
                            self.weigh_back(&mut dv[own.clone()], columns.len(), p, ct);
                        }
                    }
                }
            }
            [dq, dk, dv]
        };
        let made: Vec<[Vec<F>; 3]> = (0..e.n * e.kv_heads).into_par_iter().map(task).collect();
        for (task, [dq, dk, dv]) in made.iter().enumerate() {
            let (n, head) = (task / e.kv_heads, task % e.kv_heads);
            for (h, dq) in (head * group..).zip(dq.chunks(queries)) {
                Self::put(y[0].floats_mut(), [e.t, e.heads, e.d], [n, h, 0], dq);
            }
            Self::put(y[1].floats_mut(), [e.s, e.kv_heads, e.d], [n, head, 0], dk);
            Self::put(y[2].floats_mut(), [e.s, e.kv_heads, e.d], [n, head, 0], dv);
        }
    }

    /// Tiles of `p`, of `ds = scale p (Σ ct v − delta)`, and of their tangents; 0 where a key is not seen.
    fn make_weights<F: Real>(
        &self, tiles: &mut [Tile<F>; 4], (n, h, rows, columns): (usize, usize, &Range<usize>, &Range<usize>),
        rests: &[F], [q, k, v, lse, delta, ct]: Operands<F>, dx: Option<Operands<F>>,
    ) {
        let scale = F::of(self.op.scale);
        let [p, ds, dp, dds] = tiles.each_mut();
        let query = |x| self.queries(x, n, h, rows);
        let key = |x| self.keys(x, n, h, columns);
        self.products(p, query(q), key(k), false);
        self.products(ds, query(ct), key(v), false);
        if let Some([dq, dk, dv, _, _, dct]) = dx {
            self.products(dp, query(dq), key(k), false);
            self.products(dp, query(q), key(dk), true);
            self.products(dds, query(dct), key(v), false);
            self.products(dds, query(ct), key(dv), true);
        }
        for (r, i) in rows.clone().enumerate() {
            let (at, seen) = (self.row(n, h, i), self.seen(n, i, columns));
            let [p, ds, dp, dds] = tiles.each_mut().map(|tile| seen_row(tile, r, seen));
            exponentials(p, scale, [lse[at], rests[r]]);
            ds.iter_mut().for_each(|ds| *ds = (*ds - delta[at]) * scale);
            if let Some([.., dlse, ddelta, _]) = dx {
                for c in 0..seen {
                    dp[c] = p[c] * (dp[c] * scale - dlse[at]);
                    dds[c] = dp[c] * ds[c] + p[c] * (dds[c] - ddelta[at]) * scale;
                }
            }
            ds.iter_mut().zip(p).for_each(|(ds, &mut p)| *ds *= p);
        }
    }
}

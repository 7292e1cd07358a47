//! Attention as a graph of simple ops.

use hillshade_engine::{Graph, Result, Var};

/// Stands for −∞ where it is added: its exponential is 0, its difference from itself 0 too.
const NEVER: f32 = -1e30;

/// `softmax(q kᵀ/√d + mask) v`, head by head (Vaswani et al. 2017). Consecutive query heads share a head of keys and values
/// (Ainslie et al. 2023).
///
/// | | shape |
/// |---|---|
/// | q, y | `[n, t, heads, d]` |
/// | k, v | `[n, s, kv_heads, d]` |
/// | lengths | `[n]`, u32: keys from there on are masked |
///
/// With `causal`, query `i` sees the keys `j ≤ i + s − t`.
pub(super) fn attention(g: &mut Graph, [q, k, v]: [Var; 3], causal: bool, lengths: Option<Var>) -> Result<Var> {
    let (queries, keys) = (g.shape(q).to_vec(), g.shape(k).to_vec());
    let [n, t, heads, d] = [queries[0], queries[1], queries[2], queries[3]];
    let (s, kv) = (keys[1], keys[2]);
    let group = heads / kv;
    let q = g.transpose(q, &[0, 2, 1, 3]).and_then(|q| g.reshape(q, &[n, kv, group * t, d]))?;
    let k = g.transpose(k, &[0, 2, 1, 3])?;
    let v = g.transpose(v, &[0, 2, 1, 3])?;
    let scores = g.matmul_as(q, false, k, true)?;
    let mut scores = g.affine(scores, 1.0 / (d as f64).sqrt(), 0.0)?;
    if causal && t > 1 {
        let hidden = |i: usize| if i % s > i / s + s - t { NEVER } else { 0.0 };
        let mask = g.literal(&[t, s], &(0..t * s).map(hidden).collect::<Vec<_>>())?;
        scores = g.reshape(scores, &[n, heads, t, s])?;
        scores = g.add(scores, mask)?;
        scores = g.reshape(scores, &[n, kv, group * t, s])?;
    }
    if let Some(lengths) = lengths {
        let hidden = |i: usize| if i % s >= i / s { NEVER } else { 0.0 };
        let masks = g.literal(&[s + 1, s], &(0..(s + 1) * s).map(hidden).collect::<Vec<_>>())?;
        let mask = g.gather(masks, lengths).and_then(|m| g.reshape(m, &[n, 1, 1, s]))?;
        scores = g.add(scores, mask)?;
    }
    let weights = g.softmax(scores, 3)?;
    let y = g.matmul(weights, v).and_then(|y| g.reshape(y, &[n, heads, t, d]))?;
    g.transpose(y, &[0, 2, 1, 3])
}

// The operands of matrix products, with any strides: a, c and b, d are the factors of one or two terms. The bias goes
// into the first split.

override BIAS: bool = false;

// Strides of a and c: from batch to batch, along i, along k. Of b and d: from batch to batch, along k, along j.
struct Params {
    m: u32, n: u32, k: u32, batches: u32, splits: u32, k_chunk: u32,
    a_batch: u32, a_i: u32, a_k: u32, b_batch: u32, b_k: u32, b_j: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> c: array<f32>;
@group(0) @binding(4) var<storage, read> d: array<f32>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;

fn load_a(term: u32, batch: u32, i: u32, k: u32) -> f32 {
    let at = batch * params.a_batch + i * params.a_i + k * params.a_k;
    if term == 0 { return a[at]; }
    return c[at];
}

fn load_b(term: u32, batch: u32, k: u32, j: u32) -> f32 {
    let at = batch * params.b_batch + k * params.b_k + j * params.b_j;
    if term == 0 { return b[at]; }
    return d[at];
}

fn store(batch: u32, split: u32, i: u32, j: u32, v: f32) {
    var sum = v;
    if BIAS && split == 0 { sum += bias[j]; }
    y[((split * params.batches + batch) * params.m + i) * params.n + j] = sum;
}

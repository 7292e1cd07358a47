// y[i, j] = Σₖ a[i, k] b[k, j] (+ bias[j]) for each batch, for loops of software adapters. A split is one segment.

#import factors

override BIAS: bool = false;

// Strides of a: from batch to batch, along i, along k. Of b: from batch to batch, along k, along j. Of y: from batch to
// batch.
struct Params {
    m: u32, n: u32, k: u32, batches: u32, splits: u32, k_chunk: u32,
    a_batch: u32, a_i: u32, a_k: u32, b_batch: u32, b_k: u32, b_j: u32, y_batch: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(4) var<storage, read> bias: array<f32>;

fn row_extents() -> vec2u { return vec2u(1, params.m); }
fn segment_extents() -> vec2u { return vec2u(1, params.splits); }
fn run() -> u32 { return params.k_chunk; }
fn a_k() -> u32 { return params.a_k; }
fn b_k() -> u32 { return params.b_k; }
fn b_j() -> u32 { return params.b_j; }

fn place_a(batch: u32, row: vec3u, segment: vec3u) -> u32 {
    return batch * params.a_batch + row.z * params.a_i + segment.z * params.k_chunk * params.a_k;
}

fn place_b(batch: u32, segment: vec3u) -> u32 {
    return batch * params.b_batch + segment.z * params.k_chunk * params.b_k;
}

fn place_y(batch: u32, split: u32, i: u32, j: u32) -> u32 {
    return (split * params.batches + batch) * params.y_batch + i * params.n + j;
}

fn store(batch: u32, split: u32, i: u32, j: u32, v: f32) {
    let at = place_y(batch, split, i, j);
    var sum = v;
    if BIAS && split == 0 { sum += bias[j]; }
    put_at(at, sum);
}

fn store4(batch: u32, split: u32, i: u32, j: u32, v: vec4f) {
    var sum = v;
    if BIAS && split == 0 { sum += vec4f(bias[j], bias[j + 1], bias[j + 2], bias[j + 3]); }
    put4_at(place_y(batch, split, i, j), sum);
}

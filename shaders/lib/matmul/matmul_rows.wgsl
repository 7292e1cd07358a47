// y[i, j] = Σₖ a[i, k] b[k, j] (+ bias[j]) for each batch, for loops of software adapters. A split is one segment.

#import matmul_params
#import factors
#import segments

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

fn place_out(batch: u32, split: u32, i: u32) -> u32 {
    return (split * params.batches + batch) * params.y_batch + i * params.n;
}

fn begin(batch: u32, split: u32, j: vec4u) -> vec4f {
    if !BIAS || split > 0 { return vec4f(); }
    return vec4f(bias[j.x], bias[j.y], bias[j.z], bias[j.w]);
}

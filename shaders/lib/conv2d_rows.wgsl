// y = x ⋆ w (+ bias), as a matrix product for loops of software adapters: rows are output pixels (image, y, x), a segment
// is a tap (0, ky, kx) with its channels, columns are output channels of a group.

#import conv
#import factors

override BIAS: bool = false;

@group(0) @binding(4) var<storage, read> bias: array<f32>;

fn row_extents() -> vec2u { return vec2u(params.out_height, params.out_width); }
fn segment_extents() -> vec2u { return vec2u(params.kernel_height, params.kernel_width); }
fn run() -> u32 { return params.ci; }
fn a_k() -> u32 { return 1; }
fn b_k() -> u32 { return params.groups * params.co; }
fn b_j() -> u32 { return 1; }

fn place_a(batch: u32, row: vec3u, tap: vec3u) -> u32 {
    let p = place_x(row.x, row.y, row.z, tap.y, tap.z);
    return select(step_to(batch, params.a_step) + p + group_of(batch) * params.ci, OUTSIDE, p == OUTSIDE);
}

fn place_b(batch: u32, tap: vec3u) -> u32 {
    let row = (tap.y * params.kernel_width + tap.z) * params.ci;
    return step_to(batch, params.b_step) + (row * params.groups + group_of(batch)) * params.co;
}

fn store(batch: u32, split: u32, i: u32, j: u32, v: f32) {
    let channel = group_of(batch) * params.co + j;
    let at = (result_of(batch, split) * params.m + i) * params.co * params.groups + channel;
    var sum = v;
    if BIAS && split == 0 { sum += bias[channel]; }
    put_at(at, sum);
}

fn store4(batch: u32, split: u32, i: u32, j: u32, v: vec4f) {
    let c = group_of(batch) * params.co + j;
    var sum = v;
    if BIAS && split == 0 { sum += vec4f(bias[c], bias[c + 1], bias[c + 2], bias[c + 3]); }
    put4_at((result_of(batch, split) * params.m + i) * params.co * params.groups + c, sum);
}

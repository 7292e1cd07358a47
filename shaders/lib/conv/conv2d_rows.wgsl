// y = x ⋆ w (+ bias), as a matrix product for loops of software adapters: rows are output pixels (image, y, x), a segment
// is a tap (0, ky, kx) with its channels, columns are output channels of a group.

#import conv
#import factors
#import segments

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

fn place_out(batch: u32, split: u32, i: u32) -> u32 {
    return (result_of(batch, split) * params.m + i) * params.co * params.groups + group_of(batch) * params.co;
}

fn begin(batch: u32, split: u32, j: vec4u) -> vec4f {
    if !BIAS || split > 0 { return vec4f(); }
    let c = vec4u(group_of(batch) * params.co) + j;
    return vec4f(bias[c.x], bias[c.y], bias[c.z], bias[c.w]);
}

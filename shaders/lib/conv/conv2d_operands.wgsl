// The operands of a convolution as a matrix product: a row of a = x is an output pixel (image, y, x), the summed axis
// is (ky, kx, channel), columns of b = w are output channels of a group. Patches of x are never stored.

#import conv
#import terms
#import unfold

override BIAS: bool = false;

@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;

fn row_extents() -> vec2u { return vec2u(params.out_height, params.out_width); }
fn sum_extents() -> vec2u { return vec2u(params.kernel_width, params.ci); }
fn row_at(i: u32) -> vec3u { return unfold(i, row_extents()); }
fn row_after(row: vec3u) -> vec3u { return after(row, row_extents()); }
fn sum_at(k: u32) -> vec3u { return unfold(k, sum_extents()); }
fn sum_after(sum: vec3u) -> vec3u { return after(sum, sum_extents()); }

fn base_a(term: u32, batch: u32) -> u32 {
    return step_to(batch, select(params.a2_step, params.a_step, term == 0)) + group_of(batch) * params.ci;
}

fn base_b(term: u32, batch: u32) -> u32 {
    return step_to(batch, select(params.b2_step, params.b_step, term == 0)) + group_of(batch) * params.co;
}

fn place_a(row: vec3u, sum: vec3u) -> u32 {
    let p = place_x(row.x, row.y, row.z, sum.x, sum.y);
    return select(p + sum.z, OUTSIDE, p == OUTSIDE);
}

fn place_b(k: u32, j: u32) -> u32 { return k * params.groups * params.co + j; }

fn store(batch: u32, split: u32, i: u32, j: u32, v: f32) {
    var sum = v;
    let channel = group_of(batch) * params.co + j;
    if BIAS && split == 0 { sum += bias[channel]; }
    y[(result_of(batch, split) * params.m + i) * params.co * params.groups + channel] = sum;
}

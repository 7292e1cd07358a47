// The operands of an input gradient as a matrix product: a row of a = ct is a pixel (image, y, x) of x, the summed
// axis is (ky, kx, output channel), columns of b = w are input channels of a group, all of one phase. Pixels that no
// window meets at (ky, kx) add nothing.

#import conv
#import phase
#import terms
#import unfold

@group(0) @binding(5) var<storage, read_write> y: array<f32>;

fn row_extents() -> vec2u { return vec2u(params.height, params.width); }
fn sum_extents() -> vec2u { return vec2u(params.kernel_width, params.co); }
fn row_at(i: u32) -> vec3u { return unfold(i, row_extents()); }
fn row_after(row: vec3u) -> vec3u { return after(row, row_extents()); }
fn sum_at(k: u32) -> vec3u { return unfold(k, sum_extents()); }
fn sum_after(sum: vec3u) -> vec3u { return after(sum, sum_extents()); }

fn base_a(term: u32, batch: u32) -> u32 {
    return step_to(batch, select(params.a2_step, params.a_step, term == 0)) + group_of(batch) * params.co;
}

fn base_b(term: u32, batch: u32) -> u32 {
    return step_to(batch, select(params.b2_step, params.b_step, term == 0)) + group_of(batch) * params.co;
}

fn place_a(row: vec3u, sum: vec3u) -> u32 {
    let p = place_y(row.x, row.y, row.z, sum.x, sum.y);
    return select(p + sum.z, OUTSIDE, p == OUTSIDE);
}

fn place_b(k: u32, j: u32) -> u32 {
    let window = k / params.co;
    let tap = tap_of(window / params.kernel_width, window % params.kernel_width);
    return (tap * params.ci + j) * params.groups * params.co + k % params.co;
}

fn store(batch: u32, split: u32, i: u32, j: u32, v: f32) {
    let pixel = result_of(batch, split) * params.all_pixels + pixel_of(i);
    y[(pixel * params.groups + group_of(batch)) * params.ci + j] = v;
}

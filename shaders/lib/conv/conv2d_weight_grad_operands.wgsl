// The operands of a weight gradient as a matrix product: a row of a = x is (ky, kx, input channel), the summed axis is
// all output pixels (image, y, x), columns of b = ct are output channels of a group.

#import conv
#import terms
#import unfold

@group(0) @binding(5) var<storage, read_write> y: array<f32>;

fn row_extents() -> vec2u { return vec2u(params.kernel_width, params.ci); }
fn sum_extents() -> vec2u { return vec2u(params.out_height, params.out_width); }
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
    let p = place_x(sum.x, sum.y, sum.z, row.x, row.y);
    return select(p + row.z, OUTSIDE, p == OUTSIDE);
}

fn place_b(k: u32, j: u32) -> u32 { return k * params.groups * params.co + j; }

fn store(batch: u32, split: u32, i: u32, j: u32, v: f32) {
    y[((result_of(batch, split) * params.m + i) * params.groups + group_of(batch)) * params.co + j] = v;
}

// dw = x ⋆ᵀ ct, as a matrix product for loops of software adapters: rows are (ky, kx, input channel), a segment is an output
// pixel (image, y, x), columns are output channels of a group.

#import conv
#import factors

fn row_extents() -> vec2u { return vec2u(params.kernel_width, params.ci); }
fn segment_extents() -> vec2u { return vec2u(params.out_height, params.out_width); }
fn a_k() -> u32 { return 0; }
fn b_k() -> u32 { return params.groups * params.co; }
fn b_j() -> u32 { return 1; }

fn place_a(batch: u32, row: vec3u, pixel: vec3u) -> u32 {
    let p = place_x(pixel.x, pixel.y, pixel.z, row.x, row.y);
    return select(step_to(batch, params.a_step) + p + group_of(batch) * params.ci + row.z, OUTSIDE, p == OUTSIDE);
}

fn place_b(batch: u32, pixel: vec3u) -> u32 {
    let place = (pixel.x * params.out_height + pixel.y) * params.out_width + pixel.z;
    return step_to(batch, params.b_step) + (place * params.groups + group_of(batch)) * params.co;
}

fn place_out(batch: u32, split: u32, i: u32) -> u32 {
    return ((result_of(batch, split) * params.m + i) * params.groups + group_of(batch)) * params.co;
}

fn begin(batch: u32, split: u32, j: vec4u) -> vec4f { return vec4f(); }

// dx = ct ⋆ᵀ w, as a matrix product for loops of software adapters: rows are pixels (image, y, x) of x, a segment is a tap
// (0, ky, kx) with its output channels, columns are input channels of a group, all of one phase.

#import conv
#import phase
#import factors
#import segments

fn row_extents() -> vec2u { return vec2u(params.height, params.width); }
fn segment_extents() -> vec2u { return vec2u(params.kernel_height, params.kernel_width); }
fn run() -> u32 { return params.co; }
fn a_k() -> u32 { return 1; }
fn b_k() -> u32 { return 1; }
fn b_j() -> u32 { return params.groups * params.co; }

fn place_a(batch: u32, row: vec3u, tap: vec3u) -> u32 {
    // Above and left of ct these wrap to large numbers, which the comparison refuses too.
    let oy = row.y + params.pad_y - tap.y * params.dilation_y;
    let ox = row.z + params.pad_x - tap.z * params.dilation_x;
    let place = (row.x * params.out_height + oy) * params.out_width + ox;
    let at = step_to(batch, params.a_step) + (place * params.groups + group_of(batch)) * params.co;
    return select(OUTSIDE, at, oy < params.out_height && ox < params.out_width);
}

fn place_b(batch: u32, tap: vec3u) -> u32 {
    let row = tap_of(tap.y, tap.z) * params.ci;
    return step_to(batch, params.b_step) + (row * params.groups + group_of(batch)) * params.co;
}

fn place_out(batch: u32, split: u32, i: u32) -> u32 {
    let pixel = result_of(batch, split) * params.all_pixels + pixel_of(i);
    return (pixel * params.groups + group_of(batch)) * params.ci;
}

fn begin(batch: u32, split: u32, j: vec4u) -> vec4f { return vec4f(); }

// dx = ct ⋆ᵀ w, as a matrix product on software adapters: rows are pixels (image, y, x) of x, a segment is
// a tap (0, ky, kx) with its output channels, columns are input channels of a group. Where the stride divides the
// extents, the pixels of equal remainders are a batch of their own, since the same taps meet them: a unit is a batch without
// these phases.

#import conv
#import tiles
#import factors

override STRIDE_Y: u32 = 1;
override STRIDE_X: u32 = 1;
// The strides, or 1 where they do not divide the extents.
override PHASES_Y: u32 = 1;
override PHASES_X: u32 = 1;

fn unit_of(batch: u32) -> u32 { return batch / (PHASES_Y * PHASES_X); }
fn row_extents() -> vec2u { return vec2u(params.height / PHASES_Y, params.width / PHASES_X); }
fn segment_extents() -> vec2u { return vec2u(params.kernel_height, params.kernel_width); }
fn run() -> u32 { return params.co; }
fn a_k() -> u32 { return 1; }
fn b_k() -> u32 { return 1; }
fn b_j() -> u32 { return params.groups * params.co; }

// The pixel of x that is a row of a batch.
fn pixel(batch: u32, row: vec3u) -> vec3u {
    let phase = vec2u(batch / PHASES_X % PHASES_Y, batch % PHASES_X);
    return vec3u(row.x, row.y * PHASES_Y + phase.x, row.z * PHASES_X + phase.y);
}

fn place_a(batch: u32, row: vec3u, tap: vec3u) -> u32 {
    let p = pixel(batch, row);
    let ty = p.y + params.pad_y - tap.y * params.dilation_y;
    let tx = p.z + params.pad_x - tap.z * params.dilation_x;
    let oy = ty / STRIDE_Y;
    let ox = tx / STRIDE_X;
    let met = oy * STRIDE_Y == ty && ox * STRIDE_X == tx && oy < params.out_height && ox < params.out_width;
    let place = (p.x * params.out_height + oy) * params.out_width + ox;
    let unit = unit_of(batch);
    let at = step_to(unit, params.a_step) + (place * params.groups + group_of(unit)) * params.co;
    return select(OUTSIDE, at, met);
}

fn place_b(batch: u32, tap: vec3u) -> u32 {
    let window = tap.y * params.kernel_width + tap.z;
    let unit = unit_of(batch);
    return step_to(unit, params.b_step) + (window * params.ci * params.groups + group_of(unit)) * params.co;
}

fn place_out(batch: u32, split: u32, i: u32, j: u32) -> u32 {
    var place = i;
    if PHASES_Y * PHASES_X > 1 {
        let p = pixel(batch, unfold(i, row_extents()));
        place = (p.x * params.height + p.y) * params.width + p.z;
    }
    let pixels = params.m * PHASES_Y * PHASES_X;
    let unit = unit_of(batch);
    return ((result_of(unit, split) * pixels + place) * params.groups + group_of(unit)) * params.ci + j;
}

fn store(batch: u32, split: u32, i: u32, j: u32, v: f32) {
    let at = place_out(batch, split, i, j);
    put_at(at, v);
}

fn store4(batch: u32, split: u32, i: u32, j: u32, v: vec4f) {
    put4_at(place_out(batch, split, i, j), v);
}

// dw = x ⋆ᵀ ct (+ x2 ⋆ᵀ ct2), depthwise: an invocation computes ROWS × TAPS neighbouring weights of four channels, or of one
// where these do not come in vec4s, summed over params.k_chunk rows of all images; every split of the rows writes its own
// partial result. params.m counts invocations, params.n those of a tap's channels, params.k an item's images.

#import conv

// Up to 4.
override ROWS: u32 = 3;
override TAPS: u32 = 3;
override TERMS: u32 = 1;
override VEC4: bool = false;
// Output channels of an input channel.
override COPIES: u32 = 1;
// Whether the next pixel's windows are those before, moved by one tap: stride and dilation are equal.
override MOVES: bool = false;
override LANES: u32 = 64;

@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> ct: array<vec4f>;
@group(0) @binding(3) var<storage, read> x2: array<vec4f>;
@group(0) @binding(4) var<storage, read> ct2: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4f>;

// Offsets of four output channels' input channels.
var<private> apart: vec4u;

// A row of x: where its first pixel has the invocation's channels, and how many pixels there are.
struct Row { term: u32, at: u32, pixels: u32 }

fn load_one(term: u32, at: u32) -> f32 {
    if term == 0 { return x[at / 4][at % 4]; }
    return x2[at / 4][at % 4];
}

fn load(term: u32, at: u32) -> vec4f {
    if !VEC4 { return vec4f(load_one(term, at)); }
    if COPIES > 1 {
        return vec4f(load_one(term, at + apart.x), load_one(term, at + apart.y),
                     load_one(term, at + apart.z), load_one(term, at + apart.w));
    }
    if term == 0 { return x[at / 4]; }
    return x2[at / 4];
}

fn load_ct(term: u32, at: u32) -> vec4f {
    if VEC4 && term == 0 { return ct[at / 4]; }
    if VEC4 { return ct2[at / 4]; }
    if term == 0 { return vec4f(ct[at / 4][at % 4]); }
    return vec4f(ct2[at / 4][at % 4]);
}

fn pixel(row: Row, column: u32) -> vec4f {
    let inside = column < row.pixels;
    return select(vec4f(), load(row.term, row.at + select(0u, column, inside) * params.groups), inside);
}

// Pixels under the last TAPS of four taps, the last of which is at this column; the others' sums are of no use.
fn window(row: Row, column: u32) -> mat4x4f {
    var v: mat4x4f;
    v[3] = pixel(row, column);
    if TAPS > 1 { v[2] = pixel(row, column - params.dilation_x); }
    if TAPS > 2 { v[1] = pixel(row, column - 2 * params.dilation_x); }
    if TAPS > 3 { v[0] = pixel(row, column - 3 * params.dilation_x); }
    return v;
}

// The same from those of the pixel before.
fn next_window(v: mat4x4f, row: Row, column: u32) -> mat4x4f {
    if MOVES { return mat4x4f(v[1], v[2], v[3], pixel(row, column)); }
    return window(row, column);
}

fn times(v: mat4x4f, w: vec4f) -> mat4x4f { return mat4x4f(v[0] * w, v[1] * w, v[2] * w, v[3] * w); }

// The row of x under row ky of the kernel, of none of whose pixels there are any outside the image.
fn row_under(term: u32, image_at: u32, oy: u32, ky: u32) -> Row {
    let iy = oy * params.stride_y + ky * params.dilation_y - params.pad_y;
    if iy >= params.height { return Row(term, image_at, 0); }
    return Row(term, image_at + iy * params.width * params.groups, params.width);
}

fn put(at: u32, v: vec4f) {
    if VEC4 { y[at / 4] = v; } else { y[at / 4][at % 4] = v.x; }
}

fn put_row(v: mat4x4f, at: u32, ky: u32, kx: u32) {
    let outs = params.groups * COPIES;
    if ky >= params.kernel_height { return; }
    for (var tap = 0u; tap < TAPS; tap++) {
        if kx + tap < params.kernel_width {
            put(at + (ky * params.kernel_width + kx + tap) * outs, v[4 - TAPS + tap]);
        }
    }
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(group, groups) * LANES + lane;
    if i >= params.m { return; }
    let outs = params.groups * COPIES;
    let o = i % params.n * select(1u, 4u, VEC4);
    let blocks = vec2u((params.kernel_height + ROWS - 1) / ROWS, (params.kernel_width + TAPS - 1) / TAPS);
    let kx = i / params.n % blocks.y * TAPS;
    let ky = i / params.n / blocks.y % blocks.x * ROWS;
    let piece = i / params.n / (blocks.x * blocks.y);
    let split = piece % params.splits;
    let item = piece / params.splits;
    apart = (vec4u(o % COPIES) + vec4u(0, 1, 2, 3)) / COPIES;
    let end = min((split + 1) * params.k_chunk, params.k * params.out_height);
    // The column of the last of the taps.
    let left = (kx + TAPS - 1) * params.dilation_x - params.pad_x;
    var s0: mat4x4f;
    var s1: mat4x4f;
    var s2: mat4x4f;
    var s3: mat4x4f;
    for (var term = 0u; term < TERMS; term++) {
        let source = item * select(params.a2_step, params.a_step, term == 0) + o / COPIES;
        let weights = item * select(params.b2_step, params.b_step, term == 0) + o;
        for (var line = split * params.k_chunk; line < end; line++) {
            let oy = line % params.out_height;
            let image_at = source + line / params.out_height * params.height * params.width * params.groups;
            let r0 = row_under(term, image_at, oy, ky);
            let r1 = row_under(term, image_at, oy, ky + 1);
            let r2 = row_under(term, image_at, oy, ky + 2);
            let r3 = row_under(term, image_at, oy, ky + 3);
            var v0: mat4x4f;
            var v1: mat4x4f;
            var v2: mat4x4f;
            var v3: mat4x4f;
            if MOVES {
                v0 = window(r0, left - params.dilation_x);
                if ROWS > 1 { v1 = window(r1, left - params.dilation_x); }
                if ROWS > 2 { v2 = window(r2, left - params.dilation_x); }
                if ROWS > 3 { v3 = window(r3, left - params.dilation_x); }
            }
            for (var ox = 0u; ox < params.out_width; ox++) {
                let c = load_ct(term, weights + (line * params.out_width + ox) * outs);
                let column = left + ox * params.stride_x;
                v0 = next_window(v0, r0, column);
                s0 += times(v0, c);
                if ROWS > 1 {
                    v1 = next_window(v1, r1, column);
                    s1 += times(v1, c);
                }
                if ROWS > 2 {
                    v2 = next_window(v2, r2, column);
                    s2 += times(v2, c);
                }
                if ROWS > 3 {
                    v3 = next_window(v3, r3, column);
                    s3 += times(v3, c);
                }
            }
        }
    }
    let at = (split * params.items + item) * params.kernel_height * params.kernel_width * outs + o;
    put_row(s0, at, ky, kx);
    if ROWS > 1 { put_row(s1, at, ky + 1, kx); }
    if ROWS > 2 { put_row(s2, at, ky + 2, kx); }
    if ROWS > 3 { put_row(s3, at, ky + 3, kx); }
}

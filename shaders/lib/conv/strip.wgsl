// The loop of depthwise convolutions and their input gradients: an invocation computes RUN neighbouring results of a row, of
// four channels, or of one where these do not come in vec4s. Each tap meets windows `step` columns apart in a row of
// the source; where the next tap's are the same moved by one result, it loads one pixel for all of them.
// The kernel defines load and load_w (of a term, four channels or one at an offset), put, and compute.

// 4 or 8.
override RUN: u32 = 4;
override TERMS: u32 = 1;
override VEC4: bool = false;
// Output channels of an input channel.
override COPIES: u32 = 1;
// From a tap to the next that meets the same pixels: the strides over their common divisors with the dilations.
override STEP_Y: u32 = 1;
override STEP_X: u32 = 1;
// Whether that tap's windows are the same, moved by one result.
override MOVES: bool = false;
override LANES: u32 = 64;

// For each result four channels.
struct Strip { l: mat4x4f, h: mat4x4f }

// A row of the source: where its first pixel has the invocation's channels, how far apart pixels are, and how many.
struct Row { term: u32, at: u32, pitch: u32, pixels: u32 }

// Taps of a row: how many, the first window's column, from there to the next result's and to the next tap's, and where the
// first one's weights are, and how far apart.
struct Taps { count: u32, column: u32, step: u32, next: u32, w: u32, w_next: u32 }

// Offsets of four channels in the source, where these are not neighbours.
var<private> apart: vec4u;

fn pixel(row: Row, column: u32) -> vec4f {
    let inside = column < row.pixels;
    return select(vec4f(), load(row.term, row.at + select(0u, column, inside) * row.pitch), inside);
}

fn four_pixels(row: Row, column: u32, step: u32) -> mat4x4f {
    return mat4x4f(pixel(row, column), pixel(row, column + step),
                   pixel(row, column + 2 * step), pixel(row, column + 3 * step));
}

fn times(v: mat4x4f, w: vec4f) -> mat4x4f { return mat4x4f(v[0] * w, v[1] * w, v[2] * w, v[3] * w); }

fn add_row(sums: Strip, row: Row, taps: Taps) -> Strip {
    let step = taps.step;
    let first = taps.column;
    var s = sums;
    var v: Strip;
    if MOVES {
        v.l = mat4x4f(vec4f(), pixel(row, first), pixel(row, first + step), pixel(row, first + 2 * step));
        if RUN > 4 { v.h = four_pixels(row, first + 3 * step, step); }
    }
    for (var tap = 0u; tap < taps.count; tap++) {
        if MOVES {
            let next = pixel(row, first + (RUN - 1 + tap) * step);
            v.l = mat4x4f(v.l[1], v.l[2], v.l[3], select(next, v.h[0], RUN > 4));
            if RUN > 4 { v.h = mat4x4f(v.h[1], v.h[2], v.h[3], next); }
        } else {
            v.l = four_pixels(row, first + tap * taps.next, step);
            if RUN > 4 { v.h = four_pixels(row, first + tap * taps.next + 4 * step, step); }
        }
        let w = load_w(row.term, taps.w + tap * taps.w_next);
        s.l += times(v.l, w);
        if RUN > 4 { s.h += times(v.h, w); }
    }
    return s;
}

// Writes results whose columns are column, column + step, … below `columns`, pitch apart.
fn put_strip(s: Strip, at: u32, pitch: u32, column: u32, step: u32, columns: u32) {
    if column < columns { put(at, s.l[0]); }
    if column + step < columns { put(at + pitch, s.l[1]); }
    if column + 2 * step < columns { put(at + 2 * pitch, s.l[2]); }
    if column + 3 * step < columns { put(at + 3 * pitch, s.l[3]); }
    if RUN > 4 {
        if column + 4 * step < columns { put(at + 4 * pitch, s.h[0]); }
        if column + 5 * step < columns { put(at + 5 * pitch, s.h[1]); }
        if column + 6 * step < columns { put(at + 6 * pitch, s.h[2]); }
        if column + 7 * step < columns { put(at + 7 * pitch, s.h[3]); }
    }
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(group, groups) * LANES + lane;
    if i < params.m { compute(i); }
}

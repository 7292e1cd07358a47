// The frame of attention's kernels: a workgroup makes ROWS queries (or keys) of one head, eight lanes to each, and goes
// over COLUMNS keys (or queries) at a time. A lane makes the weights of up to four pairs and shares them, then sums an
// eighth of its row's outputs. The kernel defines its bindings, load (four neighbouring numbers of an array), save, main.

#import index
#import math

override ROWS: u32 = 32;
override COLUMNS: u32 = 16;
// Heads' numbers by four, rounded up, and whether they come in fours.
override FOURS: u32 = 8;
override EVEN: bool = true;
// Weights of a pair that are held at once.
override PLANES: u32 = 1;
override CAUSAL: bool = false;

override LANES: u32 = ROWS * 8;
// Rows of one number more than they need lie in different banks.
override TILE: u32 = COLUMNS * (FOURS + 1);
override WEIGHTS: u32 = PLANES * ROWS * (COLUMNS + 1);

struct Params { n: u32, t: u32, s: u32, heads: u32, kv_heads: u32, d: u32, scale: f32 }

@group(0) @binding(0) var<uniform> params: Params;

var<workgroup> tile: array<vec4f, TILE>;
var<workgroup> weights: array<f32, WEIGHTS>;

alias Sums = array<vec4f, 8>;

const LOWEST: f32 = -3.4028235e38;

// The tile's head, its member of n, and its first row; beyond the last tile, n is too large.
struct Own { n: u32, h: u32, first: u32 }

fn own(tile: u32, rows: u32, heads: u32) -> Own {
    let tiles = (rows + ROWS - 1) / ROWS;
    return Own(tile / tiles / heads, tile / tiles % heads, tile % tiles * ROWS);
}

// How many keys a query sees: they are the first ones.
fn visible(length: u32, i: u32) -> u32 {
    var most = min(length, params.s);
    if CAUSAL { most = min(most, max(i + 1 + params.s, params.t) - params.t); }
    return most;
}

// The lane's columns, of those that begin with `first`.
fn columns(first: u32, c: u32) -> vec4u { return vec4u(first + c) + vec4u(0, 8, 16, 24); }

fn exp4(x: vec4f) -> vec4f { return vec4f(exp_f32(x.x), exp_f32(x.y), exp_f32(x.z), exp_f32(x.w)); }

// Query i and key j of head h: where they begin.
fn query_at(n: u32, i: u32, h: u32) -> u32 { return ((n * params.t + i) * params.heads + h) * params.d; }

fn key_at(n: u32, j: u32, h: u32) -> u32 { return ((n * params.s + j) * params.kv_heads + h) * params.d; }

// Numbers 4 f to 4 f + 3 of the head that begins at `at`, zero behind its end.
fn four(source: u32, at: u32, f: u32) -> vec4f {
    let i = at + 4 * f;
    if EVEN { return load(source, i / 4); }
    var v = vec4f();
    for (var c = 0u; c < 4; c++) {
        if 4 * f + c < params.d { v[c] = load(source, (i + c) / 4)[(i + c) % 4]; }
    }
    return v;
}

// How many columns of a tile there are.
fn present(first: u32, end: u32) -> u32 { return min(COLUMNS, end - first); }

// Loads columns first, first + 1, … below end, `step` numbers apart, the first of all at `at`.
fn stage(source: u32, at: u32, step: u32, first: u32, end: u32, lane: u32) {
    workgroupBarrier();
    for (var e = lane; e < COLUMNS * FOURS; e += LANES) {
        let column = e / FOURS;
        let f = e % FOURS;
        var v = vec4f();
        if first + column < end { v = four(source, at + (first + column) * step, f); }
        tile[column * (FOURS + 1) + f] = v;
    }
    workgroupBarrier();
}

// Products of a row with the lane's columns of the tile.
fn products(source: u32, at: u32, c: u32) -> vec4f {
    var sums = vec4f();
    let fours = (params.d + 3) / 4;
    for (var f = 0u; f < fours; f++) {
        let v = four(source, at, f);
        let e = c * (FOURS + 1) + f;
        sums.x += dot(v, tile[e]);
        if COLUMNS > 8 { sums.y += dot(v, tile[e + 8 * (FOURS + 1)]); }
        if COLUMNS > 16 {
            sums.z += dot(v, tile[e + 16 * (FOURS + 1)]);
            sums.w += dot(v, tile[e + 24 * (FOURS + 1)]);
        }
    }
    return sums;
}

fn weight_at(plane: u32, row: u32) -> u32 { return (plane * ROWS + row) * (COLUMNS + 1); }

// Shares the weights of a row with the lane's columns.
fn share(plane: u32, row: u32, c: u32, w: vec4f) {
    let at = weight_at(plane, row) + c;
    weights[at] = w.x;
    if COLUMNS > 8 { weights[at + 8] = w.y; }
    if COLUMNS > 16 {
        weights[at + 16] = w.z;
        weights[at + 24] = w.w;
    }
}

// Adds the first `count` columns, with a row's weights, to the lane's sums: of fours c, c + 8, ….
fn weigh(sums: ptr<function, Sums>, plane: u32, row: u32, c: u32, count: u32) {
    let at = weight_at(plane, row);
    for (var column = 0u; column < count; column++) {
        let w = weights[at + column];
        for (var u = 0u; u < (FOURS + 7) / 8; u++) {
            (*sums)[u] += w * tile[column * (FOURS + 1) + min(c + 8 * u, FOURS - 1)];
        }
    }
}

// Writes the lane's sums of the head that begins at `at`.
fn put(to: u32, at: u32, c: u32, sums: Sums) {
    var all = sums;
    for (var u = 0u; u < (FOURS + 7) / 8; u++) {
        for (var e = 0u; e < 4; e++) {
            let i = 4 * (c + 8 * u) + e;
            if i < params.d { save(to, at + i, all[u][e]); }
        }
    }
}

// The frame of attention's kernels: a workgroup makes ROWS queries (or keys) of one head, eight lanes to four of them, and
// goes over COLUMNS keys (or queries) at a time. A lane makes the weights of its four rows with every eighth column and
// shares them, then sums every eighth four of its rows' outputs. A launch goes over the columns from params.begin to
// params.end - 1, after those before them: software adapters end an invocation's loops after 65,535 passes in all. The kernel
// defines its bindings, load (four neighbouring numbers of an array), save, restore (what was saved), and main.

#import index
#import math

override ROWS: u32 = 32;
override COLUMNS: u32 = 16;
// Heads' numbers by four, rounded up, and whether they come in vec4s.
override VEC4: u32 = 8;
override EVEN: bool = true;
// Weights of a pair that are held at once.
override PLANES: u32 = 1;
// Whether a launch is the first over columns, and the last.
override FIRST: bool = true;
override LAST: bool = true;

override LANES: u32 = ROWS * 2;
override SLOTS: u32 = COLUMNS / 8;
// Columns of one four more than they need lie in different banks.
override TILE: u32 = COLUMNS * (VEC4 + 1);
override WEIGHTS: u32 = PLANES * (ROWS / 4) * (COLUMNS + 1);

struct Params {
    n: u32, t: u32, s: u32, heads: u32, kv_heads: u32, d: u32, causal: u32, scale: f32,
    begin: u32, end: u32,
    // Where the second parts of logarithms are among rows' numbers.
    rest: u32,
}

@group(0) @binding(0) var<uniform> params: Params;

var<workgroup> tile: array<vec4f, TILE>;
// Of four rows with a column.
var<workgroup> weights: array<vec4f, WEIGHTS>;

// For each of the lane's columns a number of each row.
alias Block = array<vec4f, 4>;

// For each of the lane's vec4s those of each row.
alias Sums = array<mat4x4f, 8>;

// The head, its item of n, and the first row; beyond the last tile, n is too large.
struct Own { n: u32, h: u32, first: u32 }

fn own(tile: u32, rows: u32, heads: u32) -> Own {
    let tiles = (rows + ROWS - 1) / ROWS;
    return Own(tile / tiles / heads, tile / tiles % heads, tile % tiles * ROWS);
}

// How many keys queries see: they are the first ones.
fn visible(length: u32, i: vec4u) -> vec4u {
    var most = vec4u(min(length, params.s));
    if params.causal != 0 { most = min(most, max(i + 1 + params.s, vec4u(params.t)) - params.t); }
    return most;
}

// Where queries i and keys j of head h begin.
fn query_at(n: u32, i: vec4u, h: u32) -> vec4u { return ((n * params.t + i) * params.heads + h) * params.d; }

fn key_at(n: u32, j: vec4u, h: u32) -> vec4u { return ((n * params.s + j) * params.kv_heads + h) * params.d; }

fn exp4(x: vec4f) -> vec4f { return vec4f(exp_f32(x.x), exp_f32(x.y), exp_f32(x.z), exp_f32(x.w)); }

// Numbers 4 f to 4 f + 3 of the head that begins at `at`, zero behind its end.
fn four(source: u32, at: u32, f: u32) -> vec4f {
    let i = at + 4 * f;
    if EVEN { return load(source, i / 4); }
    let p = min(i + vec4u(0, 1, 2, 3), vec4u(at + params.d - 1));
    let v = vec4f(load(source, p.x / 4)[p.x % 4], load(source, p.y / 4)[p.y % 4],
                  load(source, p.z / 4)[p.z % 4], load(source, p.w / 4)[p.w % 4]);
    return select(vec4f(), v, i + vec4u(0, 1, 2, 3) < vec4u(at + params.d));
}

// How many columns of a tile there are.
fn present(first: u32, end: u32) -> u32 { return min(COLUMNS, end - first); }

// Loads columns first, first + 1, … below end, `step` numbers apart, the first of all at `at`.
fn stage(source: u32, at: u32, step: u32, first: u32, end: u32, lane: u32) {
    workgroupBarrier();
    for (var e = lane; e < COLUMNS * VEC4; e += LANES) {
        let column = e / VEC4;
        let f = e % VEC4;
        var v = vec4f();
        if first + column < end { v = four(source, at + (first + column) * step, f); }
        tile[column * (VEC4 + 1) + f] = v;
    }
    workgroupBarrier();
}

// a and the products of the rows that begin at `at` with the lane's columns of the tile.
fn add_products(a: Block, source: u32, at: vec4u, c: u32) -> Block {
    var sums = a;
    let vec4s = (params.d + 3) / 4;
    for (var f = 0u; f < vec4s; f++) {
        let rows = mat4x4f(four(source, at.x, f), four(source, at.y, f), four(source, at.z, f), four(source, at.w, f));
        let e = c * (VEC4 + 1) + f;
        sums[0] += tile[e] * rows;
        if SLOTS > 1 { sums[1] += tile[e + 8 * (VEC4 + 1)] * rows; }
        if SLOTS > 2 {
            sums[2] += tile[e + 16 * (VEC4 + 1)] * rows;
            sums[3] += tile[e + 24 * (VEC4 + 1)] * rows;
        }
    }
    return sums;
}

// Where the weights of the rows with the tile's columns are shared.
fn weights_at(plane: u32, quad: u32) -> u32 { return (plane * (ROWS / 4) + quad) * (COLUMNS + 1); }

// Adds the first `count` columns, with the rows' weights, to the lane's sums: of vec4s c, c + 8, ….
fn weigh(sums: ptr<function, Sums>, plane: u32, quad: u32, c: u32, count: u32) {
    let at = weights_at(plane, quad);
    for (var column = 0u; column < count; column++) {
        let w = weights[at + column];
        for (var u = 0u; u < (VEC4 + 7) / 8; u++) {
            let v = tile[column * (VEC4 + 1) + min(c + 8 * u, VEC4 - 1)];
            (*sums)[u] += mat4x4f(v * w.x, v * w.y, v * w.z, v * w.w);
        }
    }
}

// The lane's sums as they were saved by the launch before; rows begin at `at`.
fn saved_sums(source: u32, at: vec4u, c: u32) -> Sums {
    var all = Sums();
    for (var u = 0u; u < (VEC4 + 7) / 8; u++) {
        let i = 4 * (c + 8 * u);
        all[u] = mat4x4f(saved_four(source, at.x, i), saved_four(source, at.y, i),
                         saved_four(source, at.z, i), saved_four(source, at.w, i));
    }
    return all;
}

fn saved_four(source: u32, at: u32, i: u32) -> vec4f {
    var v = vec4f();
    if i < params.d { v.x = restore(source, at + i); }
    if i + 1 < params.d { v.y = restore(source, at + i + 1); }
    if i + 2 < params.d { v.z = restore(source, at + i + 2); }
    if i + 3 < params.d { v.w = restore(source, at + i + 3); }
    return v;
}

// Writes the lane's sums, times a factor for each row; rows begin at `at`, `left` of them exist.
fn put(to: u32, at: vec4u, left: u32, c: u32, sums: Sums, factors: vec4f) {
    var all = sums;
    for (var u = 0u; u < (VEC4 + 7) / 8; u++) {
        for (var r = 0u; r < min(left, 4); r++) {
            for (var e = 0u; e < 4; e++) {
                let i = 4 * (c + 8 * u) + e;
                if i < params.d { save(to, at[r] + i, all[u][r][e] * factors[r]); }
            }
        }
    }
}

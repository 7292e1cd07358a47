// The loop of a matrix product in tiles of 4 ROWS DOWN × 4 COLUMNS ACROSS that a workgroup computes from shared memory,
// up to 8 × 8 in the registers of an invocation. Both tiles are stored with k outside, so that vec4s of rows and of
// columns are read at once; an invocation loads one block of a or of b while it multiplies the last ones, which with
// two buffers takes one barrier for STEP k.

#import blocks
#import tile

// vec4s of rows and of columns that an invocation makes, 1 or 2.
override ROWS: u32 = 2;
override COLUMNS: u32 = 2;
// Invocations along rows and columns; blocks of both tiles together are at most all of them.
override DOWN: u32 = 16;
override ACROSS: u32 = 16;
override BUFFERS: u32 = 2;

const STEP: u32 = 8;

// By name: naga 30 fails on sizes that are expressions of overrides.
override A_TILE: u32 = BUFFERS * STEP * ROWS * DOWN;
override B_TILE: u32 = BUFFERS * STEP * COLUMNS * ACROSS;
override LANES: u32 = ACROSS * DOWN;

var<workgroup> a_tile: array<vec4f, A_TILE>;
var<workgroup> b_tile: array<vec4f, B_TILE>;

struct Sums { s00: mat4x4f, s01: mat4x4f, s10: mat4x4f, s11: mat4x4f }

// What an invocation loads: a block of a or of b or nothing, four rows or columns from q on, four k from k on.
struct Stage { of_a: bool, of_b: bool, q: u32, k: u32 }

fn stage_at(lane: u32) -> Stage {
    let of_a = lane < STEP / 4 * ROWS * DOWN;
    let at = select(lane - STEP / 4 * ROWS * DOWN, lane, of_a);
    let vec4s = select(COLUMNS * ACROSS, ROWS * DOWN, of_a);
    let along_k = select(B_ALONG_K, A_ALONG_K, of_a);
    let of_b = !of_a && at < STEP / 4 * vec4s;
    let place = select(vec2u(at % vec4s, at / vec4s), vec2u(at / (STEP / 4), at % (STEP / 4)), along_k);
    return Stage(of_a, of_b, place.x, 4 * place.y);
}

fn load(stage: Stage, tile: Tile, rows: Rows, term: u32, k: u32) -> mat4x4f {
    if stage.of_a { return block_a(term, base_a(term, tile.batch), rows, k + stage.k, tile.end); }
    if stage.of_b { return block_b(term, base_b(term, tile.batch), k + stage.k, tile.j + 4 * stage.q, tile.end); }
    return mat4x4f();
}

fn share(stage: Stage, buffer: u32, v: mat4x4f) {
    if stage.of_a {
        let at = (buffer * STEP + stage.k) * ROWS * DOWN + stage.q;
        a_tile[at] = v[0];
        a_tile[at + ROWS * DOWN] = v[1];
        a_tile[at + 2 * ROWS * DOWN] = v[2];
        a_tile[at + 3 * ROWS * DOWN] = v[3];
    } else if stage.of_b {
        let at = (buffer * STEP + stage.k) * COLUMNS * ACROSS + stage.q;
        b_tile[at] = v[0];
        b_tile[at + COLUMNS * ACROSS] = v[1];
        b_tile[at + 2 * COLUMNS * ACROSS] = v[2];
        b_tile[at + 3 * COLUMNS * ACROSS] = v[3];
    }
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let tile = tile_at(flat_group(group, groups), 4 * ROWS * DOWN, 4 * COLUMNS * ACROSS);
    if tile.batch >= params.batches { return; }
    let stage = stage_at(lane);
    var rows: Rows;
    if stage.of_a { rows = rows_from(tile.i + 4 * stage.q); }
    // Neighbours in eights: their reads of either tile are few and meet no bank twice.
    let eights = min(ACROSS, 8u);
    let across = lane % eights + lane / (eights * DOWN) * eights;
    let down = lane / eights % DOWN;

    let steps = (tile.end - tile.begin + STEP - 1) / STEP;
    share(stage, 0, load(stage, tile, rows, 0, tile.begin));
    workgroupBarrier();
    var acc: Sums;
    for (var s = 0u; s < TERMS * steps; s++) {
        let buffer = s % BUFFERS;
        let term = u32(s + 1 >= steps);
        var next: mat4x4f;
        if s + 1 < TERMS * steps { next = load(stage, tile, rows, term, tile.begin + (s + 1 - term * steps) * STEP); }
        for (var k = buffer * STEP; k < (buffer + 1) * STEP; k++) {
            let p = k * ROWS * DOWN + down;
            let q = k * COLUMNS * ACROSS + across;
            let a = a_tile[p];
            let b = b_tile[q];
            acc.s00 += outer(b, a);
            if COLUMNS > 1 { acc.s01 += outer(b_tile[q + ACROSS], a); }
            if ROWS > 1 { acc.s10 += outer(b, a_tile[p + DOWN]); }
            if ROWS > 1 && COLUMNS > 1 { acc.s11 += outer(b_tile[q + ACROSS], a_tile[p + DOWN]); }
        }
        if BUFFERS == 1 { workgroupBarrier(); }
        if s + 1 < TERMS * steps { share(stage, (s + 1) % BUFFERS, next); }
        workgroupBarrier();
    }
    let i = tile.i + 4 * down;
    let j = tile.j + 4 * across;
    put_block(tile, i, j, acc.s00);
    if COLUMNS > 1 { put_block(tile, i, j + 4 * ACROSS, acc.s01); }
    if ROWS > 1 { put_block(tile, i + 4 * DOWN, j, acc.s10); }
    if ROWS > 1 && COLUMNS > 1 { put_block(tile, i + 4 * DOWN, j + 4 * ACROSS, acc.s11); }
}

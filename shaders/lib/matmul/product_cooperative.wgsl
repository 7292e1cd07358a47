// The loop of a matrix product in cooperative matrices: factors are rounded to 16-bit floats where they are shared,
// sums are f32. A number that f16 does not hold becomes infinite, and what is made of it infinite or not a number.
// Four subgroups compute SPAN × SPAN matrices each; further ones do the same again, since all must take part, and write
// it where nobody reads.

#import blocks
#import tile

const SPAN: u32 = 4;
const STEP: u32 = 16;
const WIDTH: u32 = 2 * SPAN * SIDE;
// Eight more, so that neighbouring rows begin in other banks.
const ROW: u32 = WIDTH + 8;

// A multiple of four subgroups, and at least one for each block of a tile.
override LANES: u32 = 128;

var<workgroup> a_tile: array<f16, ROW * STEP>;
var<workgroup> b_tile: array<f16, ROW * STEP>;
var<workgroup> results: array<f32, 5 * SIDE * SIDE>;

// The block that an invocation loads, of all in a tile: its four rows or columns, its four k.
fn block_at(lane: u32, along_k: bool) -> vec2u {
    let at = select(vec2u(lane % (WIDTH / 4), lane / (WIDTH / 4)), vec2u(lane / (STEP / 4), lane % (STEP / 4)), along_k);
    return 4 * at;
}

fn share_a(at: u32, v: vec4f) {
    let h = vec4<f16>(v);
    a_tile[at] = h.x;
    a_tile[at + 1] = h.y;
    a_tile[at + 2] = h.z;
    a_tile[at + 3] = h.w;
}

fn share_b(at: u32, v: vec4f) {
    let h = vec4<f16>(v);
    b_tile[at] = h.x;
    b_tile[at + 1] = h.y;
    b_tile[at + 2] = h.z;
    b_tile[at + 3] = h.w;
}

fn share_block_a(at: u32, v: mat4x4f) {
    share_a(at, v[0]);
    share_a(at + ROW, v[1]);
    share_a(at + 2 * ROW, v[2]);
    share_a(at + 3 * ROW, v[3]);
}

fn share_block_b(at: u32, v: mat4x4f) {
    share_b(at, v[0]);
    share_b(at + ROW, v[1]);
    share_b(at + 2 * ROW, v[2]);
    share_b(at + 3 * ROW, v[3]);
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32, @builtin(subgroup_id) subgroup: u32) {
    let tile = tile_at(flat_group(group, groups), WIDTH, WIDTH);
    // No return, since matrices want uniform control: behind the last tile there is nothing to add up or to store.
    let is_there = tile.batch < params.batches;
    let end = select(tile.begin, tile.end, is_there);
    let a_block = block_at(lane, A_ALONG_K);
    let b_block = block_at(lane, B_ALONG_K);
    let loads = lane < WIDTH * STEP / 16;
    let rows = rows_from(tile.i + a_block.x);
    let down = subgroup % 4 / 2 * SPAN * SIDE;
    let across = subgroup % 2 * SPAN * SIDE;
    var acc: array<Sum, SPAN * SPAN>;
    for (var term = 0u; term < TERMS; term++) {
        for (var k0 = tile.begin; k0 < end; k0 += STEP) {
            if loads {
                let a = block_a(term, base_a(term, tile.batch), rows, k0 + a_block.y, end);
                share_block_a(a_block.y * ROW + a_block.x, a);
                let b = block_b(term, base_b(term, tile.batch), k0 + b_block.y, tile.j + b_block.x, end);
                share_block_b(b_block.y * ROW + b_block.x, b);
            }
            workgroupBarrier();
            for (var k = 0u; k < STEP; k += SIDE) {
                var left: array<Left, SPAN>;
                for (var r = 0u; r < SPAN; r++) { left[r] = coopLoad<Left>(&a_tile[k * ROW + down + r * SIDE], ROW); }
                for (var c = 0u; c < SPAN; c++) {
                    let right = coopLoadT<Right>(&b_tile[k * ROW + across + c * SIDE], ROW);
                    for (var r = 0u; r < SPAN; r++) {
                        acc[r * SPAN + c] = coopMultiplyAdd(left[r], right, acc[r * SPAN + c]);
                    }
                }
            }
            workgroupBarrier();
        }
    }
    for (var s = 0u; s < SPAN * SPAN; s++) {
        coopStoreT(acc[s], &results[min(subgroup, 4) * SIDE * SIDE], SIDE);
        workgroupBarrier();
        for (var e = lane; e < 4 * SIDE * SIDE; e += LANES) {
            let share = e / (SIDE * SIDE);
            let i = tile.i + (share / 2 * SPAN + s / SPAN) * SIDE + e / SIDE % SIDE;
            let j = tile.j + (share % 2 * SPAN + s % SPAN) * SIDE + e % SIDE;
            if is_there && i < params.m && j < params.n { store(tile.batch, tile.split, i, j, results[e]); }
        }
        workgroupBarrier();
    }
}

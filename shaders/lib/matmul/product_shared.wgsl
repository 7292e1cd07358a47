// The loop of a matrix product: y[i, j] = Σ over terms and k of a[i, k] b[k, j], for each batch, in tiles of
// 4 DOWN × 4 ACROSS that a workgroup computes from shared memory, 4 × 4 to an invocation. The summed axis may be split:
// every split writes its own partial result.

#import index
#import terms

override ACROSS: u32 = 16;
override DOWN: u32 = 16;
// Whether neighbouring lanes load neighbouring k (or i) of a, and neighbouring k (or j) of b.
override A_ALONG_K: bool = true;
override B_ALONG_K: bool = false;

const STEP: u32 = 16;

// By name: naga 30 fails on sizes that are expressions of overrides.
override A_TILE: u32 = STEP * 4 * DOWN;
override B_TILE: u32 = STEP * 4 * ACROSS;
override LANES: u32 = ACROSS * DOWN;

var<workgroup> a_tile: array<f32, A_TILE>;
var<workgroup> b_tile: array<f32, B_TILE>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let height = 4 * DOWN;
    let width = 4 * ACROSS;
    let tiles = vec2u((params.m + height - 1) / height, (params.n + width - 1) / width);
    let tile = flat_group(group, groups);
    let i0 = (tile / tiles.y) % tiles.x * height;
    let j0 = tile % tiles.y * width;
    let split = tile / (tiles.x * tiles.y) % params.splits;
    let batch = tile / (tiles.x * tiles.y) / params.splits;
    if batch >= params.batches { return; }

    let k_end = min((split + 1) * params.k_chunk, params.k);
    let down = lane / ACROSS * 4;
    let across = lane % ACROSS * 4;
    var acc = array<vec4f, 4>();
    for (var term = 0u; term < TERMS; term++) {
        for (var k0 = split * params.k_chunk; k0 < k_end; k0 += STEP) {
            for (var e = lane; e < STEP * height; e += LANES) {
                let at = select(vec2u(e / height, e % height), vec2u(e % STEP, e / STEP), A_ALONG_K);
                var v = 0.0;
                if k0 + at.x < k_end && i0 + at.y < params.m { v = load_a(term, batch, i0 + at.y, k0 + at.x); }
                a_tile[at.x * height + at.y] = v;
            }
            for (var e = lane; e < STEP * width; e += LANES) {
                let at = select(vec2u(e / width, e % width), vec2u(e % STEP, e / STEP), B_ALONG_K);
                var v = 0.0;
                if k0 + at.x < k_end && j0 + at.y < params.n { v = load_b(term, batch, k0 + at.x, j0 + at.y); }
                b_tile[at.x * width + at.y] = v;
            }
            workgroupBarrier();
            for (var k = 0u; k < STEP; k++) {
                let p = k * height + down;
                let q = k * width + across;
                let b = vec4f(b_tile[q], b_tile[q + 1], b_tile[q + 2], b_tile[q + 3]);
                acc[0] += a_tile[p] * b;
                acc[1] += a_tile[p + 1] * b;
                acc[2] += a_tile[p + 2] * b;
                acc[3] += a_tile[p + 3] * b;
            }
            workgroupBarrier();
        }
    }
    for (var r = 0u; r < 4; r++) {
        for (var c = 0u; c < 4; c++) {
            if i0 + down + r < params.m && j0 + across + c < params.n {
                store(batch, split, i0 + down + r, j0 + across + c, acc[r][c]);
            }
        }
    }
}

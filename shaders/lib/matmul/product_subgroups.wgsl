// The loop of a matrix product without shared memory: neighbours in a subgroup, up to RUN of them, make the same eight
// rows and each its own four columns. Each loads a of those rows at a k of its own and hands it around. Subgroups may
// have any size from 4 to 128.

#import blocks
#import tile

override LANES: u32 = 128;

const RUN: u32 = 32;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_size) size: u32,
        @builtin(subgroup_invocation_id) item: u32) {
    let tile = tile_at(flat_group(group, groups), LANES / RUN * 8, 4 * RUN);
    if tile.batch >= params.batches { return; }
    let lane = subgroup * size + item;
    let run = min(size, RUN);
    let first = item / run * run;
    let i = tile.i + lane / RUN * 8;
    let j = tile.j + lane % RUN * 4;
    let l = rows_from(i);
    let h = rows_from(i + 4);
    var low: mat4x4f;
    var high: mat4x4f;
    for (var term = 0u; term < TERMS; term++) {
        let a = base_a(term, tile.batch);
        let b = base_b(term, tile.batch);
        for (var k = tile.begin; k < tile.end; k += run) {
            let own = k + item - first;
            let sum = sum_at(own);
            let p = a_column(term, a, l, sum, own < tile.end);
            let q = a_column(term, a, h, sum, own < tile.end);
            for (var r = 0u; r < run; r++) {
                let v = b_row(term, b, k + r, j, tile.end);
                low += outer(v, subgroupShuffle(p, first + r));
                high += outer(v, subgroupShuffle(q, first + r));
            }
        }
    }
    put_block(tile, i, j, low);
    put_block(tile, i + 4, j, high);
}

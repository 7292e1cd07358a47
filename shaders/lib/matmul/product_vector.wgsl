// The loop of a matrix product with few rows or few columns: invocations compute 4 × 4 outputs each, DOWN × ACROSS of
// them, and ALONG of them the same ones from their share of the summed axis. Partial sums are added in a tree.

#import blocks
#import tile

override ALONG: u32 = 64;
override DOWN: u32 = 1;
override ACROSS: u32 = 4;
// Whether the numbers of neighbouring invocations follow along the summed axis, else along columns and rows.
override K_FIRST: bool = true;
override LANES: u32 = ALONG * DOWN * ACROSS;

var<workgroup> partial: array<mat4x4f, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let tile = tile_at(flat_group(group, groups), 4 * DOWN, 4 * ACROSS);
    if tile.batch >= params.batches { return; }
    let outputs = DOWN * ACROSS;
    let along = select(lane / outputs, lane % ALONG, K_FIRST);
    let output = select(lane % outputs, lane / ALONG, K_FIRST);
    let i = tile.i + output / ACROSS * 4;
    let j = tile.j + output % ACROSS * 4;
    let rows = rows_from(i);
    var acc: mat4x4f;
    for (var term = 0u; term < TERMS; term++) {
        for (var k = tile.begin + 4 * along; k < tile.end; k += 4 * ALONG) {
            let a = block_a(term, base_a(term, tile.batch), rows, k, tile.end);
            let b = block_b(term, base_b(term, tile.batch), k, j, tile.end);
            acc += b * transpose(a);
        }
    }
    let at = output * ALONG + along;
    partial[at] = acc;
    workgroupBarrier();
    for (var half = ALONG / 2; half > 0; half /= 2) {
        if along < half { partial[at] += partial[at + half]; }
        workgroupBarrier();
    }
    if along == 0 { put_block(tile, i, j, partial[at]); }
}

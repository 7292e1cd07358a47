// The naive loop of a matrix product, one output for each invocation and nothing shared: the baseline of the faster ones.

#import index
#import terms

override LANES: u32 = 256;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let at = flat_group(group, groups) * LANES + lane;
    let j = at % params.n;
    let row = at / params.n;
    let i = row % params.m;
    let split = row / params.m % params.splits;
    let batch = row / params.m / params.splits;
    if batch >= params.batches { return; }
    let end = min((split + 1) * params.k_chunk, params.k);
    var sum = 0.0;
    for (var term = 0u; term < TERMS; term++) {
        for (var k = split * params.k_chunk; k < end; k++) {
            sum += load_a(term, batch, i, k) * load_b(term, batch, k, j);
        }
    }
    store(batch, split, i, j, sum);
}

// Writes x, seen as runs, into y, whose runs are longer, at an offset in each. One element per invocation, moved as bits.

#import index

override LANES: u32 = 64;

struct Params { len: u32, run: u32, stride: u32, offset: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(group, groups) * LANES + lane;
    if i < params.len {
        y[(i / params.run) * params.stride + params.offset + i % params.run] = x[i];
    }
}

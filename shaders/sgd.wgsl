// p ← p - rate (grad + decay p), in place. Four elements per invocation.

#import index

override LANES: u32 = 64;

struct Params { len: u32, decay: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> p: array<vec4f>;
@group(0) @binding(2) var<storage, read> grad: array<vec4f>;
@group(0) @binding(3) var<storage, read> rate: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(group, groups) * LANES + lane;
    if 4 * i < params.len { p[i] -= rate[0] * (grad[i] + params.decay * p[i]); }
}

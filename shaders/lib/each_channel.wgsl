// The loop of a pointwise kernel on arrays [rows, channels], four elements per invocation; the kernel defines its
// bindings, f(i, c), which makes element group i of four channels c, and store.

#import index

override LANES: u32 = 64;

struct Params { len: u32, channels: u32, rows: f32 }

@group(0) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(group, groups) * LANES + lane;
    if 4 * i < params.len { f(i, (vec4u(4 * i) + vec4u(0, 1, 2, 3)) % params.channels); }
}

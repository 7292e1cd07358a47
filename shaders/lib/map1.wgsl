// The loop of a pointwise op on one operand; the kernel defines f.

#import index

override LANES: u32 = 64;

struct Params { len: u32, p: f32, q: f32, rank: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(group, groups) * LANES + lane;
    if 4 * i < params.len {
        let v = x[i];
        y[i] = vec4f(f(v.x), f(v.y), f(v.z), f(v.w));
    }
}

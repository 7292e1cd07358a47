// y = f(f(… f(x))) of f(t) = scale t + shift, elementwise: fused multiply-adds in eight chains, and nearly no memory.

#import index

struct Params { len: u32, times: u32, scale: f32, shift: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;

override LANES: u32 = 64;

fn f(t: vec4f) -> vec4f { return fma(vec4f(params.scale), t, vec4f(params.shift)); }

fn eighth(t: vec4f) -> vec4f { return f(f(f(f(f(f(f(f(t)))))))); }

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let vec4s = (params.len + 3) / 4;
    let i = 2 * (flat_group(group, groups) * LANES + lane);
    if i >= vec4s { return; }
    // The last one may be alone, and is made twice.
    let j = min(i + 1, vec4s - 1);
    var s = x[i];
    var t = x[j];
    for (var k = 0u; k < params.times / 8; k++) {
        s = eighth(s);
        t = eighth(t);
    }
    for (var k = 0u; k < params.times % 8; k++) {
        s = f(s);
        t = f(t);
    }
    y[i] = s;
    y[j] = t;
}

// Standard normal, by Box and Muller (1958). Four draws, one Philox block, per invocation.

#import index
#import philox
#import math

override LANES: u32 = 64;

struct Params { len: u32, stream: u32, p: f32 }

@group(0) @binding(0) var<uniform> params: Params;
// Seed (low, high word) and step.
@group(0) @binding(1) var<storage, read> seed: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;

fn pair(a: u32, b: u32) -> vec2f {
    let radius = sqrt(-2.0 * log_f32(f32((a >> 8) + 1) * 5.9604644775390625e-8));
    // The angle 2π b/2²⁴ as a quarter turn and a rest within an eighth, exactly.
    let turn = i32(b >> 8);
    let quarter = (turn + 0x200000) >> 22;
    let rest = f32(turn - (quarter << 22)) * (1.5707963267948966 / 4194304.0);
    return radius * sincos_turned(rest, quarter).yx;
}

fn draw(w: vec4u) -> vec4f {
    return vec4f(pair(w.x, w.y), pair(w.z, w.w));
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(group, groups) * LANES + lane;
    if 4 * i < params.len {
        y[i] = draw(philox(vec4u(i, params.stream, seed[2], 0), vec2u(seed[0], seed[1])));
    }
}

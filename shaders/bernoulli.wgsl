// 1 with probability p, else 0. Four draws, one Philox block, per invocation.

#import index
#import philox

override LANES: u32 = 64;

struct Params { len: u32, stream: u32, p: f32 }

@group(0) @binding(0) var<uniform> params: Params;
// Seed (low, high word) and step.
@group(0) @binding(1) var<storage, read> seed: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;

fn draw(w: vec4u) -> vec4f {
    return select(vec4f(), vec4f(1.0), vec4f(unit(w.x), unit(w.y), unit(w.z), unit(w.w)) < vec4f(params.p));
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(group, groups) * LANES + lane;
    if 4 * i < params.len {
        y[i] = draw(philox(vec4u(i, params.stream, seed[2], 0), vec2u(seed[0], seed[1])));
    }
}

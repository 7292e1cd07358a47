// g = grad + decay p, v ← momentum v + g, p ← p - rate v or p - rate (g + momentum v), in place. Four elements per
// invocation.

#import each4
#import sgd_momentum

struct Params { len: u32, decay: f32, momentum: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> p: array<vec4f>;
@group(0) @binding(2) var<storage, read> grad: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> velocity: array<vec4f>;
@group(0) @binding(4) var<storage, read> rate: array<f32>;

fn compute(i: u32) {
    let after = moved(p[i], grad[i], velocity[i]);
    p[i] = after.p;
    velocity[i] = after.v;
}

// p ← p - rate (grad + decay p), in place. Four elements per invocation.

#import each4
#import sgd

struct Params { len: u32, decay: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> p: array<vec4f>;
@group(0) @binding(2) var<storage, read> grad: array<vec4f>;
@group(0) @binding(3) var<storage, read> rate: array<f32>;

fn compute(i: u32) {
    p[i] = moved(p[i], grad[i]);
}

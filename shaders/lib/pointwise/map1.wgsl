// The loop of a pointwise op on one operand; the kernel defines f.

#import each4

struct Params { len: u32, p: f32, q: f32, rank: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;

fn compute(i: u32) {
    let v = x[i];
    y[i] = vec4f(f(v.x), f(v.y), f(v.z), f(v.w));
}

// Adam (Kingma and Ba 2015) and AdamW (Loshchilov and Hutter 2019) in place, bias-corrected as PyTorch defines them.
// Four elements per invocation.

#import each4
#import adam

// rest1 and rest2 are 1 - β₁ and 1 - β₂.
struct Params { len: u32, beta1: f32, beta2: f32, rest1: f32, rest2: f32, eps: f32, decay: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> p: array<vec4f>;
@group(0) @binding(2) var<storage, read> grad: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> m: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> v: array<vec4f>;
@group(0) @binding(5) var<storage, read> rates: array<f32>;

fn compute(i: u32) {
    let after = moved(p[i], grad[i], m[i], v[i]);
    p[i] = after.p;
    m[i] = after.m;
    v[i] = after.v;
}

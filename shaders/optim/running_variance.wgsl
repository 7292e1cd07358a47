// y ← y + share (unbiased (1/rstd² - eps) - y), in place. Four elements per invocation.

#import each4
#import running_variance

struct Params { len: u32, unbiased: f32, eps: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(2) var<storage, read> rstd: array<vec4f>;
@group(0) @binding(3) var<storage, read> share: array<f32>;

fn compute(i: u32) {
    y[i] = moved(y[i], rstd[i]);
}

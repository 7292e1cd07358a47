// dlogits = ct (softmax - one_hot(label)), zero for a label beyond the classes. One element per invocation.

#import each
#import math

struct Params { len: u32, classes: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read> lse: array<f32>;
@group(0) @binding(4) var<storage, read> ct: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

fn compute(i: u32) {
    let row = i / params.classes;
    let label = labels[row];
    var v = 0.0;
    if label < params.classes {
        v = ct[row] * (exp_f32(logits[i] - lse[row]) - select(0.0, 1.0, label == i % params.classes));
    }
    y[i] = v;
}

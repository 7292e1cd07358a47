// y[i, j] = 1 where index[i] = j, else 0. One element per invocation.

#import each

struct Params { len: u32, classes: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> index: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

fn compute(i: u32) {
    y[i] = select(0.0, 1.0, index[i / params.classes] == i % params.classes);
}

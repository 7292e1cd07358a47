// y[i, :] = x[rows[i], :], zero where the index has no row. One element per invocation.

#import each

struct Params { len: u32, run: u32, rows: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> index: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

fn compute(i: u32) {
    let row = index[i / params.run];
    var v = 0.0;
    if row < params.rows { v = x[row * params.run + i % params.run]; }
    y[i] = v;
}

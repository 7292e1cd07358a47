// y[r, :] = Σ x[i, :] over the i with index[i] = r, in the order of i. One element of y per invocation, no atomics.

#import each

struct Params { len: u32, run: u32, n: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> index: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

fn make(i: u32) {
    let row = i / params.run;
    let column = i % params.run;
    var sum = 0.0;
    for (var k = 0u; k < params.n; k++) {
        if index[k] == row { sum += x[k * params.run + column]; }
    }
    y[i] = sum;
}

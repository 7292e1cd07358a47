// Copies x, seen as rows, into y, whose rows are longer, at an offset in each. One element per invocation, moved as bits.

#import each

struct Params { len: u32, run: u32, stride: u32, offset: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

fn compute(i: u32) {
    y[(i / params.run) * params.stride + params.offset + i % params.run] = x[i];
}

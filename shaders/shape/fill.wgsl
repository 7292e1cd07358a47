// y = one value everywhere. Four elements per invocation, written as bits.

#import each4

struct Params { len: u32, value: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<vec4u>;

fn compute(i: u32) {
    y[i] = vec4u(params.value);
}

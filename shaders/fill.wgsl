// y = one value everywhere. Four elements per invocation.

#import each4

struct Params { len: u32, value: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;

fn make(i: u32) {
    y[i] = vec4f(params.value);
}

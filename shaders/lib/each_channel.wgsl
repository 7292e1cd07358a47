// The loop of a pointwise kernel on arrays [rows, channels], four elements per invocation; the kernel defines its
// bindings and f(i, c), which makes elements 4 i to 4 i + 3, of channels c.

#import each4

struct Params { len: u32, channels: u32, rows: f32 }

@group(0) @binding(0) var<uniform> params: Params;

fn make(i: u32) {
    f(i, (vec4u(4 * i) + vec4u(0, 1, 2, 3)) % params.channels);
}

// The loop of a random op: four draws from one Philox block per invocation; the kernel defines draw.

#import each4
#import philox

struct Params { len: u32, stream: u32, p: f32 }

@group(0) @binding(0) var<uniform> params: Params;
// Seed (low, high word) and step.
@group(0) @binding(1) var<storage, read> seed: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;

fn compute(i: u32) {
    y[i] = draw(philox(vec4u(i, params.stream, seed[2], 0), vec2u(seed[0], seed[1])));
}

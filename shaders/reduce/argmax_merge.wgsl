// y = the index of the largest x over the middle axis, or of the first NaN, from those of its chunks: parts [outer, chunks, inner].
// One column per invocation.

#import each
#import order

struct Params { len: u32, n: u32, inner: u32, chunks: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> parts: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<u32>;

fn compute(i: u32) {
    let outer = i / params.inner;
    let column = i % params.inner;
    var best = 0u;
    var at = 0u;
    // Later chunks have larger indices.
    for (var chunk = 0u; chunk < params.chunks; chunk++) {
        let r = parts[(outer * params.chunks + chunk) * params.inner + column];
        let order = order_of(x[(outer * params.n + r) * params.inner + column]);
        if order > best {
            best = order;
            at = r;
        }
    }
    y[i] = at;
}

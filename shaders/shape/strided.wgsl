// y[i] = x[base + Σ iₐ strideₐ]: transposed, broadcast, sliced or reversed axes. Four elements per invocation, moved as bits.

#import each4

// dims: extent and stride of each axis, outermost first.
struct Params { len: u32, base: u32, rank: u32, pad: u32, dims: array<vec4u, 8> }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4u>;

fn at(element: u32) -> u32 {
    var rest = min(element, params.len - 1);
    var place = params.base;
    for (var d = params.rank; d > 0; d--) {
        let dim = params.dims[d - 1];
        place += (rest % dim.x) * dim.y;
        rest /= dim.x;
    }
    return x[place];
}

fn compute(i: u32) {
    y[i] = vec4u(at(4 * i), at(4 * i + 1), at(4 * i + 2), at(4 * i + 3));
}

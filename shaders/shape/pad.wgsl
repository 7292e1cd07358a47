// y = x inside a margin of one value. Four elements per invocation.

#import each4

// dims: extent of y, margin before x, extent of x, stride of x; outermost axis first.
struct Params { len: u32, value: f32, rank: u32, pad: u32, dims: array<vec4u, 8> }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;

fn at(element: u32) -> f32 {
    var rest = element;
    var place = 0u;
    var inside = element < params.len;
    for (var d = params.rank; d > 0; d--) {
        let dim = params.dims[d - 1];
        // Below the margin this wraps to a large number, which the comparison refuses too.
        let i = rest % dim.x - dim.y;
        inside = inside && i < dim.z;
        place += i * dim.w;
        rest /= dim.x;
    }
    if inside { return x[place]; }
    return params.value;
}

fn compute(i: u32) {
    y[i] = vec4f(at(4 * i), at(4 * i + 1), at(4 * i + 2), at(4 * i + 3));
}

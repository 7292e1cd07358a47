// y = x inside a margin of one value. Four elements per invocation.

#import index

override LANES: u32 = 64;

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

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(group, groups) * LANES + lane;
    if 4 * i < params.len {
        y[i] = vec4f(at(4 * i), at(4 * i + 1), at(4 * i + 2), at(4 * i + 3));
    }
}

// The loop of a pointwise op on three operands, of equal shapes or broadcast; the kernel defines f.

#import each4

override BROADCAST: bool = false;
// Whether runs along the last of dims come in vec4s, of which an operand has four numbers or one.
override VEC4: bool = false;

// dims: extent and strides of a, b and c, outermost first.
struct Params { len: u32, p: f32, q: f32, rank: u32, dims: array<vec4u, 8> }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
@group(0) @binding(3) var<storage, read> c: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4f>;

fn place(element: u32) -> vec3u {
    var rest = min(element, params.len - 1);
    var at = vec3u();
    for (var d = params.rank; d > 0; d--) {
        let dim = params.dims[d - 1];
        at += (rest % dim.x) * dim.yzw;
        rest /= dim.x;
    }
    return at;
}

fn f_at(element: u32) -> f32 {
    let at = place(element);
    return f(a[at.x / 4][at.x % 4], b[at.y / 4][at.y % 4], c[at.z / 4][at.z % 4]);
}

fn f_of(p: vec4f, q: vec4f, r: vec4f) -> vec4f {
    return vec4f(f(p.x, q.x, r.x), f(p.y, q.y, r.y), f(p.z, q.z, r.z), f(p.w, q.w, r.w));
}

fn compute(i: u32) {
    if !BROADCAST {
        y[i] = f_of(a[i], b[i], c[i]);
    } else if VEC4 {
        let at = place(4 * i);
        let steps = params.dims[params.rank - 1].yzw;
        var p = a[at.x / 4];
        if steps.x == 0 { p = vec4f(p[at.x % 4]); }
        var q = b[at.y / 4];
        if steps.y == 0 { q = vec4f(q[at.y % 4]); }
        var r = c[at.z / 4];
        if steps.z == 0 { r = vec4f(r[at.z % 4]); }
        y[i] = f_of(p, q, r);
    } else {
        y[i] = vec4f(f_at(4 * i), f_at(4 * i + 1), f_at(4 * i + 2), f_at(4 * i + 3));
    }
}

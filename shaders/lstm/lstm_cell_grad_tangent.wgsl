// The tangents of dx = (d k i (1 - i), d c f (1 - f), d i (1 - k²), ct_h t o (1 - o)) and of d f, with t = tanh(f c + i k)
// and d = ct_c + ct_h o (1 - t²). cts are ct_h, ct_c and their tangents, one after the other.

#import lstm

@group(0) @binding(1) var<storage, read> gates: array<f32>;
@group(0) @binding(2) var<storage, read> c: array<f32>;
@group(0) @binding(3) var<storage, read> dgates: array<f32>;
@group(0) @binding(4) var<storage, read> dc: array<f32>;
@group(0) @binding(5) var<storage, read> cts: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;
@group(0) @binding(7) var<storage, read_write> y_c: array<f32>;

fn compute(e: u32) {
    let at = first_gate(e);
    let w = params.width;
    let g = vec4f(gates[at], gates[at + w], gates[at + 2 * w], gates[at + 3 * w]);
    let dg = vec4f(dgates[at], dgates[at + w], dgates[at + 2 * w], dgates[at + 3 * w]);
    let ct = vec2f(cts[e], cts[e + params.len]);
    let dct = vec2f(cts[e + 2 * params.len], cts[e + 3 * params.len]);
    let t = tanh_f32(g.y * c[e] + g.x * g.z);
    let r = 1.0 - t * t;
    let dt = r * (dg.y * c[e] + g.y * dc[e] + dg.x * g.z + g.x * dg.z);
    let d = ct.y + ct.x * g.w * r;
    let dd = dct.y + (dct.x * g.w + ct.x * dg.w) * r - 2.0 * ct.x * g.w * t * dt;
    // What each gate's slope is multiplied by, and the tangents of both.
    let along = vec4f(d * g.z, d * c[e], d * g.x, ct.x * t);
    let dalong = vec4f(dd * g.z + d * dg.z, dd * c[e] + d * dc[e], dd * g.x + d * dg.x, dct.x * t + ct.x * dt);
    let bent = vec4<bool>(false, false, true, false);
    let slope = select(g * (1.0 - g), 1.0 - g * g, bent);
    let dslope = dg * select(1.0 - 2.0 * g, -2.0 * g, bent);
    let v = dalong * slope + along * dslope;
    y[at] = v.x;
    y[at + w] = v.y;
    y[at + 2 * w] = v.z;
    y[at + 3 * w] = v.w;
    y_c[e] = dd * g.y + d * dg.y;
}

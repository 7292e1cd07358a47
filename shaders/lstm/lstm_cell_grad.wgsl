// dx = (d k i (1 - i), d c f (1 - f), d i (1 - k²), ct_h t o (1 - o)) and dc = d f, with t = tanh(f c + i k) and
// d = ct_c + ct_h o (1 - t²).

#import lstm

@group(0) @binding(1) var<storage, read> gates: array<f32>;
@group(0) @binding(2) var<storage, read> c: array<f32>;
@group(0) @binding(3) var<storage, read> ct_h: array<f32>;
@group(0) @binding(4) var<storage, read> ct_c: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;
@group(0) @binding(6) var<storage, read_write> dc: array<f32>;

fn compute(e: u32) {
    let at = first_gate(e);
    let w = params.width;
    let i = gates[at];
    let f = gates[at + w];
    let k = gates[at + 2 * w];
    let o = gates[at + 3 * w];
    let t = tanh_f32(f * c[e] + i * k);
    let d = ct_c[e] + ct_h[e] * o * (1.0 - t * t);
    y[at] = d * k * i * (1.0 - i);
    y[at + w] = d * c[e] * f * (1.0 - f);
    y[at + 2 * w] = d * i * (1.0 - k * k);
    y[at + 3 * w] = ct_h[e] * t * o * (1.0 - o);
    dc[e] = d * f;
}

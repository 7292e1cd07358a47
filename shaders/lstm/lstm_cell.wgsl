// c' = f c + i k, h = o tanh(c') with i, f, o = σ(x) and k = tanh(x); also the gates.

#import lstm

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> c: array<f32>;
@group(0) @binding(3) var<storage, read_write> h: array<f32>;
@group(0) @binding(4) var<storage, read_write> cell: array<f32>;
@group(0) @binding(5) var<storage, read_write> gates: array<f32>;

fn sigmoid(x: f32) -> f32 { return 1.0 / (1.0 + exp_f32(-x)); }

fn compute(e: u32) {
    let at = first_gate(e);
    let w = params.width;
    let i = sigmoid(x[at]);
    let f = sigmoid(x[at + w]);
    let k = tanh_f32(x[at + 2 * w]);
    let o = sigmoid(x[at + 3 * w]);
    let next = f * c[e] + i * k;
    h[e] = o * tanh_f32(next);
    cell[e] = next;
    gates[at] = i;
    gates[at + w] = f;
    gates[at + 2 * w] = k;
    gates[at + 3 * w] = o;
}

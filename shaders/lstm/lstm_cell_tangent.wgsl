// dcell = df c + f dc + di k + i dk and dh = do t + o (1 - t²) dcell, with t = tanh(f c + i k) and the gates' tangents
// i (1 - i) dx, and so on for f and o, (1 - k²) dx; also these.

#import lstm

@group(0) @binding(1) var<storage, read> gates: array<f32>;
@group(0) @binding(2) var<storage, read> c: array<f32>;
@group(0) @binding(3) var<storage, read> dx: array<f32>;
@group(0) @binding(4) var<storage, read> dc: array<f32>;
@group(0) @binding(5) var<storage, read_write> dh: array<f32>;
@group(0) @binding(6) var<storage, read_write> dcell: array<f32>;
@group(0) @binding(7) var<storage, read_write> dgates: array<f32>;

fn compute(e: u32) {
    let at = first_gate(e);
    let w = params.width;
    let g = vec4f(gates[at], gates[at + w], gates[at + 2 * w], gates[at + 3 * w]);
    let slope = select(g * (1.0 - g), 1.0 - g * g, vec4<bool>(false, false, true, false));
    let dg = slope * vec4f(dx[at], dx[at + w], dx[at + 2 * w], dx[at + 3 * w]);
    let t = tanh_f32(g.y * c[e] + g.x * g.z);
    let next = dg.y * c[e] + g.y * dc[e] + dg.x * g.z + g.x * dg.z;
    dh[e] = dg.w * t + g.w * (1.0 - t * t) * next;
    dcell[e] = next;
    dgates[at] = dg.x;
    dgates[at + w] = dg.y;
    dgates[at + 2 * w] = dg.z;
    dgates[at + 3 * w] = dg.w;
}

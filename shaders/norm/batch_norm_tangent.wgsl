// dy = scales₀ dx + scales₁ x̂ + scales₂ (+ residual) (then 0 where mask ≤ 0), by channel; dy, dx, scales and residual may be
// stacks.

#import each_channel

override RESIDUAL: bool = false;
override MASK: bool = false;

@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> mean: array<f32>;
@group(0) @binding(3) var<storage, read> rstd: array<f32>;
@group(0) @binding(4) var<storage, read> dx: array<vec4f>;
@group(0) @binding(5) var<storage, read> scales: array<f32>;
@group(0) @binding(6) var<storage, read> residual: array<vec4f>;
@group(0) @binding(7) var<storage, read> mask: array<vec4f>;
@group(0) @binding(8) var<storage, read_write> y: array<vec4f>;

fn scale(k: u32, c: vec4u) -> vec4f {
    let at = c + k * params.channels * params.items;
    return vec4f(scales[at.x], scales[at.y], scales[at.z], scales[at.w]);
}

struct Scales { s0: vec4f, s1: vec4f, s2: vec4f }

fn scales_of(c: vec4u) -> Scales { return Scales(scale(0, c), scale(1, c), scale(2, c)); }

// Scales of an item, and of its partner.
struct Own { mean: vec4f, rstd: vec4f, item: Scales, partner: Scales }

fn own(c: vec4u) -> Own {
    let m = vec4f(mean[c.x], mean[c.y], mean[c.z], mean[c.w]);
    let r = vec4f(rstd[c.x], rstd[c.y], rstd[c.z], rstd[c.w]);
    let item = scales_of(c + stack_channel);
    var partner = item;
    if PAIRS { partner = scales_of(c + partner_channel); }
    return Own(m, r, item, partner);
}

fn put(at: u32, normed: vec4f, shut: vec4<bool>, s: Scales) {
    var v = s.s0 * dx[at] + s.s1 * normed + s.s2;
    if RESIDUAL { v += residual[at]; }
    if MASK { v = select(v, vec4f(), shut); }
    y[at] = v;
}

fn f(i: u32, own: Own) {
    let normed = (x[i] - own.mean) * own.rstd;
    var shut: vec4<bool>;
    if MASK { shut = mask[i] <= vec4f(); }
    put(stack_at + i, normed, shut, own.item);
    if PAIRS { put(partner_at + i, normed, shut, own.partner); }
}

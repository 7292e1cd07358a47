// dy = scales₀ dx + scales₁ x̂ + scales₂, by channel.

#import each_channel

@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> mean: array<f32>;
@group(0) @binding(3) var<storage, read> rstd: array<f32>;
@group(0) @binding(4) var<storage, read> dx: array<vec4f>;
@group(0) @binding(5) var<storage, read> scales: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<vec4f>;

fn scale(k: u32, c: vec4u) -> vec4f {
    let at = c + k * params.channels;
    return vec4f(scales[at.x], scales[at.y], scales[at.z], scales[at.w]);
}

fn f(i: u32, c: vec4u) {
    let m = vec4f(mean[c.x], mean[c.y], mean[c.z], mean[c.w]);
    let r = vec4f(rstd[c.x], rstd[c.y], rstd[c.z], rstd[c.w]);
    y[i] = scale(0, c) * dx[i] + scale(1, c) * ((x[i] - m) * r) + scale(2, c);
}

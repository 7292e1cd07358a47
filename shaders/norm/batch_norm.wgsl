// y = γ (x - mean) rstd + β (+ residual) (then max(y, 0)), by channel.

#import each_channel
#import nan

override RESIDUAL: bool = false;
override RELU: bool = false;

@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> gamma: array<f32>;
@group(0) @binding(3) var<storage, read> beta: array<f32>;
@group(0) @binding(4) var<storage, read> mean: array<f32>;
@group(0) @binding(5) var<storage, read> rstd: array<f32>;
@group(0) @binding(6) var<storage, read> residual: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> y: array<vec4f>;

struct Own { mean: vec4f, rstd: vec4f, gamma: vec4f, beta: vec4f }

fn own(c: vec4u) -> Own {
    return Own(vec4f(mean[c.x], mean[c.y], mean[c.z], mean[c.w]), vec4f(rstd[c.x], rstd[c.y], rstd[c.z], rstd[c.w]),
               vec4f(gamma[c.x], gamma[c.y], gamma[c.z], gamma[c.w]), vec4f(beta[c.x], beta[c.y], beta[c.z], beta[c.w]));
}

fn f(i: u32, own: Own) {
    var v = (x[i] - own.mean) * own.rstd * own.gamma + own.beta;
    if RESIDUAL { v += residual[i]; }
    if RELU { v = relu_4(v); }
    y[i] = v;
}

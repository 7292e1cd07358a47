// dx = γ rstd (ct - mean(ct) - x̂ mean(ct x̂)), with the means as dβ/rows and dγ/rows.

#import each_channel

@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> gamma: array<f32>;
@group(0) @binding(3) var<storage, read> mean: array<f32>;
@group(0) @binding(4) var<storage, read> rstd: array<f32>;
@group(0) @binding(5) var<storage, read> ct: array<vec4f>;
@group(0) @binding(6) var<storage, read> dgamma: array<f32>;
@group(0) @binding(7) var<storage, read> dbeta: array<f32>;
@group(0) @binding(8) var<storage, read_write> y: array<vec4f>;

// mean1 and mean2 are those of ct and ct x̂.
struct Own { mean: vec4f, rstd: vec4f, gamma: vec4f, mean1: vec4f, mean2: vec4f }

fn own(c: vec4u) -> Own {
    let m = vec4f(mean[c.x], mean[c.y], mean[c.z], mean[c.w]);
    let r = vec4f(rstd[c.x], rstd[c.y], rstd[c.z], rstd[c.w]);
    let s = vec4f(gamma[c.x], gamma[c.y], gamma[c.z], gamma[c.w]);
    let m1 = vec4f(dbeta[c.x], dbeta[c.y], dbeta[c.z], dbeta[c.w]) / params.rows;
    let m2 = vec4f(dgamma[c.x], dgamma[c.y], dgamma[c.z], dgamma[c.w]) / params.rows;
    return Own(m, r, s, m1, m2);
}

fn f(i: u32, own: Own) {
    y[i] = own.gamma * own.rstd * (ct[i] - own.mean1 - (x[i] - own.mean) * own.rstd * own.mean2);
}

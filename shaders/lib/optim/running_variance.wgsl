#import nan

// A step of a running variance, from 1/√(variance + eps) of a batch; the kernel defines share, and params with unbiased and eps.
fn moved(y: vec4f, rstd: vec4f) -> vec4f {
    // Rounding may make nothing negative.
    let variance = relu_4(1 / (rstd * rstd) - params.eps) * params.unbiased;
    return y + (variance - y) * share[0];
}

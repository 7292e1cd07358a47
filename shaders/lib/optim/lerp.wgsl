// A step of a moving average; the kernel defines share.
fn moved(y: vec4f, x: vec4f) -> vec4f {
    return y + (x - y) * share[0];
}

// A step of gradient descent; the kernel defines params and rate.
fn moved(p: vec4f, grad: vec4f) -> vec4f {
    return p - rate[0] * (grad + params.decay * p);
}

// A step of gradient descent with momentum; the kernel defines params and rate.

override NESTEROV: bool = false;

struct Moved { p: vec4f, v: vec4f }

fn moved(p: vec4f, grad: vec4f, velocity: vec4f) -> Moved {
    let g = grad + params.decay * p;
    let v = params.momentum * velocity + g;
    return Moved(p - rate[0] * select(v, g + params.momentum * v, NESTEROV), v);
}

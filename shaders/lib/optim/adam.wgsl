// A step of Adam; the kernel defines params and rates: learning rate, 1 - β₁ᵗ, 1 - β₂ᵗ.

override DECOUPLED: bool = false;

struct Moved { p: vec4f, m: vec4f, v: vec4f }

fn moved(p: vec4f, grad: vec4f, m: vec4f, v: vec4f) -> Moved {
    var x = p;
    var g = grad;
    if DECOUPLED { x -= rates[0] * params.decay * x; } else { g += params.decay * x; }
    let first = params.beta1 * m + params.rest1 * g;
    let second = params.beta2 * v + params.rest2 * g * g;
    let step = rates[0] / rates[1] * first / (sqrt(second) / sqrt(rates[2]) + params.eps);
    return Moved(x - step, first, second);
}

// y = x s(1 + a(1 − s)) with s = 1/(1 + e⁻ᵃ), elementwise. Four elements per invocation.

#import map2
#import math

fn f(a: f32, x: f32) -> f32 {
    let s = 1.0 / (1.0 + exp_f32(-a));
    return x * s * (1.0 + a * (1.0 - s));
}

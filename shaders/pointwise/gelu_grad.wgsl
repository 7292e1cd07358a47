// y = x (Φ(a) + a φ(a)), elementwise. Four elements per invocation.

#import map2
#import math

fn f(a: f32, x: f32) -> f32 {
    return x * (0.5 * (1.0 + erf_f32(a * 0.70710677)) + a * 0.3989423 * exp_f32(-0.5 * a * a));
}

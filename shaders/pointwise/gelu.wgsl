// y = x Φ(x), elementwise. Four elements per invocation.

#import map1
#import math

fn f(x: f32) -> f32 { return 0.5 * x * (1.0 + erf_f32(x * 0.70710677)); }

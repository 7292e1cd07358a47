// y = x/(1 + e⁻ˣ), elementwise. Four elements per invocation.

#import map1
#import math

fn f(x: f32) -> f32 { return x / (1.0 + exp_f32(-x)); }

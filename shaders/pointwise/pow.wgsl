// y = aᵇ, elementwise. Four elements per invocation.

#import map2
#import math

fn f(a: f32, b: f32) -> f32 { return exp_f32(b * log_f32(a)); }

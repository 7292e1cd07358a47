// y = log(1 + eˣ), elementwise. Four elements per invocation.

#import map1
#import math

fn f(x: f32) -> f32 { return max(x, 0.0) + log_f32(1.0 + exp_f32(-abs(x))); }

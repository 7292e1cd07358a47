// y = log(1 + eˣ), elementwise. Four elements per invocation.

#import map1
#import math

fn f(x: f32) -> f32 { return relu_f32(x) + log1p_f32(exp_f32(-abs(x))); }

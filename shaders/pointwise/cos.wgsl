// y = cos x, elementwise. Four elements per invocation.

#import map1
#import math

fn f(x: f32) -> f32 { return cos_f32(x); }

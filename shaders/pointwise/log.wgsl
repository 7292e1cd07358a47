// y = log x, elementwise. Four elements per invocation.

#import map1
#import math

fn f(x: f32) -> f32 { return log_f32(x); }

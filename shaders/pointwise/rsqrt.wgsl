// y = 1/√x, elementwise. Four elements per invocation.

#import map1

fn f(x: f32) -> f32 { return 1.0 / sqrt(x); }

// y = cos x, elementwise. Four elements per invocation.

#import map1
#import sincos

fn f(x: f32) -> f32 { return sincos_f32(x).y; }

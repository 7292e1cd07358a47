// y = b where a > 0, else 0, elementwise. Four elements per invocation.

#import map2

fn f(a: f32, b: f32) -> f32 { return select(0.0, b, a > 0.0); }

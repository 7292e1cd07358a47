// y = 1 where a = b, else 0, elementwise. Four elements per invocation.

#import map2

fn f(a: f32, b: f32) -> f32 { return select(0.0, 1.0, a == b); }

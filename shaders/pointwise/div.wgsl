// y = a/b, elementwise. Four elements per invocation.

#import map2

fn f(a: f32, b: f32) -> f32 { return a / b; }

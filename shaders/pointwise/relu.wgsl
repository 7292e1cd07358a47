// y = max(x, 0), elementwise. Four elements per invocation.

#import map1

fn f(x: f32) -> f32 { return select(x, 0.0, x < 0.0); }

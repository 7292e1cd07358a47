// y = min(max(x, lo), hi), elementwise. Four elements per invocation.

#import map1

fn f(x: f32) -> f32 { return clamp(x, params.p, params.q); }

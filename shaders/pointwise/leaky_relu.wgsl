// y = x where x ≥ 0, else slope x, elementwise. Four elements per invocation.

#import map1

fn f(x: f32) -> f32 { return select(x, params.p * x, x < 0.0); }

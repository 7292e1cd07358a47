// y = a where m ≠ 0, else b, elementwise. Four elements per invocation.

#import map3

fn f(m: f32, a: f32, b: f32) -> f32 { return select(b, a, m != 0.0); }

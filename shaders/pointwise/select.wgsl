// y = a where m ≠ 0, NaN among these, else b, elementwise. One invocation makes four elements.

#import map3

fn f(m: f32, a: f32, b: f32) -> f32 { return select(a, b, m == 0.0); }

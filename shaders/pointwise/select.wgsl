// y = a where m ≠ 0, else b, elementwise. One invocation makes four elements.

#import map3

fn f(m: f32, a: f32, b: f32) -> f32 { return select(b, a, m != 0.0); }

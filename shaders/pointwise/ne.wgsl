// y = 1 where a ≠ b, NaN among them, else 0, elementwise. One invocation makes four elements.

#import map2

fn f(a: f32, b: f32) -> f32 { return select(1.0, 0.0, a == b); }

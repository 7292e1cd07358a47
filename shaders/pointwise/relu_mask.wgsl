// y = b where a > 0 or a is NaN, else 0, elementwise. One invocation makes four elements.

#import map2
#import nan

fn f(a: f32, b: f32) -> f32 { return gate_f32(a, b); }

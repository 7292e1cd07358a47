// y = max(a, b), elementwise. One invocation makes four elements.

#import map2

fn f(a: f32, b: f32) -> f32 { return max(a, b); }

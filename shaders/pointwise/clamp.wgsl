// y = min(max(x, lo), hi), elementwise. One invocation makes four elements.

#import map1

fn f(x: f32) -> f32 { return clamp(x, params.p, params.q); }

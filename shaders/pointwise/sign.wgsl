// y = sign x, elementwise. One invocation makes four elements.

#import map1

fn f(x: f32) -> f32 { return sign(x); }

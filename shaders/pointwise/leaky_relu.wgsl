// y = x where x > 0, else slope x, elementwise. One invocation makes four elements.

#import map1

fn f(x: f32) -> f32 { return select(x, params.p * x, x < 0.0); }

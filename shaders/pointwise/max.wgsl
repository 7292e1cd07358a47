// y = max(a, b), elementwise; NaN where one of them is. One invocation makes four elements.

#import map2
#import nan

fn f(a: f32, b: f32) -> f32 { return max_f32(a, b); }

// y = max(x, 0), elementwise; NaN stays. One invocation makes four elements.

#import map1
#import nan

fn f(x: f32) -> f32 { return relu_f32(x); }

// y = sign x, elementwise; NaN stays. One invocation makes four elements.

#import map1
#import nan

fn f(x: f32) -> f32 { return select(sign(x), x, is_nan(x)); }

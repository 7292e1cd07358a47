// y = min(max(x, lo), hi), elementwise; NaN stays. One invocation makes four elements.

#import map1
#import nan

fn f(x: f32) -> f32 { return select(clamp(x, params.p, params.q), x, is_nan(x)); }

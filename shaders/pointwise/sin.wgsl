// y = sin x, elementwise. One invocation makes four elements.

#import map1
#import math

fn f(x: f32) -> f32 { return sin_f32(x); }

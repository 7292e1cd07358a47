// y = eˣ, elementwise. One invocation makes four elements.

#import map1
#import math

fn f(x: f32) -> f32 { return exp_f32(x); }

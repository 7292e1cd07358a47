// y = ½x(1 + tanh(√(2/π)(x + 0.044715x³))), elementwise. Four elements per invocation.

#import map1
#import math

fn f(x: f32) -> f32 { return 0.5 * x * (1.0 + tanh_f32(0.7978846 * (x + 0.044715 * x * x * x))); }

// y = x (½(1 + t) + ½a(1 − t²) C(1 + 3·0.044715a²)) with t = tanh(C(a + 0.044715a³)), C = √(2/π), elementwise. Four
// elements per invocation.

#import map2
#import math

fn f(a: f32, x: f32) -> f32 {
    let square = a * a;
    let t = tanh_f32(0.7978846 * a * (1.0 + 0.044715 * square));
    let inner = 0.7978846 * (1.0 + 0.134145 * square);
    return x * (0.5 + 0.5 * t + 0.5 * a * (1.0 - t * t) * inner);
}

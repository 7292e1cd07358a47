// y = aᵇ, elementwise: 1 for b = 0, the sign of a for odd b, NaN for a < 0 and a b that is no integer. One invocation
// makes four elements.

#import map2
#import math

// Integers up to 32 by products, which are exact where the result is.
fn by_products(a: f32, n: u32) -> f32 {
    var power = a;
    var y = 1.0;
    for (var rest = n; rest != 0; rest >>= 1) {
        if (rest & 1) != 0 { y *= power; }
        power *= power;
    }
    return y;
}

fn f(a: f32, b: f32) -> f32 {
    let size = abs(b);
    // From 2^24 on all are even.
    let odd = size < 16777216.0 && (i32(size) & 1) != 0;
    let whole = size >= 8388608.0 || size == floor(size);
    let x = abs(a);
    var y = exp_f32(b * log_f32(x));
    if whole && size <= 32.0 {
        let product = by_products(x, u32(size));
        y = select(product, 1.0 / product, b < 0.0);
    }
    y = select(y, 1.0, x == 1.0 && !is_nan(b));
    // −∞ goes with any exponent.
    y = select(y, bitcast<f32>(bitcast<u32>(a) | 0x7fc00000u), a < 0.0 && !whole && bitcast<u32>(a) != 0xff800000u);
    y = select(y, -y, whole && odd && (bitcast<u32>(a) >> 31) == 1);
    return select(y, 1.0, b == 0.0 || a == 1.0);
}

// Sine and cosine of any number: far from 0 the quarter turns are taken off in integers (Payne and Hanek 1983).

#import math
#import mul_wide

// Quarter turns, and a rest in ±π/4.
struct Turned { n: i32, rest: f32 }

fn turned_near(x: f32) -> Turned {
    let n = round(x * 0.636619772);
    return Turned(i32(n), ((x - n * 1.5703125) - n * 4.8351287842e-4) - n * 3.13855707645e-7 - n * 6.0771005065e-11);
}

// From 1 on: 24 bits times those bits of 1/2π that matter, modulo 1, as a fraction of 2^64.
fn turned_far(x: f32) -> Turned {
    var digits = array(0u, 0x28be60dbu, 0x9391054au, 0x7f09d5f4u, 0x7d4d3770u, 0x36d8a566u, 0x4f10e410u, 0x7f9458eau);
    let bits = bitcast<u32>(x);
    let factor = (bits << 8) | 0x80000000u;
    let place = max((bits >> 23) & 0xffu, 127u) - 126;
    let i = min(place / 32, 4u);
    let up = place % 32;
    let w0 = (digits[i] << up) | ((digits[i + 1] >> 1) >> (31 - up));
    let w1 = (digits[i + 1] << up) | ((digits[i + 2] >> 1) >> (31 - up));
    let w2 = (digits[i + 2] << up) | ((digits[i + 3] >> 1) >> (31 - up));
    let p1 = mul_wide(factor, w1);
    let low = p1.y + mul_wide(factor, w2).x;
    let high = factor * w0 + p1.x + u32(low < p1.y);
    let n = (high + 0x20000000u) >> 30;
    // The signed rest.
    let rest = high - (n << 30);
    let below = (rest & 0x80000000u) != 0;
    let a_low = select(low, 0 - low, below);
    let a_high = select(rest, ~rest + u32(low == 0), below);
    let a = (f32(a_high) * 4294967296.0 + f32(a_low)) * 3.4061215800304964e-19;
    let flips = below != (bits > 0x7fffffffu);
    return Turned(select(i32(n), -i32(n), bits > 0x7fffffffu), select(a, -a, flips));
}

fn sincos_f32(x: f32) -> vec2f {
    let bits = bitcast<u32>(x);
    var t = turned_near(x);
    if abs(x) > 8192.0 { t = turned_far(x); }
    let v = sincos_turned(t.rest, t.n);
    // Of ±∞ and NaN.
    return select(v, vec2f(bitcast<f32>(bits | 0x7fc00000u)), (bits & 0x7f800000u) == 0x7f800000u);
}

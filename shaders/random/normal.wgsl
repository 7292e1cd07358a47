// y is standard normal, by Box and Muller (1958).

#import draws
#import math

fn pair(a: u32, b: u32) -> vec2f {
    let radius = sqrt(-2.0 * log_f32(f32((a >> 8) + 1) * 5.9604644775390625e-8));
    // The angle 2π b/2²⁴ as a quarter turn and a rest within an eighth, exactly.
    let turn = i32(b >> 8);
    let quarter = (turn + 0x200000) >> 22;
    let rest = f32(turn - (quarter << 22)) * (1.5707963267948966 / 4194304.0);
    return radius * sincos_turned(rest, quarter).yx;
}

fn draw(w: vec4u) -> vec4f {
    return vec4f(pair(w.x, w.y), pair(w.z, w.w));
}

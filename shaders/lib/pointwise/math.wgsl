// Elementary functions to about two units in the last place: WGSL leaves the accuracy of its own to the driver
// (sin and cos to 2^-11). Coefficients: fdlibm (Sun 1993) and Cephes (Moshier 1992). NaN gives NaN.

#import nan

fn exp_f32(x: f32) -> f32 {
    let c = clamp(x, -150.0, 130.0);
    let n = round(c * 1.44269504);
    let r = (c - n * 0.693359375) + n * 2.12194440e-4;
    var p = 1.9875691500e-4;
    p = p * r + 1.3981999507e-3;
    p = p * r + 8.3334519073e-3;
    p = p * r + 4.1665795894e-2;
    p = p * r + 1.6666665459e-1;
    p = p * r + 5.0000001201e-1;
    p = p * r * r + r + 1.0;
    // In two steps, so that neither power of two leaves the range before the product does.
    let half = i32(n) >> 1;
    let first = bitcast<f32>(u32(half + 127) << 23);
    let second = bitcast<f32>(u32(i32(n) - half + 127) << 23);
    return select(p * first * second, x, is_nan(x));
}

// log(1 + f) + e log 2 for f from √½ − 1 to √2 − 1.
fn log_near(f: f32, e: f32) -> f32 {
    let s = f / (2.0 + f);
    let z = s * s;
    let w = z * z;
    let r = z * (0.66666662693 + w * 0.28498786688) + w * (0.40000972152 + w * 0.24279078841);
    let h = 0.5 * f * f;
    return s * (h + r) + e * 9.0580006145e-6 - h + f + e * 0.69313812256;
}

fn log_f32(x: f32) -> f32 {
    let bits = bitcast<u32>(x);
    // Below 2^-126 multiples of 2^-149, which drivers may take for 0.
    let small = bits < 0x00800000u;
    let scaled = select(bits, bitcast<u32>(f32(bits)), small);
    let shifted = scaled + (0x3f800000u - 0x3f3504f3u);
    let e = f32(i32(shifted >> 23) - select(127, 276, small));
    let f = bitcast<f32>((shifted & 0x007fffffu) + 0x3f3504f3u) - 1.0;
    // Of ±0, of ∞, and of what is negative or NaN.
    let known = select(bits | 0x7fc00000u, bits, bits == 0x7f800000u);
    let other = select(known, 0xff800000u, (bits & 0x7fffffffu) == 0u);
    return select(log_near(f, e), bitcast<f32>(other), bits - 1u >= 0x7f7fffffu);
}

// log(1 + x) for x from 0 to 1.
fn log1p_f32(x: f32) -> f32 {
    let high = x > 0.41421356;
    return log_near(select(x, 0.5 * x - 0.5, high), select(0.0, 1.0, high));
}

// (sin, cos) of r in ±π/4.
fn sincos_octant(r: f32) -> vec2f {
    let z = r * r;
    let s = ((-1.9515295891e-4 * z + 8.3321608736e-3) * z - 1.6666654611e-1) * z * r + r;
    let c = ((2.443315711809948e-5 * z - 1.388731625493765e-3) * z + 4.166664568298827e-2) * z * z - 0.5 * z + 1.0;
    return vec2f(s, c);
}

// (sin, cos) of r + n π/2.
fn sincos_turned(r: f32, n: i32) -> vec2f {
    let sc = sincos_octant(r);
    let turned = select(sc, sc.yx, (n & 1) != 0);
    return vec2f(select(turned.x, -turned.x, (n & 2) != 0), select(turned.y, -turned.y, ((n + 1) & 2) != 0));
}

fn tanh_f32(x: f32) -> f32 {
    let z = x * x;
    if z < 0.390625 {
        var p = -5.70498872745e-3;
        p = p * z + 2.06390887954e-2;
        p = p * z - 5.37397155531e-2;
        p = p * z + 1.33314422036e-1;
        p = p * z - 3.33332819422e-1;
        return p * z * x + x;
    }
    let t = 1.0 - 2.0 / (exp_f32(2.0 * abs(x)) + 1.0);
    return select(t, -t, x < 0.0);
}

fn erf_f32(x: f32) -> f32 {
    let a = abs(x);
    if a < 0.84375 {
        let z = x * x;
        let p = 1.2837916613e-1 + z * (-3.2504209876e-1 + z * (-2.8481749818e-2 + z * (-5.7702702470e-3
            + z * -2.3763017452e-5)));
        let q = 1.0 + z * (3.9791721106e-1 + z * (6.5022252500e-2 + z * (5.0813062117e-3 + z * (1.3249473704e-4
            + z * -3.9602282413e-6))));
        return x + x * (p / q);
    }
    // Abramowitz and Stegun 1964, 7.1.26.
    let t = 1.0 / (1.0 + 0.3275911 * a);
    let p = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
    let y = 1.0 - p * exp_f32(-a * a);
    return select(y, -y, x < 0.0);
}

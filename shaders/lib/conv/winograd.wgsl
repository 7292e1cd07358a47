// The transforms of Winograd's F(4×4, 3×3), with interpolation points 0, ±a, ±b and ∞, where a = √½ and b = √2. Those of
// tiles map columns, then rows; here for four channels at once.

const A: f32 = 0.70710678118654752;
const B: f32 = 1.41421356237309505;

// Factors of the kernel at ±a and ±b: one over the product of the differences to the other points.
const OVER_A: f32 = -2.0 / 3.0;
const OVER_B: f32 = 1.0 / 6.0;

struct Three { a0: vec4f, a1: vec4f, a2: vec4f }

struct Four { a0: vec4f, a1: vec4f, a2: vec4f, a3: vec4f }

struct Six { a0: vec4f, a1: vec4f, a2: vec4f, a3: vec4f, a4: vec4f, a5: vec4f }

// An item by its number: rows are gone through by loops, since drivers take long to compile what is written out.
fn three_at(x: Three, r: u32) -> vec4f { return select(select(x.a2, x.a1, r == 1), x.a0, r == 0); }

fn four_at(x: Four, r: u32) -> vec4f { return select(select(x.a3, x.a2, r == 2), select(x.a1, x.a0, r == 0), r < 2); }

fn six_at(x: Six, r: u32) -> vec4f {
    return select(select(x.a5, x.a4, r == 4), four_at(Four(x.a0, x.a1, x.a2, x.a3), r), r < 4);
}

// Bᵀ: what an image's six neighbours are transformed to.
fn of_image(x: Six) -> Six {
    let e = x.a4 - 2.0 * x.a2;
    let f = x.a4 - 0.5 * x.a2;
    let o = A * (x.a3 - 2.0 * x.a1);
    let p = B * (x.a3 - 0.5 * x.a1);
    return Six(x.a0 + x.a4 - 2.5 * x.a2, e + o, e - o, f + p, f - p, x.a1 + x.a5 - 2.5 * x.a3);
}

// Aᵀ: four results of the products' six sums.
fn of_results(m: Six) -> Four {
    let s = m.a1 + m.a2;
    let d = m.a1 - m.a2;
    let t = m.a3 + m.a4;
    let u = m.a3 - m.a4;
    return Four(m.a0 + s + t, A * d + B * u, 0.5 * s + 2.0 * t, 0.5 * A * d + 2.0 * B * u + m.a5);
}

// A: what four neighbours of a cotangent are transformed to.
fn of_cotangent(y: Four) -> Six {
    let e = y.a0 + 0.5 * y.a2;
    let f = y.a0 + 2.0 * y.a2;
    let o = A * (y.a1 + 0.5 * y.a3);
    let p = B * (y.a1 + 2.0 * y.a3);
    return Six(y.a0, e + o, e - o, f + p, f - p, y.a3);
}

// G: what the three taps of a kernel are transformed to.
fn of_kernel(w: Three) -> Six {
    let e = OVER_A * (w.a0 + 0.5 * w.a2);
    let f = OVER_B * (w.a0 + 2.0 * w.a2);
    let o = OVER_A * A * w.a1;
    let p = OVER_B * B * w.a1;
    return Six(w.a0, e + o, e - o, f + p, f - p, w.a2);
}

// Gᵀ: three taps of the products' six sums.
fn of_taps(m: Six) -> Three {
    let s = OVER_A * (m.a1 + m.a2);
    let d = OVER_A * A * (m.a1 - m.a2);
    let t = OVER_B * (m.a3 + m.a4);
    let u = OVER_B * B * (m.a3 - m.a4);
    return Three(m.a0 + s + t, d + u, m.a5 + 0.5 * s + 2.0 * t);
}

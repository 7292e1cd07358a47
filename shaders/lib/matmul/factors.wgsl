// The factors a and b of a tiled matrix product, and how results go to y.

// Whether y is added to: by the second of two terms.
override ACCUMULATE: bool = false;

@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;

fn load_a(at: u32) -> f32 { return a[at / 4][at % 4]; }
fn load_a4(at: u32) -> vec4f { return a[at / 4]; }
fn load_b(at: u32) -> f32 { return b[at / 4][at % 4]; }
fn load_b4(at: u32) -> vec4f { return b[at / 4]; }

fn put_at(at: u32, v: f32) {
    if ACCUMULATE { y[at / 4][at % 4] += v; } else { y[at / 4][at % 4] = v; }
}

fn put4_at(at: u32, v: vec4f) {
    if ACCUMULATE { y[at / 4] += v; } else { y[at / 4] = v; }
}

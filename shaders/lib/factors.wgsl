// The factors of a tiled matrix product: a and b, and a2 and b2 of a second term.

@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
@group(0) @binding(3) var<storage, read> a2: array<vec4f>;
@group(0) @binding(4) var<storage, read> b2: array<vec4f>;

fn load_a(term: u32, at: u32) -> f32 {
    if term == 0 { return a[at / 4][at % 4]; }
    return a2[at / 4][at % 4];
}

fn load_a4(term: u32, at: u32) -> vec4f {
    if term == 0 { return a[at / 4]; }
    return a2[at / 4];
}

fn load_b(term: u32, at: u32) -> f32 {
    if term == 0 { return b[at / 4][at % 4]; }
    return b2[at / 4][at % 4];
}

fn load_b4(term: u32, at: u32) -> vec4f {
    if term == 0 { return b[at / 4]; }
    return b2[at / 4];
}

// The factors of one or two terms, a b + a2 b2, whose products a loop adds up. Operands define for a row i of a and a
// summed index k their coordinates, row_at, row_after, sum_at, sum_after; where the factors of a batch begin, base_a,
// base_b; and how far from there a number is, place_a, of coordinates, or OUTSIDE, and place_b.

#import index

override TERMS: u32 = 1;

@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
@group(0) @binding(3) var<storage, read> a2: array<vec4f>;
@group(0) @binding(4) var<storage, read> b2: array<vec4f>;

fn value_a(term: u32, at: u32) -> f32 {
    if TERMS == 1 || term == 0 { return a[at / 4][at % 4]; }
    return a2[at / 4][at % 4];
}

fn value_a4(term: u32, at: u32) -> vec4f {
    if TERMS == 1 || term == 0 { return a[at / 4]; }
    return a2[at / 4];
}

fn value_b(term: u32, at: u32) -> f32 {
    if TERMS == 1 || term == 0 { return b[at / 4][at % 4]; }
    return b2[at / 4][at % 4];
}

fn value_b4(term: u32, at: u32) -> vec4f {
    if TERMS == 1 || term == 0 { return b[at / 4]; }
    return b2[at / 4];
}

fn load_a(term: u32, batch: u32, i: u32, k: u32) -> f32 {
    let at = place_a(row_at(i), sum_at(k));
    if at == OUTSIDE { return 0.0; }
    return value_a(term, base_a(term, batch) + at);
}

fn load_b(term: u32, batch: u32, k: u32, j: u32) -> f32 {
    return value_b(term, base_b(term, batch) + place_b(k, j));
}

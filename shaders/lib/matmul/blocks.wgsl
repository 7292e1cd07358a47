// Blocks of 4 × 4 numbers of the factors: four rows of a, or four columns of b, at four k. Rows and columns behind the
// last are stood in for by it, since what is made of them is not stored; what is behind the end of the summed axis is
// zero.

#import terms

// Whether neighbours of a lie together along k, else along i; those of b along k, else along j.
override A_ALONG_K: bool = true;
override B_ALONG_K: bool = false;
// Whether these neighbours come in aligned vec4s.
override A_VEC4: bool = false;
override B_VEC4: bool = false;

// Coordinates of four rows of a.
struct Rows { r0: vec3u, r1: vec3u, r2: vec3u, r3: vec3u }

fn row_or(row: vec3u, i: u32) -> vec3u { return select(row, row_after(row), i < params.m); }

fn rows_from(i: u32) -> Rows {
    // Where rows are loaded in vec4s, m is a multiple of four, and another four stands in.
    let vec4s = A_VEC4 && !A_ALONG_K;
    let r0 = row_at(min(i, params.m - select(1u, 4u, vec4s)));
    let r1 = row_or(r0, i + 1);
    let r2 = row_or(r1, i + 2);
    return Rows(r0, r1, r2, row_or(r2, i + 3));
}

fn a_at(term: u32, base: u32, row: vec3u, sum: vec3u, is_there: bool) -> f32 {
    let at = place_a(row, sum);
    let found = is_there && at != OUTSIDE;
    return select(0.0, value_a(term, select(0u, base + at, found)), found);
}

fn a4_at(term: u32, base: u32, row: vec3u, sum: vec3u, is_there: bool) -> vec4f {
    let at = place_a(row, sum);
    let found = is_there && at != OUTSIDE;
    return select(vec4f(), value_a4(term, select(0u, base + at, found)), found);
}

// a of four rows at one k.
fn a_column(term: u32, base: u32, rows: Rows, sum: vec3u, is_there: bool) -> vec4f {
    if A_VEC4 && !A_ALONG_K { return a4_at(term, base, rows.r0, sum, is_there); }
    return vec4f(a_at(term, base, rows.r0, sum, is_there), a_at(term, base, rows.r1, sum, is_there),
                 a_at(term, base, rows.r2, sum, is_there), a_at(term, base, rows.r3, sum, is_there));
}

// Column c is a of four rows at k + c.
fn block_a(term: u32, base: u32, rows: Rows, k: u32, end: u32) -> mat4x4f {
    let s0 = sum_at(k);
    if A_VEC4 && A_ALONG_K {
        return transpose(mat4x4f(a4_at(term, base, rows.r0, s0, k < end), a4_at(term, base, rows.r1, s0, k < end),
                                 a4_at(term, base, rows.r2, s0, k < end), a4_at(term, base, rows.r3, s0, k < end)));
    }
    let s1 = sum_after(s0);
    let s2 = sum_after(s1);
    let s3 = sum_after(s2);
    return mat4x4f(a_column(term, base, rows, s0, k < end), a_column(term, base, rows, s1, k + 1 < end),
                   a_column(term, base, rows, s2, k + 2 < end), a_column(term, base, rows, s3, k + 3 < end));
}

fn b_at(term: u32, base: u32, k: u32, j: u32, end: u32) -> f32 {
    return select(0.0, value_b(term, select(0u, base + place_b(k, min(j, params.n - 1)), k < end)), k < end);
}

fn b4_at(term: u32, base: u32, k: u32, j: u32, end: u32) -> vec4f {
    return select(vec4f(), value_b4(term, select(0u, base + place_b(k, j), k < end)), k < end);
}

// b of four columns at one k.
fn b_row(term: u32, base: u32, k: u32, j: u32, end: u32) -> vec4f {
    if B_VEC4 && !B_ALONG_K { return b4_at(term, base, k, min(j, params.n - 4), end); }
    return vec4f(b_at(term, base, k, j, end), b_at(term, base, k, j + 1, end),
                 b_at(term, base, k, j + 2, end), b_at(term, base, k, j + 3, end));
}

// Column c is b of columns j to j + 3 at k + c.
fn block_b(term: u32, base: u32, k: u32, j: u32, end: u32) -> mat4x4f {
    if B_VEC4 && B_ALONG_K {
        let last = params.n - 1;
        return transpose(mat4x4f(b4_at(term, base, k, min(j, last), end), b4_at(term, base, k, min(j + 1, last), end),
                                 b4_at(term, base, k, min(j + 2, last), end), b4_at(term, base, k, min(j + 3, last), end)));
    }
    return mat4x4f(b_row(term, base, k, j, end), b_row(term, base, k + 1, j, end),
                   b_row(term, base, k + 2, j, end), b_row(term, base, k + 3, j, end));
}

// What four rows of a and four columns of b add at one k: column r is for row r.
fn outer(b: vec4f, a: vec4f) -> mat4x4f { return mat4x4f(b * a.x, b * a.y, b * a.z, b * a.w); }

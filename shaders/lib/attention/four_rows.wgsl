// What the loops of matrix products for software adapters share: four rows of factors and of results.

#import index
#import unfold

// Where four neighbours are loaded at once: 0 nowhere, 1 along k, 2 along i or j.
override A_VEC4S: u32 = 0;
override B_VEC4S: u32 = 0;
// Whether rows of y are multiples of four.
override Y_VEC4S: bool = false;

struct Tile { batch: u32, split: u32, i: u32, j: u32 }

// Four addresses of a, and which of them are none.
struct Fours { at: vec4u, outside: vec4<bool> }

struct Rows { c0: vec3u, c1: vec3u, c2: vec3u, c3: vec3u }

// The last row stands in for those behind it.
fn row_after(at: vec3u, i: u32) -> vec3u { return select(at, after(at, row_extents()), i < params.m); }

fn rows_from(first: vec3u, i: u32) -> Rows {
    let c1 = row_after(first, i + 1);
    let c2 = row_after(c1, i + 2);
    return Rows(first, c1, c2, row_after(c2, i + 3));
}

fn outer(b: vec4f, a: vec4f) -> mat4x4f { return mat4x4f(b * a.x, b * a.y, b * a.z, b * a.w); }

fn row_of(rows: mat4x4f, r: u32) -> vec4f {
    return select(select(rows[3], rows[2], r == 2), select(rows[1], rows[0], r == 0), r < 2);
}

// Four rows of what columns j to j + 3 begin with.
fn begun(tile: Tile, j: u32) -> mat4x4f {
    let v = begin(tile.batch, tile.split, min(vec4u(j) + vec4u(0, 1, 2, 3), vec4u(params.n - 1)));
    return mat4x4f(v, v, v, v);
}

// Columns j to j + 3 of the row of y that begins at row.
fn put(row: u32, j: u32, v: vec4f) {
    if j >= params.n { return; }
    if Y_VEC4S {
        put4_at(row + j, v);
        return;
    }
    put_at(row + j, v.x);
    if j + 1 < params.n { put_at(row + j + 1, v.y); }
    if j + 2 < params.n { put_at(row + j + 2, v.z); }
    if j + 3 < params.n { put_at(row + j + 3, v.w); }
}

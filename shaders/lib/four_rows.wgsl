// What the loops of matrix products for software adapters share: four rows of a, and four rows of results.

#import index
#import unfold

// Where four neighbours are loaded at once: 0 nowhere, 1 along k, 2 along i or j.
override A_QUADS: u32 = 0;
override B_QUADS: u32 = 0;
// Whether rows of y are multiples of four.
override Y_QUADS: bool = false;

struct Tile { batch: u32, split: u32, i: u32, j: u32 }

// Addresses of a for four rows, and which of them have none.
struct Fours { at: vec4u, outside: vec4<bool> }

struct Rows { c0: vec3u, c1: vec3u, c2: vec3u, c3: vec3u }

// The last row stands in for those behind it.
fn row_after(at: vec3u, i: u32) -> vec3u { return select(at, after(at, row_extents()), i < params.m); }

fn rows_from(first: vec3u, i: u32) -> Rows {
    let c1 = row_after(first, i + 1);
    let c2 = row_after(c1, i + 2);
    return Rows(first, c1, c2, row_after(c2, i + 3));
}

fn place_rows(batch: u32, rows: Rows, segment: vec3u) -> Fours {
    var at: vec4u;
    if A_QUADS == 2 {
        at = vec4u(place_a(batch, rows.c0, segment));
    } else {
        at = vec4u(place_a(batch, rows.c0, segment), place_a(batch, rows.c1, segment),
                   place_a(batch, rows.c2, segment), place_a(batch, rows.c3, segment));
    }
    let outside = at == vec4u(OUTSIDE);
    return Fours(select(at, vec4u(), outside), outside);
}

// a of four rows at one k.
fn a_column(rows: Fours, k: u32) -> vec4f {
    let at = rows.at + vec4u(k * a_k());
    if A_QUADS == 2 { return select(load_a4(at.x), vec4f(), rows.outside); }
    let v = vec4f(load_a(at.x), load_a(at.y), load_a(at.z), load_a(at.w));
    return select(v, vec4f(), rows.outside);
}

// a of four rows, each at four k.
fn a_block(rows: Fours, k: u32) -> mat4x4f {
    if A_QUADS == 1 {
        return mat4x4f(select(load_a4(rows.at.x + k), vec4f(), rows.outside.x),
                       select(load_a4(rows.at.y + k), vec4f(), rows.outside.y),
                       select(load_a4(rows.at.z + k), vec4f(), rows.outside.z),
                       select(load_a4(rows.at.w + k), vec4f(), rows.outside.w));
    }
    return transpose(mat4x4f(a_column(rows, k), a_column(rows, k + 1),
                             a_column(rows, k + 2), a_column(rows, k + 3)));
}

fn put(tile: Tile, j: u32, i: u32, v: vec4f) {
    if i >= params.m || j >= params.n { return; }
    if Y_QUADS {
        store4(tile.batch, tile.split, i, j, v);
        return;
    }
    store(tile.batch, tile.split, i, j, v.x);
    if j + 1 < params.n { store(tile.batch, tile.split, i, j + 1, v.y); }
    if j + 2 < params.n { store(tile.batch, tile.split, i, j + 2, v.z); }
    if j + 3 < params.n { store(tile.batch, tile.split, i, j + 3, v.w); }
}

fn outer(b: vec4f, a: vec4f) -> mat4x4f { return mat4x4f(b * a.x, b * a.y, b * a.z, b * a.w); }

fn put_rows(tile: Tile, i: u32, j: u32, rows: mat4x4f) {
    put(tile, j, i, rows[0]);
    put(tile, j, i + 1, rows[1]);
    put(tile, j, i + 2, rows[2]);
    put(tile, j, i + 3, rows[3]);
}

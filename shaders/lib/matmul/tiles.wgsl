// The loop of a matrix product for software adapters: y[i, j] = Σₖ a[i, k] b[k, j], for each batch.
// An invocation computes 8 × 4 VEC4S outputs in registers: nothing is shared, nothing in the loops divides, and the loops
// over a tile are written out, since arrays of registers are not. The summed axis is a list of segments, along each of
// which the factors have constant strides; the splits divide the segments, and every split writes its own partial result.
//
// The kernel imports factors and segments, and defines Params (with m, n, k, batches, splits, k_chunk), the strides a_k,
// b_k, b_j,
//   row_extents, segment_extents   the inner two extents of the three coordinates of rows and segments
//   run                            elements of a segment
//   place_a, place_b               where a segment begins: for a row, or OUTSIDE; for column 0
//   place_out                      where a row of y begins
//   begin                          what four columns of each row begin with

#import four_rows

// vec4s of columns in a tile, 1, 2 or 4.
override VEC4S: u32 = 4;
override LANES: u32 = 8;

// l and h hold the first four rows and the others: l1[i] is columns 4 to 7 of row i.
struct Sums { l0: mat4x4f, l1: mat4x4f, l2: mat4x4f, l3: mat4x4f, h0: mat4x4f, h1: mat4x4f, h2: mat4x4f, h3: mat4x4f }

// b of four columns at one k.
fn b_row(columns: vec4u, k: u32) -> vec4f {
    let at = columns + vec4u(k * b_k());
    if B_VEC4S == 2 { return load_b4(at.x); }
    return vec4f(load_b(at.x), load_b(at.y), load_b(at.z), load_b(at.w));
}

// b of four columns, at four k.
fn b_block(columns: vec4u, k: u32) -> mat4x4f {
    if B_VEC4S == 1 {
        return transpose(mat4x4f(load_b4(columns.x + k), load_b4(columns.y + k),
                                 load_b4(columns.z + k), load_b4(columns.w + k)));
    }
    return mat4x4f(b_row(columns, k), b_row(columns, k + 1),
                   b_row(columns, k + 2), b_row(columns, k + 3));
}

// Where columns j to j + 3 are, from column 0; the last one stands in for those behind it.
fn place_columns(j: u32) -> vec4u {
    if B_VEC4S == 2 { return vec4u(min(j, params.n - 4)); }
    return min(vec4u(j) + vec4u(0, 1, 2, 3), vec4u(params.n - 1)) * b_j();
}

fn sum_tile(tile: Tile) -> Sums {
    var acc: Sums;
    acc.l0 = begun(tile, tile.j);
    if VEC4S > 1 { acc.l1 = begun(tile, tile.j + 4); }
    if VEC4S > 2 {
        acc.l2 = begun(tile, tile.j + 8);
        acc.l3 = begun(tile, tile.j + 12);
    }
    acc.h0 = acc.l0;
    acc.h1 = acc.l1;
    acc.h2 = acc.l2;
    acc.h3 = acc.l3;
    let l = rows_from(unfold(tile.i, row_extents()), tile.i);
    let h = rows_from(row_after(l.c3, tile.i + 4), tile.i + 4);
    let j0 = place_columns(tile.j);
    let j1 = place_columns(tile.j + 4);
    let j2 = place_columns(tile.j + 8);
    let j3 = place_columns(tile.j + 12);
    let from_k = tile.split * params.k_chunk;
    let end = min(from_k + params.k_chunk, params.k);
    var segment = segment_at(from_k);
    for (var k0 = from_k; k0 < end; k0 += run()) {
        let la = place_rows(tile.batch, l, segment);
        let ha = place_rows(tile.batch, h, segment);
        let b0 = vec4u(place_b(tile.batch, segment));
        let length = select(min(run(), end - k0), 0u, all(la.outside) && all(ha.outside));
        if A_VEC4S == 1 || B_VEC4S == 1 {
            for (var k = 0u; k < length; k += 4) {
                let p = a_block(la, k);
                let q = a_block(ha, k);
                let b = b_block(b0 + j0, k);
                acc.l0 += b * p;
                acc.h0 += b * q;
                if VEC4S > 1 {
                    let b = b_block(b0 + j1, k);
                    acc.l1 += b * p;
                    acc.h1 += b * q;
                }
                if VEC4S > 2 {
                    let b = b_block(b0 + j2, k);
                    acc.l2 += b * p;
                    acc.h2 += b * q;
                    let c = b_block(b0 + j3, k);
                    acc.l3 += c * p;
                    acc.h3 += c * q;
                }
            }
        } else {
            for (var k = 0u; k < length; k++) {
                let p = a_column(la, k);
                let q = a_column(ha, k);
                let b = b_row(b0 + j0, k);
                acc.l0 += outer(b, p);
                acc.h0 += outer(b, q);
                if VEC4S > 1 {
                    let b = b_row(b0 + j1, k);
                    acc.l1 += outer(b, p);
                    acc.h1 += outer(b, q);
                }
                if VEC4S > 2 {
                    let b = b_row(b0 + j2, k);
                    acc.l2 += outer(b, p);
                    acc.h2 += outer(b, q);
                    let c = b_row(b0 + j3, k);
                    acc.l3 += outer(c, p);
                    acc.h3 += outer(c, q);
                }
            }
        }
        segment = segment_after(segment);
    }
    return acc;
}

fn put_row(tile: Tile, row: u32, v0: vec4f, v1: vec4f, v2: vec4f, v3: vec4f) {
    if row >= params.m { return; }
    let at = place_out(tile.batch, tile.split, row);
    put(at, tile.j, v0);
    if VEC4S > 1 { put(at, tile.j + 4, v1); }
    if VEC4S > 2 {
        put(at, tile.j + 8, v2);
        put(at, tile.j + 12, v3);
    }
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let tiles = vec2u((params.m + 7) / 8, (params.n + 4 * VEC4S - 1) / (4 * VEC4S));
    let t = flat_group(group, groups) * LANES + lane;
    let rest = t / tiles.x;
    let pieces = rest / tiles.y;
    let tile = Tile(pieces / params.splits, pieces % params.splits, t % tiles.x * 8, rest % tiles.y * 4 * VEC4S);
    if tile.batch >= params.batches { return; }
    let acc = sum_tile(tile);
    let rows = min(params.m - tile.i, 4u);
    for (var r = 0u; r < rows; r++) {
        put_row(tile, tile.i + r, row_of(acc.l0, r), row_of(acc.l1, r), row_of(acc.l2, r), row_of(acc.l3, r));
        put_row(tile, tile.i + 4 + r, row_of(acc.h0, r), row_of(acc.h1, r), row_of(acc.h2, r), row_of(acc.h3, r));
    }
}

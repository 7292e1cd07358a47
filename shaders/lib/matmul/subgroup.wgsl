// The loop of a matrix product for software adapters with subgroups: y[i, j] = Σₖ a[i, k] b[k, j], for each batch.
// Eight invocations of one subgroup compute 32 × 16 or 32 × 32 outputs in registers, four rows each. Rows of a are loaded by
// the one that has them; b is loaded once by all together, each a piece, and goes around. Sums are added up in the order
// of tiles.wgsl, which says what the kernel defines. Segments are multiples of four long, or gone through by vec4s where the
// kernel imports single_elements in place of segments, and a is loaded by vec4s.

#import four_rows

// Whether tiles have 32 columns.
override WIDE: bool = false;

// Four rows of sixteen columns, and of sixteen more.
struct Sums { c0: mat4x4f, c1: mat4x4f, c2: mat4x4f, c3: mat4x4f, d0: mat4x4f, d1: mat4x4f, d2: mat4x4f, d3: mat4x4f }

// What an invocation loads of sixteen columns at four k. If neighbours along k are loaded at once, those of column lane, and
// of eight columns later; else vec4s of columns (lane / 4, lane % 4) at (k, j), and at two k later.
struct Piece { v: vec4f, w: vec4f }

// The columns of a piece, from column 0.
struct Columns { v: vec4u, w: vec4u }

fn place_columns(lane: u32, j: u32) -> Columns {
    if B_VEC4S == 1 {
        return Columns(vec4u(min(j + lane, params.n - 1) * b_j()), vec4u(min(j + lane + 8, params.n - 1) * b_j()));
    }
    let first = j + lane % 4 * 4;
    var columns = vec4u(min(first, params.n - 4));
    if B_VEC4S == 0 { columns = min(vec4u(first) + vec4u(0, 1, 2, 3), vec4u(params.n - 1)) * b_j(); }
    let v = columns + vec4u(lane / 4 * b_k());
    return Columns(v, v + vec4u(2 * b_k()));
}

fn load_columns(at: vec4u) -> vec4f {
    if B_VEC4S == 0 { return vec4f(load_b(at.x), load_b(at.y), load_b(at.z), load_b(at.w)); }
    return load_b4(at.x);
}

fn piece(columns: Columns, column0: u32, k: u32) -> Piece {
    let at = vec4u(column0 + select(k * b_k(), k, B_VEC4S == 1));
    return Piece(load_columns(columns.v + at), load_columns(columns.w + at));
}

// b of four columns, at four k. Whose numbers go around must be constants, so the four blocks are written out.
fn block0(b: Piece) -> mat4x4f {
    if B_VEC4S != 1 {
        return mat4x4f(subgroupBroadcast(b.v, 0u), subgroupBroadcast(b.v, 4u),
                       subgroupBroadcast(b.w, 0u), subgroupBroadcast(b.w, 4u));
    }
    return transpose(mat4x4f(subgroupBroadcast(b.v, 0u), subgroupBroadcast(b.v, 1u),
                             subgroupBroadcast(b.v, 2u), subgroupBroadcast(b.v, 3u)));
}

fn block1(b: Piece) -> mat4x4f {
    if B_VEC4S != 1 {
        return mat4x4f(subgroupBroadcast(b.v, 1u), subgroupBroadcast(b.v, 5u),
                       subgroupBroadcast(b.w, 1u), subgroupBroadcast(b.w, 5u));
    }
    return transpose(mat4x4f(subgroupBroadcast(b.v, 4u), subgroupBroadcast(b.v, 5u),
                             subgroupBroadcast(b.v, 6u), subgroupBroadcast(b.v, 7u)));
}

fn block2(b: Piece) -> mat4x4f {
    if B_VEC4S != 1 {
        return mat4x4f(subgroupBroadcast(b.v, 2u), subgroupBroadcast(b.v, 6u),
                       subgroupBroadcast(b.w, 2u), subgroupBroadcast(b.w, 6u));
    }
    return transpose(mat4x4f(subgroupBroadcast(b.w, 0u), subgroupBroadcast(b.w, 1u),
                             subgroupBroadcast(b.w, 2u), subgroupBroadcast(b.w, 3u)));
}

fn block3(b: Piece) -> mat4x4f {
    if B_VEC4S != 1 {
        return mat4x4f(subgroupBroadcast(b.v, 3u), subgroupBroadcast(b.v, 7u),
                       subgroupBroadcast(b.w, 3u), subgroupBroadcast(b.w, 7u));
    }
    return transpose(mat4x4f(subgroupBroadcast(b.w, 4u), subgroupBroadcast(b.w, 5u),
                             subgroupBroadcast(b.w, 6u), subgroupBroadcast(b.w, 7u)));
}

// Sums with those of four k more, which are added up before, or else one by one.
fn add_up(sums: mat4x4f, b: mat4x4f, a: mat4x4f) -> mat4x4f {
    if A_VEC4S == 1 || B_VEC4S == 1 { return sums + b * a; }
    let by_k = transpose(a);
    return sums + outer(b[0], by_k[0]) + outer(b[1], by_k[1]) + outer(b[2], by_k[2]) + outer(b[3], by_k[3]);
}

fn sum_tile(tile: Tile, lane: u32) -> Sums {
    var acc: Sums;
    acc.c0 = begun(tile, tile.j);
    acc.c1 = begun(tile, tile.j + 4);
    acc.c2 = begun(tile, tile.j + 8);
    acc.c3 = begun(tile, tile.j + 12);
    if WIDE {
        acc.d0 = begun(tile, tile.j + 16);
        acc.d1 = begun(tile, tile.j + 20);
        acc.d2 = begun(tile, tile.j + 24);
        acc.d3 = begun(tile, tile.j + 28);
    }
    let i = tile.i + 4 * lane;
    let rows = rows_from(unfold(min(i, params.m - 1), row_extents()), i);
    let c = place_columns(lane, tile.j);
    let d = place_columns(lane, tile.j + 16);
    let from_k = tile.split * params.k_chunk;
    let end = min(from_k + params.k_chunk, params.k);
    var segment = segment_at(from_k);
    for (var k0 = from_k; k0 < end; k0 += run()) {
        let places = place_rows(tile.batch, rows, segment);
        let b0 = place_b(tile.batch, segment);
        let length = min(run(), end - k0);
        for (var k = 0u; k < length; k += 4) {
            let a = a_block(places, k);
            let b = piece(c, b0, k);
            acc.c0 = add_up(acc.c0, block0(b), a);
            acc.c1 = add_up(acc.c1, block1(b), a);
            acc.c2 = add_up(acc.c2, block2(b), a);
            acc.c3 = add_up(acc.c3, block3(b), a);
            if WIDE {
                let b = piece(d, b0, k);
                acc.d0 = add_up(acc.d0, block0(b), a);
                acc.d1 = add_up(acc.d1, block1(b), a);
                acc.d2 = add_up(acc.d2, block2(b), a);
                acc.d3 = add_up(acc.d3, block3(b), a);
            }
        }
        segment = segment_after(segment);
    }
    return acc;
}

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(subgroup_invocation_id) lane: u32) {
    let columns = select(16u, 32u, WIDE);
    let tiles = vec2u((params.m + 31) / 32, (params.n + columns - 1) / columns);
    let t = flat_group(group, groups);
    let rest = t / tiles.x;
    let pieces = rest / tiles.y;
    // Of all eight: with a lane's own row in it control would not be uniform, which Tint asks for where numbers go around.
    let tile = Tile(pieces / params.splits, pieces % params.splits, t % tiles.x * 32, rest % tiles.y * columns);
    if tile.batch >= params.batches { return; }
    let acc = sum_tile(tile, lane);
    let i = tile.i + 4 * lane;
    let end = min(i + 4, params.m);
    for (var row = i; row < end; row++) {
        let r = row - i;
        let at = place_out(tile.batch, tile.split, row);
        put(at, tile.j, row_of(acc.c0, r));
        put(at, tile.j + 4, row_of(acc.c1, r));
        put(at, tile.j + 8, row_of(acc.c2, r));
        put(at, tile.j + 12, row_of(acc.c3, r));
        if WIDE {
            put(at, tile.j + 16, row_of(acc.d0, r));
            put(at, tile.j + 20, row_of(acc.d1, r));
            put(at, tile.j + 24, row_of(acc.d2, r));
            put(at, tile.j + 28, row_of(acc.d3, r));
        }
    }
}

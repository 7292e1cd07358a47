// The loop of a matrix product for software adapters with subgroups: y[i, j] = Σₖ a[i, k] b[k, j], for each batch.
// Eight invocations of one subgroup make 32 × 16 or 32 × 32 outputs in registers, four rows each. Rows of a are loaded by
// the one that has them; b is loaded once by all together, each a piece, and goes around. Sums are added up in the order
// of tiles.wgsl, which says what the kernel defines. Both factors are loaded by fours, and segments are multiples of four
// long.

#import four_rows

// Whether tiles have 32 columns.
override WIDE: bool = false;

// Four rows of sixteen columns, and of sixteen more.
struct Sums { c0: mat4x4f, c1: mat4x4f, c2: mat4x4f, c3: mat4x4f, d0: mat4x4f, d1: mat4x4f, d2: mat4x4f, d3: mat4x4f }

// What an invocation loads of sixteen columns at four k. If columns are neighbours, those with (k, 4 j) are (lane / 4,
// lane % 4), and of two k later; else those of column lane, and of eight columns later.
struct Piece { v: vec4f, w: vec4f }

fn place_piece(lane: u32, j: u32) -> vec2u {
    if B_QUADS == 2 {
        let column = min(j + lane % 4 * 4, params.n - 4) + lane / 4 * b_k();
        return vec2u(column, column + 2 * b_k());
    }
    return min(vec2u(j + lane, j + lane + 8), vec2u(params.n - 1)) * b_j();
}

fn piece(at: vec2u, k: u32) -> Piece {
    let step = select(k, k * b_k(), B_QUADS == 2);
    return Piece(load_b4(at.x + step), load_b4(at.y + step));
}

// b of four columns, at four k. Whose numbers go around must be constants, so the four blocks are written out.
fn block0(b: Piece) -> mat4x4f {
    if B_QUADS == 2 {
        return mat4x4f(subgroupBroadcast(b.v, 0u), subgroupBroadcast(b.v, 4u),
                       subgroupBroadcast(b.w, 0u), subgroupBroadcast(b.w, 4u));
    }
    return transpose(mat4x4f(subgroupBroadcast(b.v, 0u), subgroupBroadcast(b.v, 1u),
                             subgroupBroadcast(b.v, 2u), subgroupBroadcast(b.v, 3u)));
}

fn block1(b: Piece) -> mat4x4f {
    if B_QUADS == 2 {
        return mat4x4f(subgroupBroadcast(b.v, 1u), subgroupBroadcast(b.v, 5u),
                       subgroupBroadcast(b.w, 1u), subgroupBroadcast(b.w, 5u));
    }
    return transpose(mat4x4f(subgroupBroadcast(b.v, 4u), subgroupBroadcast(b.v, 5u),
                             subgroupBroadcast(b.v, 6u), subgroupBroadcast(b.v, 7u)));
}

fn block2(b: Piece) -> mat4x4f {
    if B_QUADS == 2 {
        return mat4x4f(subgroupBroadcast(b.v, 2u), subgroupBroadcast(b.v, 6u),
                       subgroupBroadcast(b.w, 2u), subgroupBroadcast(b.w, 6u));
    }
    return transpose(mat4x4f(subgroupBroadcast(b.w, 0u), subgroupBroadcast(b.w, 1u),
                             subgroupBroadcast(b.w, 2u), subgroupBroadcast(b.w, 3u)));
}

fn block3(b: Piece) -> mat4x4f {
    if B_QUADS == 2 {
        return mat4x4f(subgroupBroadcast(b.v, 3u), subgroupBroadcast(b.v, 7u),
                       subgroupBroadcast(b.w, 3u), subgroupBroadcast(b.w, 7u));
    }
    return transpose(mat4x4f(subgroupBroadcast(b.w, 4u), subgroupBroadcast(b.w, 5u),
                             subgroupBroadcast(b.w, 6u), subgroupBroadcast(b.w, 7u)));
}

// Sums with those of four k more, which are added up before, or else one by one.
fn add_up(sums: mat4x4f, b: mat4x4f, a: mat4x4f) -> mat4x4f {
    if A_QUADS == 1 || B_QUADS == 1 { return sums + b * a; }
    let by_k = transpose(a);
    return sums + outer(b[0], by_k[0]) + outer(b[1], by_k[1]) + outer(b[2], by_k[2]) + outer(b[3], by_k[3]);
}

fn sum_tile(tile: Tile, lane: u32) -> Sums {
    var acc: Sums;
    let rows = rows_from(unfold(min(tile.i, params.m - 1), row_extents()), tile.i);
    let c = place_piece(lane, tile.j);
    let d = place_piece(lane, tile.j + 16);
    let from_k = tile.split * params.k_chunk;
    let end = min(from_k + params.k_chunk, params.k);
    var segment = unfold(from_k / run(), segment_extents());
    for (var k0 = from_k; k0 < end; k0 += run()) {
        let places = place_rows(tile.batch, rows, segment);
        let b0 = vec2u(place_b(tile.batch, segment));
        let length = min(run(), end - k0);
        for (var k = 0u; k < length; k += 4) {
            let a = a_block(places, k);
            let b = piece(b0 + c, k);
            acc.c0 = add_up(acc.c0, block0(b), a);
            acc.c1 = add_up(acc.c1, block1(b), a);
            acc.c2 = add_up(acc.c2, block2(b), a);
            acc.c3 = add_up(acc.c3, block3(b), a);
            if WIDE {
                let b = piece(b0 + d, k);
                acc.d0 = add_up(acc.d0, block0(b), a);
                acc.d1 = add_up(acc.d1, block1(b), a);
                acc.d2 = add_up(acc.d2, block2(b), a);
                acc.d3 = add_up(acc.d3, block3(b), a);
            }
        }
        segment = after(segment, segment_extents());
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
    let i = t % tiles.x * 32 + lane * 4;
    let tile = Tile(pieces / params.splits, pieces % params.splits, i, rest % tiles.y * columns);
    if tile.batch >= params.batches { return; }
    let acc = sum_tile(tile, lane);
    put_rows(tile, i, tile.j, acc.c0);
    put_rows(tile, i, tile.j + 4, acc.c1);
    put_rows(tile, i, tile.j + 8, acc.c2);
    put_rows(tile, i, tile.j + 12, acc.c3);
    if WIDE {
        put_rows(tile, i, tile.j + 16, acc.d0);
        put_rows(tile, i, tile.j + 20, acc.d1);
        put_rows(tile, i, tile.j + 24, acc.d2);
        put_rows(tile, i, tile.j + 28, acc.d3);
    }
}

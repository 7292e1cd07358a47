// Winograd transform of weights [items, 3, 3, rows, columns]: the components of 3 × 3 kernels. With MIRROR the weights are
// [items, 3, 3, columns, rows], and mirrored: those of the convolution that an input gradient is.

#import winograd_kernels
#import winograd_components

override MIRROR: bool = false;

@group(0) @binding(1) var<storage, read> w: array<f32>;

fn load(spot: Spot, tap: u32) -> vec4f {
    let columns = 4 * params.vec4s;
    if MIRROR {
        let at = ((spot.item * 9 + 8 - tap) * columns + 4 * spot.four) * params.rows + spot.row;
        return vec4f(w[at], w[at + params.rows], w[at + 2 * params.rows], w[at + 3 * params.rows]);
    }
    let at = ((spot.item * 9 + tap) * params.rows + spot.row) * columns + 4 * spot.four;
    return vec4f(w[at], w[at + 1], w[at + 2], w[at + 3]);
}

struct Columns { c0: Six, c1: Six, c2: Six }

fn row_of(c: Columns, r: u32) -> Six {
    return of_kernel(Three(six_at(c.c0, r), six_at(c.c1, r), six_at(c.c2, r)));
}

fn column(spot: Spot, tap: u32) -> Six {
    return of_kernel(Three(load(spot, tap), load(spot, tap + 3), load(spot, tap + 6)));
}

fn compute(spot: Spot) {
    let first = params.begin + spot.row * params.row_step + spot.item * params.member_step + spot.four;
    put(Columns(column(spot, 0), column(spot, 1), column(spot, 2)), first);
}

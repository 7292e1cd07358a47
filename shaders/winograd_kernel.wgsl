// Components of 3 × 3 kernels, of weights [members, 3, 3, rows, columns]. With MIRROR the weights are [members, 3, 3, columns,
// rows], and mirrored: those of the convolution that an input gradient is.

#import winograd_kernels

override MIRROR: bool = false;

@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read_write> u: array<vec4f>;

fn load(spot: Spot, tap: u32) -> vec4f {
    let columns = 4 * params.fours;
    if MIRROR {
        let at = ((spot.member * 9 + 8 - tap) * columns + 4 * spot.four) * params.rows + spot.row;
        return vec4f(w[at], w[at + params.rows], w[at + 2 * params.rows], w[at + 3 * params.rows]);
    }
    let at = ((spot.member * 9 + tap) * params.rows + spot.row) * columns + 4 * spot.four;
    return vec4f(w[at], w[at + 1], w[at + 2], w[at + 3]);
}

fn put(at: u32, x: Three) {
    let row = of_kernel(x);
    u[at] = row.a0;
    u[at + params.part_step] = row.a1;
    u[at + 2 * params.part_step] = row.a2;
    u[at + 3 * params.part_step] = row.a3;
    u[at + 4 * params.part_step] = row.a4;
    u[at + 5 * params.part_step] = row.a5;
}

fn make(spot: Spot) {
    let c0 = of_kernel(Three(load(spot, 0), load(spot, 3), load(spot, 6)));
    let c1 = of_kernel(Three(load(spot, 1), load(spot, 4), load(spot, 7)));
    let c2 = of_kernel(Three(load(spot, 2), load(spot, 5), load(spot, 8)));
    let at = params.begin + spot.row * params.row_step + spot.member * params.member_step + spot.four;
    let row = 6 * params.part_step;
    put(at, Three(c0.a0, c1.a0, c2.a0));
    put(at + row, Three(c0.a1, c1.a1, c2.a1));
    put(at + 2 * row, Three(c0.a2, c1.a2, c2.a2));
    put(at + 3 * row, Three(c0.a3, c1.a3, c2.a3));
    put(at + 4 * row, Three(c0.a4, c1.a4, c2.a4));
    put(at + 5 * row, Three(c0.a5, c1.a5, c2.a5));
}

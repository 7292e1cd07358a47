// Gradients [members, 3, 3, rows, columns] of kernels, of sums of products, of one or two terms.

#import winograd_kernels

override TERMS: u32 = 1;

@group(0) @binding(1) var<storage, read> s: array<vec4f>;
@group(0) @binding(2) var<storage, read> other: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> dw: array<vec4f>;

fn load(at: vec2u, part: u32) -> vec4f {
    let own = s[at.x + part * params.part_step];
    if TERMS == 1 { return own; }
    return own + other[at.y + part * params.part_step];
}

fn column(at: vec2u, j: u32) -> Three {
    return of_taps(Six(load(at, j), load(at, j + 6), load(at, j + 12),
                       load(at, j + 18), load(at, j + 24), load(at, j + 30)));
}

fn put(spot: Spot, row: u32, x: Six) {
    let taps = of_taps(x);
    let step = params.rows * params.fours;
    let at = (spot.member * 9 + 3 * row) * step + spot.row * params.fours + spot.four;
    dw[at] = taps.a0;
    dw[at + step] = taps.a1;
    dw[at + 2 * step] = taps.a2;
}

fn make(spot: Spot) {
    let at = vec2u(params.begin + spot.four) + spot.row * vec2u(params.row_step, params.other_row_step)
        + spot.member * vec2u(params.member_step, params.other_member_step);
    let c0 = column(at, 0);
    let c1 = column(at, 1);
    let c2 = column(at, 2);
    let c3 = column(at, 3);
    let c4 = column(at, 4);
    let c5 = column(at, 5);
    put(spot, 0, Six(c0.a0, c1.a0, c2.a0, c3.a0, c4.a0, c5.a0));
    put(spot, 1, Six(c0.a1, c1.a1, c2.a1, c3.a1, c4.a1, c5.a1));
    put(spot, 2, Six(c0.a2, c1.a2, c2.a2, c3.a2, c4.a2, c5.a2));
}

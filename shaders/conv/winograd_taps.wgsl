// Winograd transform back, from sums of products of one or two terms to gradients [items, 3, 3, rows, columns] of kernels.

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

fn compute(spot: Spot) {
    let at = vec2u(params.begin + spot.four) + spot.row * vec2u(params.row_step, params.other_row_step)
        + spot.item * vec2u(params.member_step, params.other_member_step);
    let c0 = column(at, 0);
    let c1 = column(at, 1);
    let c2 = column(at, 2);
    let c3 = column(at, 3);
    let c4 = column(at, 4);
    let c5 = column(at, 5);
    let step = params.rows * params.vec4s;
    let first = spot.item * 9 * step + spot.row * params.vec4s + spot.four;
    let end = first + 9 * step;
    var r = 0u;
    // As in winograd_components.
    for (var to = first; to < end; to += 3 * step) {
        let taps = of_taps(Six(three_at(c0, r), three_at(c1, r), three_at(c2, r),
                               three_at(c3, r), three_at(c4, r), three_at(c5, r)));
        dw[to] = taps.a0;
        dw[to + step] = taps.a1;
        dw[to + 2 * step] = taps.a2;
        r++;
    }
}

// Winograd transform back, from sums of products to results [items, n, height, width, channels] (+ bias) (+ residual)
// (then 0 where mask ≤ 0, or where they are negative); the residual has the items of the results, the mask is one for all.

#import winograd_tiles
#import nan

override BIAS: bool = false;
override RESIDUAL: bool = false;
override MASK: bool = false;
override RELU: bool = false;

@group(0) @binding(1) var<storage, read> m: array<vec4f>;
@group(0) @binding(2) var<storage, read> bias: array<vec4f>;
@group(0) @binding(3) var<storage, read> residual: array<vec4f>;
@group(0) @binding(4) var<storage, read> mask: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4f>;

fn load(tile: Tile, part: u32) -> vec4f { return m[tile.component + part * params.part_step]; }

fn column(tile: Tile, j: u32) -> Four {
    return of_results(Six(load(tile, j), load(tile, j + 6), load(tile, j + 12),
                          load(tile, j + 18), load(tile, j + 24), load(tile, j + 30)));
}

fn put(tile: Tile, row: u32, j: u32, v: vec4f) {
    let column = column_at(tile.x + j);
    if !column.inside { return; }
    let at = tile.image + row + column.at;
    var sum = v;
    if RESIDUAL { sum += residual[at]; }
    if MASK { sum = gate_4(mask[tile.own + row + column.at], sum); }
    if RELU { sum = relu_4(sum); }
    y[at] = sum;
}

fn compute(tile: Tile) {
    let c0 = column(tile, 0);
    let c1 = column(tile, 1);
    let c2 = column(tile, 2);
    let c3 = column(tile, 3);
    let c4 = column(tile, 4);
    let c5 = column(tile, 5);
    var shift = vec4f();
    if BIAS { shift = bias[tile.own % params.vec4s]; }
    let rows = min(params.height - tile.y, 4u);
    for (var r = 0u; r < rows; r++) {
        let row = row_at(tile.y + r).at;
        let v = of_results(Six(four_at(c0, r), four_at(c1, r), four_at(c2, r),
                               four_at(c3, r), four_at(c4, r), four_at(c5, r)));
        put(tile, row, 0, v.a0 + shift);
        put(tile, row, 1, v.a1 + shift);
        put(tile, row, 2, v.a2 + shift);
        put(tile, row, 3, v.a3 + shift);
    }
}

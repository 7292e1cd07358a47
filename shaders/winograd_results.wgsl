// Results [members, n, height, width, channels] (+ bias) (+ residual) (then 0 where gate ≤ 0, or where they are negative) of
// sums of products; the residual has the members of the results, the gate is one for all.

#import winograd_tiles

override BIAS: bool = false;
override RESIDUAL: bool = false;
override GATE: bool = false;
override RELU: bool = false;

@group(0) @binding(1) var<storage, read> m: array<vec4f>;
@group(0) @binding(2) var<storage, read> bias: array<vec4f>;
@group(0) @binding(3) var<storage, read> residual: array<vec4f>;
@group(0) @binding(4) var<storage, read> gate: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4f>;

fn load(at: u32, part: u32) -> vec4f { return m[at + part * params.part_step]; }

fn column(at: u32, j: u32) -> Four {
    return of_results(Six(load(at, j), load(at, j + 6), load(at, j + 12),
                          load(at, j + 18), load(at, j + 24), load(at, j + 30)));
}

fn put_at(tile: Tile, row: u32, column: u32, v: vec4f) {
    let iy = tile.y + row;
    let ix = tile.x + column;
    if iy >= params.height || ix >= params.width { return; }
    let at = pixel(tile, iy, ix);
    var sum = v;
    if RESIDUAL { sum += residual[at]; }
    if GATE {
        let images = params.all_tiles / (params.down * params.across);
        let member = images * params.height * params.width * params.fours;
        sum = select(vec4f(), sum, gate[at - tile.member * member] > vec4f());
    }
    if RELU { sum = select(sum, vec4f(), sum < vec4f()); }
    y[at] = sum;
}

fn put(tile: Tile, row: u32, x: Six) {
    let v = of_results(x);
    var shift = vec4f();
    if BIAS { shift = bias[tile.channel]; }
    put_at(tile, row, 0, v.a0 + shift);
    put_at(tile, row, 1, v.a1 + shift);
    put_at(tile, row, 2, v.a2 + shift);
    put_at(tile, row, 3, v.a3 + shift);
}

fn make(tile: Tile) {
    let at = params.begin + tile.number * params.tile_step + tile.member * params.member_step + tile.channel;
    let c0 = column(at, 0);
    let c1 = column(at, 1);
    let c2 = column(at, 2);
    let c3 = column(at, 3);
    let c4 = column(at, 4);
    let c5 = column(at, 5);
    put(tile, 0, Six(c0.a0, c1.a0, c2.a0, c3.a0, c4.a0, c5.a0));
    put(tile, 1, Six(c0.a1, c1.a1, c2.a1, c3.a1, c4.a1, c5.a1));
    put(tile, 2, Six(c0.a2, c1.a2, c2.a2, c3.a2, c4.a2, c5.a2));
    put(tile, 3, Six(c0.a3, c1.a3, c2.a3, c3.a3, c4.a3, c5.a3));
}

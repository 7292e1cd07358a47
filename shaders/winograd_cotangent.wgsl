// Components of tiles of 4 × 4 pixels, of cotangents [members, n, height, width, channels].

#import winograd_tiles

@group(0) @binding(1) var<storage, read> ct: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> t: array<vec4f>;

fn load(tile: Tile, row: u32, column: u32) -> vec4f {
    let iy = tile.y + row;
    let ix = tile.x + column;
    let inside = iy < params.height && ix < params.width;
    return select(vec4f(), ct[pixel(tile, select(0u, iy, inside), select(0u, ix, inside))], inside);
}

fn column(tile: Tile, j: u32) -> Six {
    return of_cotangent(Four(load(tile, 0, j), load(tile, 1, j), load(tile, 2, j), load(tile, 3, j)));
}

fn put(at: u32, y: Four) {
    let row = of_cotangent(y);
    t[at] = row.a0;
    t[at + params.part_step] = row.a1;
    t[at + 2 * params.part_step] = row.a2;
    t[at + 3 * params.part_step] = row.a3;
    t[at + 4 * params.part_step] = row.a4;
    t[at + 5 * params.part_step] = row.a5;
}

fn make(tile: Tile) {
    let c0 = column(tile, 0);
    let c1 = column(tile, 1);
    let c2 = column(tile, 2);
    let c3 = column(tile, 3);
    let at = params.begin + tile.number * params.tile_step + tile.member * params.member_step + tile.channel;
    let row = 6 * params.part_step;
    put(at, Four(c0.a0, c1.a0, c2.a0, c3.a0));
    put(at + row, Four(c0.a1, c1.a1, c2.a1, c3.a1));
    put(at + 2 * row, Four(c0.a2, c1.a2, c2.a2, c3.a2));
    put(at + 3 * row, Four(c0.a3, c1.a3, c2.a3, c3.a3));
    put(at + 4 * row, Four(c0.a4, c1.a4, c2.a4, c3.a4));
    put(at + 5 * row, Four(c0.a5, c1.a5, c2.a5, c3.a5));
}

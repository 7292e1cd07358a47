// Components of tiles of 6 × 6 pixels, of images [members, n, height, width, channels].

#import winograd_tiles

@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> v: array<vec4f>;

// Outside the image these wrap to large numbers, which the comparison refuses too.
fn load(tile: Tile, row: u32, column: u32) -> vec4f {
    let iy = tile.y + row - params.pad_y;
    let ix = tile.x + column - params.pad_x;
    let inside = iy < params.height && ix < params.width;
    return select(vec4f(), x[pixel(tile, select(0u, iy, inside), select(0u, ix, inside))], inside);
}

fn column(tile: Tile, j: u32) -> Six {
    return of_image(Six(load(tile, 0, j), load(tile, 1, j), load(tile, 2, j),
                        load(tile, 3, j), load(tile, 4, j), load(tile, 5, j)));
}

fn put(at: u32, x: Six) {
    let row = of_image(x);
    v[at] = row.a0;
    v[at + params.part_step] = row.a1;
    v[at + 2 * params.part_step] = row.a2;
    v[at + 3 * params.part_step] = row.a3;
    v[at + 4 * params.part_step] = row.a4;
    v[at + 5 * params.part_step] = row.a5;
}

fn make(tile: Tile) {
    let c0 = column(tile, 0);
    let c1 = column(tile, 1);
    let c2 = column(tile, 2);
    let c3 = column(tile, 3);
    let c4 = column(tile, 4);
    let c5 = column(tile, 5);
    let at = params.begin + tile.number * params.tile_step + tile.member * params.member_step + tile.channel;
    let row = 6 * params.part_step;
    put(at, Six(c0.a0, c1.a0, c2.a0, c3.a0, c4.a0, c5.a0));
    put(at + row, Six(c0.a1, c1.a1, c2.a1, c3.a1, c4.a1, c5.a1));
    put(at + 2 * row, Six(c0.a2, c1.a2, c2.a2, c3.a2, c4.a2, c5.a2));
    put(at + 3 * row, Six(c0.a3, c1.a3, c2.a3, c3.a3, c4.a3, c5.a3));
    put(at + 4 * row, Six(c0.a4, c1.a4, c2.a4, c3.a4, c4.a4, c5.a4));
    put(at + 5 * row, Six(c0.a5, c1.a5, c2.a5, c3.a5, c4.a5, c5.a5));
}

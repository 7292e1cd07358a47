// Winograd transform of cotangents [items, n, height, width, channels]: the components of tiles of 4 × 4 pixels.

#import winograd_tiles
#import winograd_components

@group(0) @binding(1) var<storage, read> ct: array<vec4f>;

fn load(tile: Tile, row: u32, column: Line) -> vec4f {
    let line = row_at(tile.y + row);
    let inside = line.inside & column.inside;
    return select(vec4f(), ct[tile.image + select(0, line.at + column.at, inside)], inside);
}

fn column(tile: Tile, j: u32) -> Six {
    let column = column_at(tile.x + j);
    return of_cotangent(Four(load(tile, 0, column), load(tile, 1, column), load(tile, 2, column), load(tile, 3, column)));
}

struct Columns { c0: Six, c1: Six, c2: Six, c3: Six }

fn row_of(c: Columns, r: u32) -> Six {
    return of_cotangent(Four(six_at(c.c0, r), six_at(c.c1, r), six_at(c.c2, r), six_at(c.c3, r)));
}

fn compute(tile: Tile) {
    put(Columns(column(tile, 0), column(tile, 1), column(tile, 2), column(tile, 3)), tile.component);
}

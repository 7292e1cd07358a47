// Winograd transform of images [items, n, height, width, channels]: the components of tiles of 6 × 6 pixels.

#import winograd_tiles
#import winograd_components

@group(0) @binding(1) var<storage, read> x: array<vec4f>;

struct Rows { l0: Line, l1: Line, l2: Line, l3: Line, l4: Line, l5: Line }

fn load(tile: Tile, row: Line, column: Line) -> vec4f {
    let inside = row.inside & column.inside;
    return select(vec4f(), x[tile.image + select(0, row.at + column.at, inside)], inside);
}

fn column(tile: Tile, rows: Rows, j: u32) -> Six {
    let column = column_at(tile.x + j - params.pad_x);
    return of_image(Six(load(tile, rows.l0, column), load(tile, rows.l1, column), load(tile, rows.l2, column),
                        load(tile, rows.l3, column), load(tile, rows.l4, column), load(tile, rows.l5, column)));
}

struct Columns { c0: Six, c1: Six, c2: Six, c3: Six, c4: Six, c5: Six }

fn row_of(c: Columns, r: u32) -> Six {
    return of_image(Six(six_at(c.c0, r), six_at(c.c1, r), six_at(c.c2, r),
                        six_at(c.c3, r), six_at(c.c4, r), six_at(c.c5, r)));
}

fn compute(tile: Tile) {
    let y = tile.y - params.pad_y;
    let rows = Rows(row_at(y), row_at(y + 1), row_at(y + 2), row_at(y + 3), row_at(y + 4), row_at(y + 5));
    put(Columns(column(tile, rows, 0), column(tile, rows, 1), column(tile, rows, 2),
                column(tile, rows, 3), column(tile, rows, 4), column(tile, rows, 5)), tile.component);
}

// The tile of y that a workgroup computes, of a batch, from a piece of the summed axis.

#import index

struct Tile { batch: u32, split: u32, i: u32, j: u32, begin: u32, end: u32 }

// Tile number t of those of this height and width.
fn tile_at(t: u32, height: u32, width: u32) -> Tile {
    let tiles = vec2u((params.m + height - 1) / height, (params.n + width - 1) / width);
    let rest = t / tiles.y;
    let pieces = rest / tiles.x;
    let split = pieces % params.splits;
    let begin = split * params.k_chunk;
    let end = min(begin + params.k_chunk, params.k);
    return Tile(pieces / params.splits, split, rest % tiles.x * height, t % tiles.y * width, begin, end);
}

// Stores four neighbours of a row, as far as they are there.
fn put_row(tile: Tile, i: u32, j: u32, v: vec4f) {
    if i >= params.m { return; }
    if j < params.n { store(tile.batch, tile.split, i, j, v.x); }
    if j + 1 < params.n { store(tile.batch, tile.split, i, j + 1, v.y); }
    if j + 2 < params.n { store(tile.batch, tile.split, i, j + 2, v.z); }
    if j + 3 < params.n { store(tile.batch, tile.split, i, j + 3, v.w); }
}

// Stores four rows of four.
fn put_block(tile: Tile, i: u32, j: u32, v: mat4x4f) {
    put_row(tile, i, j, v[0]);
    put_row(tile, i + 1, j, v[1]);
    put_row(tile, i + 2, j, v[2]);
    put_row(tile, i + 3, j, v[3]);
}

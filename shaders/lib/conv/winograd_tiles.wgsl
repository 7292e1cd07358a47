// What the kernels of Winograd convolutions share that go through an image's tiles: an invocation has a tile of an item of
// a stack, and four of its channels. Components begin at begin and lie part_step apart; both are in vec4s, as are steps. The
// kernel defines compute(tile).

#import index
#import winograd

override LANES: u32 = 64;

struct Params {
    // The first tile of each item and how many; how many images an item has, and tiles an image.
    first: u32, tiles: u32, images: u32, down: u32, across: u32, items: u32,
    // vec4s of channels, and the image's extents.
    vec4s: u32, height: u32, width: u32, pad_y: u32, pad_x: u32,
    begin: u32, part_step: u32, tile_step: u32, member_step: u32,
    // Whether items of a tile lie together, or else tiles of an item: neighbours take what lies together.
    inside: u32,
}

@group(0) @binding(0) var<uniform> params: Params;

// Where its image begins, of all items and of one, and its first component; the pixel in the corner.
struct Tile { image: u32, own: u32, component: u32, y: u32, x: u32 }

// A row or a column of an image: where it begins, and whether it is there.
struct Line { at: u32, inside: bool }

// Numbers outside the image, also those that wrap, are refused by one comparison.
fn row_at(y: u32) -> Line { return Line(y * params.width * params.vec4s, y < params.height); }
fn column_at(x: u32) -> Line { return Line(x * params.vec4s, x < params.width); }

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(group, groups) * LANES + lane;
    let of_all = i / params.vec4s;
    let four = i - of_all * params.vec4s;
    let inside = params.inside == 1;
    let inner = select(params.tiles, params.items, inside);
    let outer = of_all / inner;
    let number = select(of_all - outer * inner, outer, inside);
    let item = select(outer, of_all - outer * inner, inside);
    if number >= params.tiles || item >= params.items { return; }
    let each = params.down * params.across;
    let image = (params.first + number) / each;
    let within = params.first + number - image * each;
    let down = within / params.across;
    let across = within - down * params.across;
    let len = params.height * params.width * params.vec4s;
    let own = image * len + four;
    let component = params.begin + number * params.tile_step + item * params.member_step + four;
    compute(Tile(item * params.images * len + own, own, component, 4 * down, 4 * across));
}

// What the kernels of Winograd convolutions share that go through an image's tiles: an invocation has a tile of a member of
// a stack, and four of its channels. Components begin at begin and lie part_step apart; both are in fours, as are steps. The
// kernel defines make(tile).

#import index
#import winograd

override LANES: u32 = 64;
// Whether members of a tile lie together, or tiles of a member: neighbours take what lies together.
override INSIDE: bool = false;

struct Params {
    // The first tile of each member and how many; how many a member has, and an image.
    first: u32, tiles: u32, all_tiles: u32, down: u32, across: u32, members: u32,
    // Fours of channels, and the image's extents.
    fours: u32, height: u32, width: u32, pad_y: u32, pad_x: u32,
    begin: u32, part_step: u32, tile_step: u32, member_step: u32,
}

@group(0) @binding(0) var<uniform> params: Params;

// Of an image: of all members, the pixel in the corner, four channels. Numbers of the tile, from the first on, and of the
// member.
struct Tile { image: u32, y: u32, x: u32, channel: u32, number: u32, member: u32 }

// Where a pixel's channels are.
fn pixel(tile: Tile, y: u32, x: u32) -> u32 {
    return ((tile.image * params.height + y) * params.width + x) * params.fours + tile.channel;
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(group, groups) * LANES + lane;
    let of_all = i / params.fours;
    let inner = select(params.tiles, params.members, INSIDE);
    let outer = of_all / inner;
    let number = select(of_all - outer * inner, outer, INSIDE);
    let member = select(outer, of_all - outer * inner, INSIDE);
    if number >= params.tiles || member >= params.members { return; }
    let at = member * params.all_tiles + params.first + number;
    let each = params.down * params.across;
    let within = at % each;
    make(Tile(at / each, within / params.across * 4, within % params.across * 4, i % params.fours, number, member));
}

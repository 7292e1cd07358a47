// What the kernels of Winograd convolutions share that go through a convolution's weights: an invocation has a row of a
// member of a stack, and four columns. Components begin at begin and lie part_step apart; both are in fours, as are steps. The
// kernel defines make(spot).

#import index
#import winograd

override LANES: u32 = 64;

struct Params {
    rows: u32, fours: u32, members: u32,
    begin: u32, part_step: u32, row_step: u32, member_step: u32, other_row_step: u32, other_member_step: u32,
}

@group(0) @binding(0) var<uniform> params: Params;

struct Spot { row: u32, four: u32, member: u32 }

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(group, groups) * LANES + lane;
    let of_all = i / params.fours;
    let member = of_all / params.rows;
    if member < params.members { make(Spot(of_all % params.rows, i % params.fours, member)); }
}

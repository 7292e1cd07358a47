// What the kernels of Winograd convolutions share that go through a convolution's weights: an invocation has a row of a
// item of a stack, and four columns. Components begin at begin and lie part_step apart; both are in vec4s, as are steps. The
// kernel defines compute(spot).

#import index
#import winograd

override LANES: u32 = 64;

struct Params {
    rows: u32, vec4s: u32, items: u32,
    begin: u32, part_step: u32, row_step: u32, member_step: u32, other_row_step: u32, other_member_step: u32,
}

@group(0) @binding(0) var<uniform> params: Params;

struct Spot { row: u32, four: u32, item: u32 }

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(group, groups) * LANES + lane;
    let of_all = i / params.vec4s;
    let item = of_all / params.rows;
    if item < params.items { compute(Spot(of_all % params.rows, i % params.vec4s, item)); }
}

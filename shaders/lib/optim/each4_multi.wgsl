// The loop over seven arrays of params.len0 … params.len6 elements, four to an invocation, each in workgroups of its
// own; the kernel defines params and compute, which computes elements 4 i to 4 i + 3 of an array. Buffers end at
// multiples of four elements.

#import index

override LANES: u32 = 64;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    var lens = array(params.len0, params.len1, params.len2, params.len3, params.len4, params.len5, params.len6);
    var at = flat_group(group, groups);
    for (var which = 0u; which < 7; which++) {
        let own = (lens[which] + 4 * LANES - 1) / (4 * LANES);
        if at < own {
            let i = at * LANES + lane;
            if 4 * i < lens[which] { compute(which, i); }
            return;
        }
        at -= own;
    }
}

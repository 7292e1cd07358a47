// The loop over params.len elements, four to an invocation; the kernel defines params and compute, which computes elements
// 4 i to 4 i + 3. Buffers end at multiples of four elements, so that the last ones need no care.

#import index

override LANES: u32 = 64;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(group, groups) * LANES + lane;
    if 4 * i < params.len { compute(i); }
}

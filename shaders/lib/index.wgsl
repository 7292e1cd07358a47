// The number of a workgroup in a grid folded into two dimensions.
fn flat_group(group: vec3u, groups: vec3u) -> u32 {
    return group.y * groups.x + group.x;
}

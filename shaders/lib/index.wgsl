// The number of a workgroup in a grid folded into two dimensions.
fn flat_group(group: vec3u, groups: vec3u) -> u32 {
    return group.y * groups.x + group.x;
}

// The offset of what is not there: of padding, of pixels that no window meets.
const OUTSIDE: u32 = 0xffffffff;

// A number as three coordinates, of which the inner two have these extents.
fn unfold(i: u32, extents: vec2u) -> vec3u {
    let rest = i / extents.y;
    return vec3u(rest / extents.x, rest % extents.x, i - rest * extents.y);
}

// The coordinates after these.
fn after(at: vec3u, extents: vec2u) -> vec3u {
    let z = at.z + 1;
    let y = at.y + u32(z == extents.y);
    return vec3u(at.x + u32(y == extents.x), select(y, 0u, y == extents.x), select(z, 0u, z == extents.y));
}

// The left factor of a matrix product for software adapters with subgroups whose summed axis is a list of segments of one
// element, gone through four at a time. Four rows are loaded at once (A_VEC4S is 2), and those of four segments together.

#import four_rows

fn run() -> u32 { return 4; }
fn segment_at(k: u32) -> vec3u { return unfold(k, segment_extents()); }

fn segment_after(segment: vec3u) -> vec3u {
    let extents = segment_extents();
    return after(after(after(after(segment, extents), extents), extents), extents);
}

// Where the first of the four rows is at four k.
fn place_rows(batch: u32, rows: Rows, segment: vec3u) -> Fours {
    let s1 = after(segment, segment_extents());
    let s2 = after(s1, segment_extents());
    let at = vec4u(place_a(batch, rows.c0, segment), place_a(batch, rows.c0, s1),
                   place_a(batch, rows.c0, s2), place_a(batch, rows.c0, after(s2, segment_extents())));
    let outside = at == vec4u(OUTSIDE);
    return Fours(select(at, vec4u(), outside), outside);
}

fn a_block(places: Fours, k: u32) -> mat4x4f {
    return transpose(mat4x4f(select(load_a4(places.at.x), vec4f(), places.outside.x),
                             select(load_a4(places.at.y), vec4f(), places.outside.y),
                             select(load_a4(places.at.z), vec4f(), places.outside.z),
                             select(load_a4(places.at.w), vec4f(), places.outside.w)));
}

// The left factor of a matrix product for software adapters whose summed axis is a list of segments, run() elements each,
// along which it has a constant stride.

#import four_rows

fn segment_at(k: u32) -> vec3u { return unfold(k / run(), segment_extents()); }
fn segment_after(segment: vec3u) -> vec3u { return after(segment, segment_extents()); }

fn place_rows(batch: u32, rows: Rows, segment: vec3u) -> Fours {
    var at: vec4u;
    if A_VEC4S == 2 {
        at = vec4u(place_a(batch, rows.c0, segment));
    } else {
        at = vec4u(place_a(batch, rows.c0, segment), place_a(batch, rows.c1, segment),
                   place_a(batch, rows.c2, segment), place_a(batch, rows.c3, segment));
    }
    let outside = at == vec4u(OUTSIDE);
    return Fours(select(at, vec4u(), outside), outside);
}

// a of four rows at one k.
fn a_column(rows: Fours, k: u32) -> vec4f {
    let at = rows.at + vec4u(k * a_k());
    if A_VEC4S == 2 { return select(load_a4(at.x), vec4f(), rows.outside); }
    let v = vec4f(load_a(at.x), load_a(at.y), load_a(at.z), load_a(at.w));
    return select(v, vec4f(), rows.outside);
}

// a of four rows, each at four k.
fn a_block(rows: Fours, k: u32) -> mat4x4f {
    if A_VEC4S == 1 {
        return mat4x4f(select(load_a4(rows.at.x + k), vec4f(), rows.outside.x),
                       select(load_a4(rows.at.y + k), vec4f(), rows.outside.y),
                       select(load_a4(rows.at.z + k), vec4f(), rows.outside.z),
                       select(load_a4(rows.at.w + k), vec4f(), rows.outside.w));
    }
    return transpose(mat4x4f(a_column(rows, k), a_column(rows, k + 1),
                             a_column(rows, k + 2), a_column(rows, k + 3)));
}

// y is uniform in [0, 1): multiples of 2^-24.

#import draws

fn draw(w: vec4u) -> vec4f {
    return vec4f(unit(w.x), unit(w.y), unit(w.z), unit(w.w));
}

// y = 1 with probability p, else 0.

#import draws

fn draw(w: vec4u) -> vec4f {
    return select(vec4f(), vec4f(1.0), vec4f(unit(w.x), unit(w.y), unit(w.z), unit(w.w)) < vec4f(params.p));
}

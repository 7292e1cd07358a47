// y = log Σ eˣ over the middle axis, relative to the largest x.

#import reduce
#import math

// The largest x and Σ e^(x - largest).
alias Acc = vec2f;
alias Out = f32;

fn identity() -> Acc { return vec2f(minus_infinity(), 0.0); }
fn lift(x: f32, i: u32) -> Acc { return vec2f(x, 1.0); }

fn combine(a: Acc, b: Acc) -> Acc {
    let more = b.x > a.x;
    // Equal infinities have no difference.
    let e = exp_f32(select(select(a.x - b.x, b.x - a.x, b.x < a.x), 0.0, a.x == b.x));
    return select(vec2f(a.x, a.y + b.y * e), vec2f(b.x, b.y + a.y * e), more);
}

fn finish(a: Acc) -> Out { return a.x + log_f32(a.y); }

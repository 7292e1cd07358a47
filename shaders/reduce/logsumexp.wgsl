// y = log Σ eˣ over the middle axis, relative to the largest x.

#import reduce
#import math

// The largest x and Σ e^(x - largest).
alias Acc = vec2f;
alias Out = f32;

fn identity() -> Acc { return vec2f(-3.4028235e38, 0.0); }
fn lift(x: f32, i: u32) -> Acc { return vec2f(x, 1.0); }

fn combine(a: Acc, b: Acc) -> Acc {
    let m = max(a.x, b.x);
    return vec2f(m, a.y * exp_f32(a.x - m) + b.y * exp_f32(b.x - m));
}

fn finish(a: Acc) -> Out { return a.x + log_f32(a.y); }

// y = max x over the middle axis; NaN where there is one.

#import reduce
#import nan

alias Acc = f32;
alias Out = f32;

fn identity() -> Acc { return minus_infinity(); }
fn lift(x: f32, i: u32) -> Acc { return x; }
fn combine(a: Acc, b: Acc) -> Acc { return max_f32(a, b); }
fn finish(a: Acc) -> Out { return a; }

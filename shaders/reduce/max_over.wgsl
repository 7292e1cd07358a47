// y = max x over the middle axis.

#import reduce

alias Acc = f32;
alias Out = f32;

fn identity() -> Acc { return -3.4028235e38; }
fn lift(x: f32, i: u32) -> Acc { return x; }
fn combine(a: Acc, b: Acc) -> Acc { return max(a, b); }
fn finish(a: Acc) -> Out { return a; }

// y = the first index of the largest x over the middle axis.

#import reduce

struct Acc { x: f32, i: u32 }
alias Out = u32;

fn identity() -> Acc { return Acc(-3.4028235e38, 0xffffffffu); }
fn lift(x: f32, i: u32) -> Acc { return Acc(x, i); }

fn combine(a: Acc, b: Acc) -> Acc {
    if b.x > a.x || (b.x == a.x && b.i < a.i) { return b; }
    return a;
}

fn finish(a: Acc) -> Out { return a.i; }

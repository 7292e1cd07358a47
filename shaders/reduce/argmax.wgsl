// y = the first index of the largest x over the middle axis, or of the first NaN.

#import reduce
#import order

struct Acc { order: u32, i: u32 }
alias Out = u32;

fn identity() -> Acc { return Acc(0, 0xffffffffu); }
fn lift(x: f32, i: u32) -> Acc { return Acc(order_of(x), i); }

fn combine(a: Acc, b: Acc) -> Acc {
    if b.order > a.order || (b.order == a.order && b.i < a.i) { return b; }
    return a;
}

fn finish(a: Acc) -> Out { return a.i; }

// The loop of a pointwise kernel on arrays [rows, channels]: an invocation makes four neighbours in each of DOWN rows,
// where DOWN is 1 unless channels come in fours. The kernel defines its bindings, Own (what elements of four channels
// share), own(c), and f(i, own), which makes elements 4 i to 4 i + 3.

#import each4

override DOWN: u32 = 1;

struct Params { len: u32, channels: u32, rows: f32 }

@group(0) @binding(0) var<uniform> params: Params;

fn make(i: u32) {
    if DOWN == 1 {
        f(i, own((vec4u(4 * i) + vec4u(0, 1, 2, 3)) % params.channels));
        return;
    }
    let fours = params.channels / 4;
    let block = i / fours;
    let column = i - block * fours;
    let shared_by_rows = own(4 * vec4u(column) + vec4u(0, 1, 2, 3));
    var at = block * DOWN * fours + column;
    let end = min(at + DOWN * fours, params.len / 4);
    for (; at < end; at += fours) { f(at, shared_by_rows); }
}

// Mean and sum of squared deviations of each channel over chunks of rows: y [chunks, 2, channels]. Each invocation sums
// relative to the first number that it meets, so that a large mean does not cancel.

#import channels
#import moments

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

// Before close: count, first number, Σ (x - first), Σ (x - first)². After it: count, mean, squared deviations.
alias Acc = vec4f;

fn identity() -> Acc { return vec4f(); }

alias Own = u32;

fn own(channel: u32) -> Own { return channel; }

fn add_row(a: Acc, at: u32, own: Own) -> Acc {
    let v = x[at];
    let first = select(a.y, v, a.x == 0.0);
    let d = v - first;
    return vec4f(a.x + 1.0, first, a.z + d, a.w + d * d);
}

fn close(a: Acc) -> Acc {
    let n = max(a.x, 1.0);
    return vec4f(a.x, a.y + a.z / n, max(a.w - a.z * a.z / n, 0.0), 0.0);
}

fn combine(a: Acc, b: Acc) -> Acc {
    let m = union_of(Moments(a.x, a.y, a.z), Moments(b.x, b.y, b.z));
    return vec4f(m.n, m.mean, m.m2, 0.0);
}

fn put(a: Acc, chunk: u32, channel: u32) {
    y[chunk * 2 * params.channels + channel] = a.y;
    y[(chunk * 2 + 1) * params.channels + channel] = a.z;
}

// Mean and sum of squared deviations of each channel over chunks of rows, y [chunks, 2, channels], and then for each channel the
// number that the means are relative to: one of the channel's that is no outlier among three, so that a large mean leaves the
// means their digits. A block is summed relative to the mean of the rows before it, so that nothing cancels, and blocks are
// merged in pairs.

#import channels
#import moments
#import nan

const BLOCK: u32 = 32;

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

// Before close: count, a number s near the mean, Σ (x - s), Σ (x - s)². After it: count, mean, squared deviations.
alias Acc = vec4f;

fn identity() -> Acc { return vec4f(); }

// What means are relative to: the middle one of three rows' numbers.
alias Own = f32;

fn own(channel: u32) -> Own {
    let a = x[channel];
    let b = x[params.rows / 2 * params.channels + channel];
    let c = x[(params.rows - 1) * params.channels + channel];
    return max(min(a, b), min(max(a, b), c));
}

fn begin(a: Acc, own: Own) -> Acc { return vec4f(0.0, own + a.y, 0.0, 0.0); }

fn add_row(a: Acc, at: u32, own: Own) -> Acc {
    let d = x[at] - a.y;
    return vec4f(a.x + 1.0, a.y, a.z + d, a.w + d * d);
}

fn close(a: Acc, own: Own) -> Acc {
    let d = a.z / a.x;
    return vec4f(a.x, (a.y - own) + d, relu_f32(a.w - a.z * d), 0.0);
}

fn combine(a: Acc, b: Acc) -> Acc {
    let m = union_of(Moments(a.x, a.y, a.z), Moments(b.x, b.y, b.z));
    return vec4f(m.n, m.mean, m.m2, 0.0);
}

fn put(a: Acc, chunk: u32, channel: u32) {
    y[chunk * 2 * params.channels + channel] = a.y;
    y[(chunk * 2 + 1) * params.channels + channel] = a.z;
    if chunk == 0 { y[params.chunks * 2 * params.channels + channel] = own(channel); }
}

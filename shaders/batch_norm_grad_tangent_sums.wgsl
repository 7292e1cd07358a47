// Σ g, Σ g x̂, Σ g dx, Σ dg and Σ dg x̂ of each channel over chunks of rows, g the cotangent, dx and dg stacks:
// y [5, all chunks, channels].

#import channels

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> mean: array<f32>;
@group(0) @binding(3) var<storage, read> rstd: array<f32>;
@group(0) @binding(4) var<storage, read> ct: array<f32>;
@group(0) @binding(5) var<storage, read> dx: array<f32>;
@group(0) @binding(6) var<storage, read> dct: array<f32>;
@group(0) @binding(7) var<storage, read_write> y: array<f32>;

struct Acc { g: vec3f, dg: vec2f }

fn identity() -> Acc { return Acc(); }

// Mean and rstd.
alias Own = vec2f;

fn own(channel: u32) -> Own { return vec2f(mean[channel], rstd[channel]); }

fn add_row(a: Acc, at: u32, own: Own) -> Acc {
    let normed = (x[at] - own.x) * own.y;
    return Acc(a.g + ct[at] * vec3f(1.0, normed, dx[stack_at + at]), a.dg + dct[stack_at + at] * vec2f(1.0, normed));
}

fn close(a: Acc) -> Acc { return a; }

fn combine(a: Acc, b: Acc) -> Acc { return Acc(a.g + b.g, a.dg + b.dg); }

fn put(a: Acc, chunk: u32, channel: u32) {
    let at = chunk * params.channels + channel;
    let step = all_chunks() * params.channels;
    y[at] = a.g.x;
    y[at + step] = a.g.y;
    y[at + 2 * step] = a.g.z;
    y[at + 3 * step] = a.dg.x;
    y[at + 4 * step] = a.dg.y;
}

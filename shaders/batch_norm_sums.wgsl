// Σ u and Σ u x̂ of each channel over chunks of rows, x̂ = (x - mean) rstd, u a stack: y [2, all chunks, channels].

#import channels

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> mean: array<f32>;
@group(0) @binding(3) var<storage, read> rstd: array<f32>;
@group(0) @binding(4) var<storage, read> u: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

alias Acc = vec2f;

fn identity() -> Acc { return vec2f(); }

// Mean and rstd.
alias Own = vec2f;

fn own(channel: u32) -> Own { return vec2f(mean[channel], rstd[channel]); }

fn add_row(a: Acc, at: u32, own: Own) -> Acc {
    return a + u[stack_at + at] * vec2f(1.0, (x[at] - own.x) * own.y);
}

fn close(a: Acc) -> Acc { return a; }

fn combine(a: Acc, b: Acc) -> Acc { return a + b; }

fn put(a: Acc, chunk: u32, channel: u32) {
    y[chunk * params.channels + channel] = a.x;
    y[(all_chunks() + chunk) * params.channels + channel] = a.y;
}

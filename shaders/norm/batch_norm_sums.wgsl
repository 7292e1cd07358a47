// Σ u and Σ u x̂ of each channel over chunks of rows, x̂ = (x - mean) rstd, u a stack: y [2, all chunks, channels].

#import channels

const BLOCK: u32 = 0;

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> mean: array<f32>;
@group(0) @binding(3) var<storage, read> rstd: array<f32>;
@group(0) @binding(4) var<storage, read> u: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

// Of an item, and of its partner.
alias Acc = vec4f;

fn identity() -> Acc { return vec4f(); }

// Mean and rstd.
alias Own = vec2f;

fn own(channel: u32) -> Own { return vec2f(mean[channel], rstd[channel]); }

fn add_row(a: Acc, at: u32, own: Own) -> Acc {
    let factors = vec2f(1.0, (x[at] - own.x) * own.y);
    var partner = vec2f();
    if PAIRS { partner = u[partner_at + at] * factors; }
    return a + vec4f(u[stack_at + at] * factors, partner);
}

fn begin(a: Acc, own: Own) -> Acc { return identity(); }

fn close(a: Acc, own: Own) -> Acc { return a; }

fn combine(a: Acc, b: Acc) -> Acc { return a + b; }

fn put_sums(sums: vec2f, chunk: u32, channel: u32) {
    y[chunk * params.channels + channel] = sums.x;
    y[(all_chunks() + chunk) * params.channels + channel] = sums.y;
}

fn put(a: Acc, chunk: u32, channel: u32) {
    put_sums(a.xy, chunk, channel);
    if PAIRS { put_sums(a.zw, chunk + params.chunks, channel); }
}

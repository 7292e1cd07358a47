// Σ g, Σ g x̂, Σ g dx, Σ dg and Σ dg x̂ of each channel over chunks of rows, g the cotangent, dx and dg stacks:
// y [5, all chunks, channels].

#import channels

const BLOCK: u32 = 0;

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> mean: array<f32>;
@group(0) @binding(3) var<storage, read> rstd: array<f32>;
@group(0) @binding(4) var<storage, read> ct: array<f32>;
@group(0) @binding(5) var<storage, read> dx: array<f32>;
@group(0) @binding(6) var<storage, read> dct: array<f32>;
@group(0) @binding(7) var<storage, read_write> y: array<f32>;

// Σ g and Σ g x̂; Σ g dx, Σ dg and Σ dg x̂ of an item, and of its partner.
struct Acc { g: vec2f, own: vec3f, partner: vec3f }

fn identity() -> Acc { return Acc(); }

// Mean and rstd.
alias Own = vec2f;

fn own(channel: u32) -> Own { return vec2f(mean[channel], rstd[channel]); }

fn row_of(g: f32, normed: f32, at: u32) -> vec3f { return vec3f(g * dx[at], dct[at] * vec2f(1.0, normed)); }

fn add_row(a: Acc, at: u32, own: Own) -> Acc {
    let normed = (x[at] - own.x) * own.y;
    let g = ct[at];
    var partner = a.partner;
    if PAIRS { partner += row_of(g, normed, partner_at + at); }
    return Acc(a.g + g * vec2f(1.0, normed), a.own + row_of(g, normed, stack_at + at), partner);
}

fn begin(a: Acc, own: Own) -> Acc { return identity(); }

fn close(a: Acc, own: Own) -> Acc { return a; }

fn combine(a: Acc, b: Acc) -> Acc { return Acc(a.g + b.g, a.own + b.own, a.partner + b.partner); }

fn put_sums(g: vec2f, own: vec3f, chunk: u32, channel: u32) {
    let at = chunk * params.channels + channel;
    let step = all_chunks() * params.channels;
    y[at] = g.x;
    y[at + step] = g.y;
    y[at + 2 * step] = own.x;
    y[at + 3 * step] = own.y;
    y[at + 4 * step] = own.z;
}

fn put(a: Acc, chunk: u32, channel: u32) {
    put_sums(a.g, a.own, chunk, channel);
    if PAIRS { put_sums(a.g, a.partner, chunk + params.chunks, channel); }
}

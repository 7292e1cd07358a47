// The matrix products of Winograd's components: y[i, j] = Σ a[i, k] b[k, j] for each batch, which is a component of an
// item, summed over one or two terms, which are the segments. Rows lie together; a factor may be shared by so many
// batches that follow one another.

#import factors
#import segments

struct Params {
    m: u32, n: u32, k: u32, batches: u32, splits: u32, k_chunk: u32,
    // Channels of a term, and from batch to batch of y.
    channels: u32, y_batch: u32,
    // Of each term's factors where they begin, by how many batches one is shared, and from one to the next.
    a_begin: u32, a_shared: u32, a_batch: u32, b_begin: u32, b_shared: u32, b_batch: u32,
    a2_begin: u32, a2_shared: u32, a2_batch: u32, b2_begin: u32, b2_shared: u32, b2_batch: u32,
}

@group(0) @binding(0) var<uniform> params: Params;

fn row_extents() -> vec2u { return vec2u(1, params.m); }
fn segment_extents() -> vec2u { return vec2u(1, 2); }
fn run() -> u32 { return params.channels; }
fn a_k() -> u32 { return 1; }
fn b_k() -> u32 { return params.n; }
fn b_j() -> u32 { return 1; }

fn place_a(batch: u32, row: vec3u, term: vec3u) -> u32 {
    let first = params.a_begin + batch / params.a_shared * params.a_batch;
    let second = params.a2_begin + batch / params.a2_shared * params.a2_batch;
    return select(first, second, term.z == 1) + row.z * params.channels;
}

fn place_b(batch: u32, term: vec3u) -> u32 {
    let first = params.b_begin + batch / params.b_shared * params.b_batch;
    let second = params.b2_begin + batch / params.b2_shared * params.b2_batch;
    return select(first, second, term.z == 1);
}

fn place_out(batch: u32, split: u32, i: u32) -> u32 { return batch * params.y_batch + i * params.n; }

fn begin(batch: u32, split: u32, j: vec4u) -> vec4f { return vec4f(); }

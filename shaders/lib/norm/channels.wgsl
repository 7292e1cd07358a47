// The loop of sums over the rows of arrays [rows, channels], in chunks. A workgroup makes ACROSS neighbouring channels of one
// chunk, in a fixed order. The kernel defines its bindings, BLOCK (rows of a block that is merged with others, or 0), Acc (its
// sums), identity, begin (a block, after the sums so far), close (a block), combine and put, Own and own (what a channel's rows
// share) and add_row. Of stacks each item has chunks of its own, all_chunks() of them, and begins at stack_at; a kernel that
// takes stacks takes them in pairs too.

#import index

override LANES: u32 = 256;
override ACROSS: u32 = 32;
// Whether items are taken in pairs, so that what is one for all is loaded once: the second begins at partner_at, and its
// chunks are params.chunks later.
override PAIRS: bool = false;

struct Params { rows: u32, channels: u32, chunk: u32, chunks: u32, items: u32 }

@group(0) @binding(0) var<uniform> params: Params;

var<private> stack_at: u32;
var<private> partner_at: u32;

fn all_chunks() -> u32 { return params.chunks * params.items; }

var<workgroup> by_lane: array<Acc, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let tiles = (params.channels + ACROSS - 1) / ACROSS;
    let tile = flat_group(group, groups);
    let channel = (tile % tiles) * ACROSS + lane % ACROSS;
    let piece = tile / tiles;
    let chunk = piece % params.chunks;
    let item = piece / params.chunks * select(1u, 2u, PAIRS);
    stack_at = item * params.rows * params.channels;
    partner_at = stack_at + params.rows * params.channels;
    let row = lane / ACROSS;
    let mine = channel < params.channels && item < params.items;

    var acc = identity();
    if mine {
        let shared_by_rows = own(channel);
        let end = min((chunk + 1) * params.chunk, params.rows);
        let step = LANES / ACROSS;
        let begin_row = chunk * params.chunk + row;
        if BLOCK == 0 {
            for (var r = begin_row; r < end; r += step) {
                acc = add_row(acc, r * params.channels + channel, shared_by_rows);
            }
        } else {
            for (var first = begin_row; first < end; first += BLOCK * step) {
                var part = begin(acc, shared_by_rows);
                let block_end = min(first + BLOCK * step, end);
                for (var r = first; r < block_end; r += step) {
                    part = add_row(part, r * params.channels + channel, shared_by_rows);
                }
                acc = combine(acc, close(part, shared_by_rows));
            }
        }
    }
    by_lane[lane] = acc;
    workgroupBarrier();
    for (var half = LANES / ACROSS / 2; half > 0; half /= 2) {
        if row < half { by_lane[lane] = combine(by_lane[lane], by_lane[lane + half * ACROSS]); }
        workgroupBarrier();
    }
    if mine && row == 0 { put(by_lane[lane], item * params.chunks + chunk, channel); }
}

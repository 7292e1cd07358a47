// The loop of a pointwise kernel on arrays [rows, channels]: an invocation computes four neighbours in each of DOWN
// rows, where DOWN is 1 unless channels come in vec4s. The kernel defines its bindings, Own (what elements of four
// channels share), own(c), and f(i, own), which computes elements 4 i to 4 i + 3. Of stacks, whose items are of len
// elements, in vec4s, f makes those from stack_at on, with the channels from stack_channel on; a kernel that takes
// stacks takes them in pairs too.

#import index

override LANES: u32 = 64;

override DOWN: u32 = 1;
// Whether items are taken in pairs, so that what is one for all is loaded once: the second begins at partner_at, its
// channels at partner_channel.
override PAIRS: bool = false;

struct Params { len: u32, channels: u32, rows: f32, items: u32 }

// In vec4s.
var<private> stack_at: u32;
var<private> partner_at: u32;

var<private> stack_channel: u32;
var<private> partner_channel: u32;

@group(0) @binding(0) var<uniform> params: Params;

fn compute(of_all: u32) {
    let vec4s = params.channels / 4;
    var each = (params.len + 3) / 4;
    if DOWN > 1 { each = (params.len / params.channels + DOWN - 1) / DOWN * vec4s; }
    let turn = of_all / each;
    let item = turn * select(1u, 2u, PAIRS);
    if item >= params.items { return; }
    let i = of_all - turn * each;
    stack_at = item * (params.len / 4);
    stack_channel = item * params.channels;
    partner_at = stack_at + params.len / 4;
    partner_channel = stack_channel + params.channels;
    if DOWN == 1 {
        f(i, own((vec4u(4 * i) + vec4u(0, 1, 2, 3)) % params.channels));
        return;
    }
    let block = i / vec4s;
    let column = i - block * vec4s;
    let shared_by_rows = own(4 * vec4u(column) + vec4u(0, 1, 2, 3));
    var at = block * DOWN * vec4s + column;
    let end = min(at + DOWN * vec4s, params.len / 4);
    for (; at < end; at += vec4s) { f(at, shared_by_rows); }
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    compute(flat_group(group, groups) * LANES + lane);
}

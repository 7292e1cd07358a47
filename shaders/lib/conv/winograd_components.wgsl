// How Winograd's kernels store components, six rows of six. The kernel defines Columns and row_of(columns, r), and
// params with the step from one component to the next.

@group(0) @binding(2) var<storage, read_write> components: array<vec4f>;

// The end is no constant, so that compilers leave the loop as it is.
fn put(columns: Columns, first: u32) {
    let step = params.part_step;
    let end = first + 36 * step;
    var r = 0u;
    for (var at = first; at < end; at += 6 * step) {
        let row = row_of(columns, r);
        components[at] = row.a0;
        components[at + step] = row.a1;
        components[at + 2 * step] = row.a2;
        components[at + 3 * step] = row.a3;
        components[at + 4 * step] = row.a4;
        components[at + 5 * step] = row.a5;
        r++;
    }
}

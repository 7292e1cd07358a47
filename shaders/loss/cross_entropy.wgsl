// loss = lse - logits[label], lse = log Σ e^logits, for each row; 0 for a label beyond the classes.

#import logits

@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read_write> lse: array<f32>;

fn compute(row: Row) {
    let all = largest_and_log(row, true);
    if row.lane % WIDTH == 0 && row.row < params.rows {
        let label = labels[row.row];
        var loss = 0.0;
        // The largest logit is taken off first: at ±1e4 its digits would hide those of the logarithm.
        if label < params.classes { loss = (all.x - logits[row.at + label]) + all.y; }
        y[row.row] = loss;
        lse[row.row] = all.x + all.y;
    }
}

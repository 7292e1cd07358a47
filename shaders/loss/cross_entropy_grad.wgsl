// dlogits = ct (softmax - one_hot(label)), zero for a label beyond the classes. The softmax is e^(logit - lse), unless lse is
// so large that its rounding shows: then its two parts are made again.

#import large
#import logits

@group(0) @binding(3) var<storage, read> lse: array<f32>;
@group(0) @binding(4) var<storage, read> ct: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

fn compute(row: Row) {
    let own = min(row.row, params.rows - 1);
    let saved = lse[own];
    let is_large = abs(saved) >= LARGE;
    let parts = select(vec2f(saved, 0.0), largest_and_log(row, is_large), is_large);
    let label = labels[own];
    let factor = select(0.0, ct[own], label < params.classes);
    let hot = row.at + label;
    for (var i = row.first; i < row.end; i += WIDTH) {
        y[i] = factor * (exp_f32((logits[i] - parts.x) - parts.y) - select(0.0, 1.0, i == hot));
    }
}

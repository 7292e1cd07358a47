// dx = rstd (u - mean(u) - x̂ mean(u x̂)), u = γ ct, over each row; without CENTRED mean(u) is 0. Also mean and rstd.

#import rows

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> gamma: array<f32>;
@group(0) @binding(3) var<storage, read> ct: array<f32>;
@group(0) @binding(4) var<storage, read_write> moments: array<vec2f>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

fn compute(row: Row) {
    let s = statistics(row);
    // Σ u and Σ u x̂.
    var sums = vec2f();
    for (var at = row.first; at < row.end; at += EACH * WIDTH) {
        for (var e = 0u; e < EACH; e++) {
            let i = at + e * WIDTH;
            if EACH == 1 || i < row.end {
                sums += gamma[i - row.at] * ct[i] * vec2f(1.0, (x[i] - s.x) * s.y);
            }
        }
    }
    let means = total(vec4f(sums, 0.0, 0.0), row.lane).xy / f32(params.n);
    let centre = select(0.0, means.x, CENTRED);
    for (var at = row.first; at < row.end; at += EACH * WIDTH) {
        for (var e = 0u; e < EACH; e++) {
            let i = at + e * WIDTH;
            if EACH == 1 || i < row.end {
                y[i] = s.y * (gamma[i - row.at] * ct[i] - centre - (x[i] - s.x) * s.y * means.y);
            }
        }
    }
    if leads(row) { moments[row.row] = s; }
}

// dy = γ dx̂ + dγ x̂ + dβ, dx̂ = rstd (dx - mean(dx) - x̂ mean(x̂ dx)), over each row; without CENTRED mean(dx) and dβ are 0.

#import rows

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> gamma: array<f32>;
@group(0) @binding(3) var<storage, read> dx: array<f32>;
@group(0) @binding(4) var<storage, read> dgamma: array<f32>;
@group(0) @binding(5) var<storage, read> dbeta: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;
@group(0) @binding(7) var<storage, read_write> dmean: array<f32>;
@group(0) @binding(8) var<storage, read_write> drstd: array<f32>;

fn compute(row: Row) {
    let s = statistics(row);
    // Σ dx and Σ x̂ dx.
    var sums = vec2f();
    for (var at = row.first; at < row.end; at += EACH * WIDTH) {
        for (var e = 0u; e < EACH; e++) {
            let i = at + e * WIDTH;
            if EACH == 1 || i < row.end {
                sums += dx[i] * vec2f(1.0, (x[i] - s.x) * s.y);
            }
        }
    }
    let means = total(vec4f(sums, 0.0, 0.0), row.lane).xy / f32(params.n);
    let centre = select(0.0, means.x, CENTRED);
    for (var at = row.first; at < row.end; at += EACH * WIDTH) {
        for (var e = 0u; e < EACH; e++) {
            let i = at + e * WIDTH;
            if EACH == 1 || i < row.end {
                let c = i - row.at;
                let normed = (x[i] - s.x) * s.y;
                var v = gamma[c] * s.y * (dx[i] - centre - normed * means.y) + dgamma[c] * normed;
                if CENTRED { v += dbeta[c]; }
                y[i] = v;
            }
        }
    }
    if leads(row) {
        dmean[row.row] = centre;
        drstd[row.row] = -s.y * s.y * means.y;
    }
}

// The tangent of dx = rstd (u - m₁ - x̂ m₂), u = γ ct, m₁ = mean(u), m₂ = mean(u x̂), over each row:
// -a rstd dx + rstd (du - dm₁ - dx̂ m₂ - x̂ dm₂), a = mean(x̂ dx); without CENTRED m₁ and mean(dx) are 0.
// Also mean, rstd, mean(dx) and a.

#import rows

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> gamma: array<f32>;
@group(0) @binding(3) var<storage, read> ct: array<f32>;
@group(0) @binding(4) var<storage, read> dx: array<f32>;
@group(0) @binding(5) var<storage, read> dgamma: array<f32>;
@group(0) @binding(6) var<storage, read> dct: array<f32>;
@group(0) @binding(7) var<storage, read_write> moments: array<vec4f>;
@group(0) @binding(8) var<storage, read_write> y: array<f32>;

fn compute(row: Row) {
    let s = statistics(row);
    let n = f32(params.n);
    // Σ dx, Σ x̂ dx, Σ u, Σ u x̂.
    var sums = vec4f();
    for (var at = row.first; at < row.end; at += EACH * WIDTH) {
        for (var e = 0u; e < EACH; e++) {
            let i = at + e * WIDTH;
            if EACH == 1 || i < row.end {
                let parts = vec2f(1.0, (x[i] - s.x) * s.y);
                sums += vec4f(dx[i] * parts, gamma[i - row.at] * ct[i] * parts);
            }
        }
    }
    let first = total(sums, row.lane) / n * vec4f(vec2f(f32(CENTRED), 1.0), vec2f(f32(CENTRED), 1.0));
    // Σ du, Σ (du x̂ + u dx̂).
    var rest = vec2f();
    for (var at = row.first; at < row.end; at += EACH * WIDTH) {
        for (var e = 0u; e < EACH; e++) {
            let i = at + e * WIDTH;
            if EACH == 1 || i < row.end {
                let c = i - row.at;
                let normed = (x[i] - s.x) * s.y;
                let dnormed = s.y * (dx[i] - first.x - normed * first.y);
                let du = dgamma[c] * ct[i] + gamma[c] * dct[i];
                rest += vec2f(du, du * normed + gamma[c] * ct[i] * dnormed);
            }
        }
    }
    let second = total(vec4f(rest, 0.0, 0.0), row.lane).xy / n * vec2f(f32(CENTRED), 1.0);
    for (var at = row.first; at < row.end; at += EACH * WIDTH) {
        for (var e = 0u; e < EACH; e++) {
            let i = at + e * WIDTH;
            if EACH == 1 || i < row.end {
                let c = i - row.at;
                let normed = (x[i] - s.x) * s.y;
                let dnormed = s.y * (dx[i] - first.x - normed * first.y);
                let projected = gamma[c] * ct[i] - first.z - normed * first.w;
                let du = dgamma[c] * ct[i] + gamma[c] * dct[i];
                y[i] = s.y * (du - second.x - dnormed * first.w - normed * second.y - s.y * first.y * projected);
            }
        }
    }
    if leads(row) { moments[row.row] = vec4f(s, first.xy); }
}

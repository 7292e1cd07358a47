// y = γ (x - mean) rstd + β over each row; without CENTRED y = γ x rstd.

#import rows

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> gamma: array<f32>;
@group(0) @binding(3) var<storage, read> beta: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read_write> mean: array<f32>;
@group(0) @binding(6) var<storage, read_write> rstd: array<f32>;

fn compute(row: Row) {
    let s = statistics(row);
    for (var at = row.first; at < row.end; at += EACH * WIDTH) {
        for (var e = 0u; e < EACH; e++) {
            let i = at + e * WIDTH;
            if EACH == 1 || i < row.end {
                let c = i - row.at;
                var v = (x[i] - s.x) * s.y * gamma[c];
                if CENTRED { v += beta[c]; }
                y[i] = v;
            }
        }
    }
    if leads(row) {
        mean[row.row] = s.x;
        rstd[row.row] = s.y;
    }
}

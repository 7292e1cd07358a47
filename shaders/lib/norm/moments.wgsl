// Count, mean and sum of squared deviations of a set of numbers, and of the union of two (Chan et al. 1979).
struct Moments { n: f32, mean: f32, m2: f32 }

fn union_of(a: Moments, b: Moments) -> Moments {
    if a.n == 0.0 { return b; }
    if b.n == 0.0 { return a; }
    let n = a.n + b.n;
    let delta = b.mean - a.mean;
    return Moments(n, a.mean + delta * (b.n / n), a.m2 + b.m2 + delta * delta * (a.n * b.n / n));
}

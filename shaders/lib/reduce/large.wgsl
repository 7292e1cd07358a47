// From here on a logarithm of a sum of powers is rounded by more than 2e-6, which is then an error of all that is divided by
// the sum.
const LARGE: f32 = 64.0;

// What rounding takes of such a logarithm at most, as a share of it.
const LOST: f32 = 0x1p-22;

enable f16;
enable wgpu_cooperative_matrix;

// Cooperative matrices of 16 × 16: factors of 16-bit floats, sums in f32.
alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sum = coop_mat16x16<f32, C>;
const SIDE: u32 = 16;

enable f16;
enable wgpu_cooperative_matrix;

// Cooperative matrices of 8 × 8: factors of 16-bit floats, sums in f32.
alias Left = coop_mat8x8<f16, A>;
alias Right = coop_mat8x8<f16, B>;
alias Sum = coop_mat8x8<f32, C>;
const SIDE: u32 = 8;

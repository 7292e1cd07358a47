// dw = x ⋆ᵀ ct, on software adapters.

#import tiles
#import segments
#import conv2d_weight_grad_rows

fn run() -> u32 { return 1; }

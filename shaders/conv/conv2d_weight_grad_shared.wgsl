// dw = x ⋆ᵀ ct (+ x2 ⋆ᵀ ct2), as a matrix product, 4 × 4 in registers.

#import conv2d_weight_grad_operands
#import product_shared

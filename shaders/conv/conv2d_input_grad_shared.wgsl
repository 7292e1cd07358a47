// dx = ct ⋆ᵀ w (+ ct2 ⋆ᵀ w2), as a matrix product, 4 × 4 in registers.

#import conv2d_input_grad_operands
#import product_shared

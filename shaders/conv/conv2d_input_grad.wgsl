// dx = ct ⋆ᵀ w (+ ct2 ⋆ᵀ w2), as matrix products, one for each phase.

#import conv2d_input_grad_operands
#import product_registers

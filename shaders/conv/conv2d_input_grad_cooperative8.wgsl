// dx = ct ⋆ᵀ w (+ ct2 ⋆ᵀ w2), as a matrix product, in matrices of 8 × 8.

#import side8
#import conv2d_input_grad_operands
#import product_cooperative

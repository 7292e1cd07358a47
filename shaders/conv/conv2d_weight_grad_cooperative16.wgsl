// dw = x ⋆ᵀ ct (+ x2 ⋆ᵀ ct2), as a matrix product, in matrices of 16 × 16.

#import side16
#import conv2d_weight_grad_operands
#import product_cooperative

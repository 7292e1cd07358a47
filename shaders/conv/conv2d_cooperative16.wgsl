// y = x ⋆ w (+ x2 ⋆ w2) (+ bias), as a matrix product, in matrices of 16 × 16.

#import side16
#import conv2d_operands
#import product_cooperative

// y = x ⋆ w (+ x2 ⋆ w2) (+ bias), as a matrix product, in matrices of 8 × 8.

#import side8
#import conv2d_operands
#import product_cooperative

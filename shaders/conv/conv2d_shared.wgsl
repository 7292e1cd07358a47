// y = x ⋆ w (+ x2 ⋆ w2) (+ bias), as a matrix product, 4 × 4 in registers.

#import conv2d_operands
#import product_shared

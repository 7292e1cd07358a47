// y = x ⋆ w (+ x2 ⋆ w2) (+ bias), as a matrix product.

#import conv2d_operands
#import product_registers

// dx = ct ⋆ᵀ w, as a matrix product on software adapters: rows are pixels (image, y, x) of x, a segment is
// a tap (0, ky, kx) with its output channels, columns are input channels of a group, all of one phase.

#import tiles
#import conv2d_input_grad_rows

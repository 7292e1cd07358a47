// y = x ⋆ w (+ bias), as a matrix product on software adapters: rows are output pixels (image, y, x),
// a segment is a tap (0, ky, kx) with its channels, columns are output channels of a group.

#import lanes
#import conv2d_rows

// y = x ⋆ w (+ bias), on software adapters.

#import tiles
#import conv2d_rows

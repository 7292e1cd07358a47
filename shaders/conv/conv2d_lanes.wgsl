// y = x ⋆ w (+ bias), on software adapters with subgroups.

#import lanes
#import conv2d_rows

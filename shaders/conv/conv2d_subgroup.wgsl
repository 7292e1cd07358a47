// y = x ⋆ w (+ bias), on software adapters with subgroups.

#import subgroup
#import conv2d_rows

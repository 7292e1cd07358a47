// dw = x ⋆ᵀ ct, on software adapters with subgroups.

#import lanes
#import singles
#import conv2d_weight_grad_rows

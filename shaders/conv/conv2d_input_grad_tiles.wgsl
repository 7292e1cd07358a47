// dx = ct ⋆ᵀ w, on software adapters.

#import tiles
#import conv2d_input_grad_rows

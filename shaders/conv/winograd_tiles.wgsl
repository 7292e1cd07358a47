// The matrix products of Winograd's components, on software adapters.

#import tiles
#import winograd_rows

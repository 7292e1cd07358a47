// Products of Winograd's components, on software adapters.

#import lanes
#import winograd_rows

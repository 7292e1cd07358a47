//! The geometry of two-dimensional convolutions, channels last.

/// Stride, zero padding, dilation (rows, columns) and channel groups of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv {
    /// Step from window to window.
    pub stride: [usize; 2],
    /// Zeros on either side.
    pub padding: [usize; 2],
    /// Distance between the taps of a window.
    pub dilation: [usize; 2],
    /// Groups into which input and output channels are divided alike.
    pub groups: usize,
}

impl Default for Conv {
    fn default() -> Self {
        Conv { stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1 }
    }
}

impl Conv {
    /// Stride 1 and the same padding on all sides.
    pub fn padded(padding: usize) -> Self {
        Conv { padding: [padding; 2], ..Conv::default() }
    }

    /// With the same stride both ways.
    pub fn strided(self, stride: usize) -> Self {
        Conv { stride: [stride; 2], ..self }
    }

    /// Output extent along an axis (0 rows, 1 columns), `None` when the window does not fit.
    pub fn out(&self, axis: usize, n: usize, kernel: usize) -> Option<usize> {
        if kernel == 0 || self.stride[axis] == 0 || self.dilation[axis] == 0 {
            return None;
        }
        let span = self.dilation[axis] * (kernel - 1) + 1;
        Some((n + 2 * self.padding[axis]).checked_sub(span)? / self.stride[axis] + 1)
    }
}

/// A convolution with all its extents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Stride, padding, dilation, groups.
    pub conv: Conv,
    /// Images.
    pub n: usize,
    /// Height and width of x.
    pub size: [usize; 2],
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Height and width of y.
    pub out: [usize; 2],
    /// Input channels of a group.
    pub ci: usize,
    /// Output channels of a group.
    pub co: usize,
}

impl Geometry {
    /// From the shapes of x `[n, h, w, groups·ci]`, w `[kh, kw, ci, groups·co]`; `None` when they do not fit.
    pub fn new(conv: Conv, x: &[usize], w: &[usize]) -> Option<Self> {
        let ([n, height, width, channels], [kh, kw, ci, outs]) =
            (<[usize; 4]>::try_from(x).ok()?, <[usize; 4]>::try_from(w).ok()?);
        let fits = conv.groups > 0 && channels == ci * conv.groups && outs % conv.groups == 0;
        let out = [conv.out(0, height, kh)?, conv.out(1, width, kw)?];
        let co = outs / conv.groups.max(1);
        fits.then_some(Geometry { conv, n, size: [height, width], kernel: [kh, kw], out, ci, co })
    }

    /// Shape of x.
    pub fn x(&self) -> [usize; 4] {
        [self.n, self.size[0], self.size[1], self.ci * self.conv.groups]
    }

    /// Shape of w.
    pub fn w(&self) -> [usize; 4] {
        [self.kernel[0], self.kernel[1], self.ci, self.co * self.conv.groups]
    }

    /// Shape of y.
    pub fn y(&self) -> [usize; 4] {
        [self.n, self.out[0], self.out[1], self.co * self.conv.groups]
    }

    /// Pixels of y.
    pub fn rows(&self) -> usize {
        self.n * self.out[0] * self.out[1]
    }

    /// Multiply-adds, doubled.
    pub fn flops(&self) -> u64 {
        2 * (self.rows() * self.kernel[0] * self.kernel[1] * self.ci * self.co * self.conv.groups) as u64
    }

    /// From a tap to the next that meets the same pixels of x.
    pub(crate) fn tap_step(&self, axis: usize) -> usize {
        let gcd = |mut a: usize, mut b: usize| {
            while b > 0 {
                (a, b) = (b, a % b);
            }
            a
        };
        self.conv.stride[axis] / gcd(self.conv.stride[axis], self.conv.dilation[axis])
    }

    pub(crate) fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// A 1×1 convolution of every pixel: its patches are x itself.
    pub(crate) fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.conv == (Conv { groups: self.conv.groups, ..Conv::default() })
    }

    /// Few channels in a group: loops, not products.
    pub(crate) fn is_thin(&self) -> bool {
        self.is_depthwise() || self.conv.groups > 1 && self.ci * self.co < 16
    }

    /// Calls `f` for each tap of the window of output pixel `row` that lies inside x: (tap, pixel of x).
    #[inline]
    pub(crate) fn each_tap(&self, row: usize, mut f: impl FnMut(usize, usize)) {
        let [height, width] = self.size;
        let (image, pixel) = (row / (self.out[0] * self.out[1]), row % (self.out[0] * self.out[1]));
        let [stride_y, stride_x] = self.conv.stride;
        let (top, left) = (pixel / self.out[1] * stride_y, pixel % self.out[1] * stride_x);
        for ky in 0..self.kernel[0] {
            let y = (top + ky * self.conv.dilation[0]).wrapping_sub(self.conv.padding[0]);
            if y >= height {
                continue;
            }
            for kx in 0..self.kernel[1] {
                let x = (left + kx * self.conv.dilation[1]).wrapping_sub(self.conv.padding[1]);
                if x < width {
                    f(ky * self.kernel[1] + kx, (image * height + y) * width + x);
                }
            }
        }
    }
}

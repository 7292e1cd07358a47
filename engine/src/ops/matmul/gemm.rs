//! The launches of kernels that are matrix products (GEMM), and their tiles.

use crate::ops::matmul::variants::{Along, Choice, Product};
use crate::{error::*, launch::*, tensor::*};

/// A part of the results, made by launches of its own that have all else in common with those of the others.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub m: usize,
    pub k: usize,
    /// The words after the six of the product itself.
    pub words: Vec<u32>,
}

/// A product's kernels with what they share.
#[derive(Debug, Clone)]
pub(crate) struct Kernels<'a> {
    /// For GPUs, and for software adapters.
    pub names: [&'static str; 2],
    /// For software adapters with subgroups.
    pub subgroup: Option<&'static str>,
    /// Most often one, of all results.
    pub parts: Vec<Part>,
    /// Words of each pair of operands whose products are added up. A launch takes those of its first and its last pair.
    pub terms: &'a [Vec<usize>],
    /// Whether a last operand is a bias, where the kernels take one.
    pub bias: Option<bool>,
    /// Constants beside those of the loop.
    pub constants: Vec<(&'static str, f64)>,
    /// The first pair of factors, and the results.
    pub bind: [Bind; 3],
    /// Whether products are added to what is there already.
    pub accumulate: bool,
}

impl<'a> Kernels<'a> {
    /// Of a product with these words, on an op's own operands.
    pub(crate) fn new(
        names: [&'static str; 2], subgroup: &'static str, [m, k]: [usize; 2], words: &[usize], terms: &'a [Vec<usize>],
        bias: Option<bool>,
    ) -> Self {
        let parts = vec![Part { m, k, words: words.iter().copied().map(word).collect() }];
        let bind = [Bind::In(0), Bind::In(1), Bind::Out(0)];
        Kernels { names, subgroup: Some(subgroup), parts, terms, bias, constants: Vec::new(), bind, accumulate: false }
    }

    fn words_of(&self, terms: [usize; 2]) -> impl Iterator<Item = u32> {
        terms.into_iter().flat_map(move |term| &self.terms[term]).copied().map(word)
    }

    /// The factors of a term.
    fn factors(&self, term: usize) -> [Bind; 2] {
        if term == 0 { [self.bind[0], self.bind[1]] } else { [2 * term, 2 * term + 1].map(Bind::In) }
    }

    /// What kernels bind for the bias: without one, something that they do not read.
    fn bias(&self) -> Option<Bind> {
        self.bias.map(|bias| if bias { Bind::In(2 * self.terms.len()) } else { self.bind[1] })
    }
}

/// What pieces of the summed axis are multiples of, on GPUs: the most that a loop takes at once.
const STEP: usize = 16;

/// Workgroups below which a long summed axis is split, and its shortest piece.
const ENOUGH: [usize; 2] = [128, 512];

/// The same for the invocations of a software adapter.
const ENOUGH_TILES: [usize; 2] = [512, 128];

/// Tiles that are few for a software adapter, whose vectors make eight at once.
const FEW_TILES: usize = 64;

/// Invocations in a workgroup of a software adapter.
const TILE_LANES: usize = 8;

/// The longest piece of the summed axis: software adapters end an invocation's loops after 65,535 passes in all, without a
/// word, and floats drift.
pub(crate) const LONGEST: usize = 1 << 14;

/// Rows of the tile that those of a subgroup make together.
pub(crate) const SHARED_ROWS: usize = 32;

impl Product {
    /// The product's launches, and the sum of partial results when its long axis is split.
    pub(crate) fn launches(self, class: Class, kernels: Kernels) -> Launches {
        self.launches_among(class, kernels, self.batches * self.m * self.n)
    }

    /// The same where the results are a part of `len`.
    pub(crate) fn launches_among(self, class: Class, kernels: Kernels, len: usize) -> Launches {
        let (list, splits, sum_lanes) = match class {
            Class::Gpu(asked) => self.on_gpu(asked, &kernels),
            Class::Software { subgroups } => {
                self.tiled(&kernels, kernels.subgroup.filter(|_| subgroups && self.fits_subgroup()))
            }
        };
        let mut launches = Launches { scratch: Vec::new(), list };
        sum_splits(&mut launches, [splits, len], sum_lanes);
        launches
    }

    /// By the loop that the table has for the product, or that is asked for.
    fn on_gpu(self, asked: Option<GemmVariant>, kernels: &Kernels) -> (Vec<Launch>, usize, u32) {
        let Product { m, n, batches, .. } = self;
        let Choice { kernel, constants, tile, each } = self.choice(kernels.names[0], asked);
        let tiles = batches * m.div_ceil(tile[0]) * n.div_ceil(tile[1]);
        let last = kernels.terms.len() - 1;
        let (launches, splits, out) = self.launch(kernels, kernel, tiles, ENOUGH, STEP, each);
        let finish = |mut launch: Launch| {
            launch.constants.extend(&constants);
            let factors = kernels.factors(0).into_iter().chain(kernels.factors(last));
            let launch = launch
                .params(kernels.words_of([0, last]))
                .constant("TERMS", kernels.terms.len() as f64)
                .bind(factors.chain(kernels.bias()).chain([out]));
            kernels.bias.into_iter().fold(launch, |launch, bias| launch.constant("BIAS", bias))
        };
        (launches.into_iter().map(finish).collect(), splits, 256)
    }

    /// Whether eight invocations have work with one tile, and load by vec4s; columns of the right factor that lie side by side
    /// need not.
    fn fits_subgroup(self) -> bool {
        let whole = [self.k, self.unit].iter().all(|k| k.is_multiple_of(4));
        let vec4s = self.vec4s[0] && (self.vec4s[1] || self.along[1] == Along::Other);
        whole && vec4s && self.m >= 24 && self.n >= 12
    }

    /// vec4s of columns in a tile of one invocation. Short sums for few tiles are made in narrow ones: more invocations have
    /// work, and a driver has less to compile.
    fn vec4_columns(self) -> usize {
        let widest = self.n.div_ceil(4).next_power_of_two().min(4);
        let tiles = self.batches * self.m.div_ceil(8) * self.n.div_ceil(4 * widest);
        if tiles < FEW_TILES && self.k < 2 * ENOUGH_TILES[1] { 1 } else { widest }
    }

    /// In tiles that an invocation makes in registers, or eight together by another kernel. A second term is added to y by a
    /// launch of its own: both in one would not fit the registers.
    fn tiled(self, kernels: &Kernels, together: Option<&'static str>) -> (Vec<Launch>, usize, u32) {
        let (rows, vec4_columns, name, lanes) = match together {
            Some(name) => (SHARED_ROWS, if self.n > 16 { 8 } else { 4 }, name, 1),
            None => (8, self.vec4_columns(), kernels.names[1], TILE_LANES),
        };
        let tiles = self.batches * self.m.div_ceil(rows) * self.n.div_ceil(4 * vec4_columns);
        let enough = [ENOUGH_TILES[0] * lanes / TILE_LANES, ENOUGH_TILES[1]];
        let (launches, splits, out) = self.launch(kernels, name, tiles, enough, self.unit, lanes);
        let vec4s = |factor: usize| match (self.vec4s[factor], self.along[factor]) {
            (false, _) => 0,
            (true, Along::K) => 1,
            (true, Along::Other) => 2,
        };
        let term = |(t, launch): (usize, &Launch)| {
            let launch = launch
                .clone()
                .constant("A_VEC4S", vec4s(0))
                .constant("B_VEC4S", vec4s(1))
                .constant("Y_VEC4S", self.n.is_multiple_of(4));
            let launch = match together {
                Some(_) => launch.constant("WIDE", vec4_columns == 8),
                None => launch.constant("VEC4S", vec4_columns as f64).constant("LANES", TILE_LANES as f64),
            };
            let launch = launch.constant("ACCUMULATE", kernels.accumulate || t > 0).params(kernels.words_of([t, t]));
            let launch = kernels.bias.into_iter().fold(launch, |launch, bias| launch.constant("BIAS", bias && t == 0));
            launch.bind(kernels.factors(t).into_iter().chain([out]).chain(kernels.bias()))
        };
        let terms = (0..kernels.terms.len()).flat_map(|t| launches.iter().map(move |launch| (t, launch)));
        (terms.map(term).collect(), splits, 32)
    }

    /// What both kinds of launches have in common, for each part, into how many pieces the summed axis is split, and where
    /// results go.
    fn launch(
        self, kernels: &Kernels, kernel: &'static str, tiles: usize, [enough, piece]: [usize; 2], unit: usize,
        lanes: usize,
    ) -> (Vec<Launch>, usize, Bind) {
        let splits = if tiles < enough { (enough / tiles).min(self.k / piece).max(1) } else { 1 };
        // Of no terms, as where no window of a convolution meets a pixel, there is a piece too: zeros are written.
        let k_chunk = self.k.div_ceil(splits.max(self.k.div_ceil(LONGEST))).next_multiple_of(unit).max(unit);
        let splits = self.k.div_ceil(k_chunk).max(1);
        let out = if splits > 1 { Bind::Scratch(0) } else { kernels.bind[2] };
        let launch = |part: &Part| {
            let mut launch = Launch::new(kernel, (tiles * splits).div_ceil(lanes))
                .params([part.m, self.n, part.k, self.batches, splits, k_chunk].map(word))
                .params(part.words.iter().copied());
            launch.constants.extend(&kernels.constants);
            launch
        };
        (kernels.parts.iter().map(launch).collect(), splits, out)
    }
}

/// Adds the launch that sums partial results of `len` elements, which are the first scratch buffer, if there are several.
pub(crate) fn sum_splits(launches: &mut Launches, [splits, len]: [usize; 2], lanes: u32) {
    if splits > 1 {
        launches.scratch.push(splits * len);
        launches.list.push(
            Launch::new("sum", len.div_ceil(32))
                .constant("LANES", lanes)
                .constant("ACROSS", 32)
                .params([1, splits, len, splits, 1, 0].map(word))
                .bind([Bind::Scratch(0), Bind::Out(0)]),
        );
    }
}

/// The launches of `batches` times `[m, k] [k, n]`, of operands with these strides: of left factors from batch to batch, along
/// rows and along the summed axis, of right ones from batch to batch, along that and along columns.
pub(crate) fn matmul(
    class: Class, [m, n, k]: [usize; 3], batches: usize, [a, b]: [[usize; 3]; 2], terms: usize, bias: bool,
) -> Launches {
    let along = [if a[2] == 1 { Along::K } else { Along::Other }, if b[2] == 1 { Along::Other } else { Along::K }];
    let lengths = [if a[2] == 1 { k } else { m }, if b[2] == 1 { n } else { k }];
    let (words, terms) = ([&a[..], &b, &[m * n]].concat(), vec![Vec::new(); terms]);
    let kernels = Kernels::new(["matmul", "matmul_tiles"], "matmul_subgroup", [m, k], &words, &terms, Some(bias));
    let (vec4s, unit) = (lengths.map(|len| len.is_multiple_of(4)), if k.is_multiple_of(4) { 4 } else { 1 });
    Product { m, n, k, batches, along, vec4s, unit }.launches(class, kernels)
}

/// Refuses operands of another number than one or two terms and a bias have, and a second term unlike the first, but for
/// which of its factors are stacks, along an axis before four others.
pub(crate) fn expect_terms(op: &'static str, x: &[&Type], terms: usize, bias: bool) -> Result<()> {
    if !(1..=2).contains(&terms) {
        return Err(shape_error(op, "it has one or two terms", x));
    }
    expect_dtypes(op, x, &vec![DType::F32; 2 * terms + usize::from(bias)])?;
    let alike = x[..2].iter().zip(&x[2 * terms - 2..]).all(|(a, b)| item(&a.shape, 4) == item(&b.shape, 4));
    match alike {
        true => Ok(()),
        false => Err(shape_error(op, "the second term is like the first", x)),
    }
}

/// Refuses a bias that is not one number for each of `n` columns.
pub(crate) fn expect_bias(op: &'static str, x: &[&Type], bias: bool, n: usize) -> Result<()> {
    match bias && x[x.len() - 1].shape != [n] {
        true => Err(shape_error(op, format!("the bias is [{n}]"), x)),
        false => Ok(()),
    }
}

/// Refuses derivatives of what only the compiler makes, once they are taken.
pub(crate) fn expect_plain(op: &'static str, rule: &'static str, terms: usize, bias: bool) -> Result<()> {
    let why = "two terms and the bias are for the compiler, which fuses when derivatives have been taken";
    match terms == 1 && !bias {
        true => Ok(()),
        false => Err(Error::NoRule { op, rule, why }),
    }
}

//! What an adapter has for some variants of matrix products, and whether its cooperative matrices are right.

use crate::{Adapter, Data, Gpu, Graph, Result, Session, Tier, Variant};

/// How an adapter multiplies cooperative matrices of 16-bit floats with sums in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cooperative {
    /// Rows and columns of a matrix, 8 or 16.
    pub side: u32,
    /// The most invocations of a subgroup, whose work a matrix is.
    pub subgroup: u32,
}

impl Default for Cooperative {
    fn default() -> Self {
        Cooperative { side: 16, subgroup: 32 }
    }
}

impl Cooperative {
    /// The adapter's matrices that the kernels can take: on Metal there are none of 16 × 16, whatever is said.
    pub(crate) fn of(adapter: &wgpu::Adapter) -> Option<Self> {
        use wgpu::{
            CooperativeScalarType::{F16, F32},
            Features,
        };
        let info = adapter.get_info();
        let wanted = Features::EXPERIMENTAL_COOPERATIVE_MATRIX | Features::SHADER_F16 | Features::SUBGROUP;
        let (can, subgroup) = (adapter.features().contains(wanted), info.subgroup_max_size);
        let found = adapter.cooperative_matrix_properties();
        let mut sides = [16, 8].into_iter().filter(|&side| side == 8 || info.backend != wgpu::Backend::Metal);
        let side = sides.find(|&side| {
            found.iter().any(|p| [p.m_size, p.n_size, p.k_size] == [side; 3] && p.ab_type == F16 && p.cr_type == F32)
        })?;
        (can && subgroup <= 64).then_some(Cooperative { side, subgroup })
    }
}

/// The variant as the adapter takes it, or why it does not.
pub(crate) fn admitted(
    asked: Variant,
    adapter: &Adapter,
    info: &wgpu::AdapterInfo,
) -> (Option<Variant>, Option<&'static str>) {
    let subgroups = adapter.tier >= Tier::Native && info.subgroup_min_size >= 4 && info.subgroup_max_size <= 128;
    match (asked, adapter.cooperative) {
        (Variant::Cooperative(_), Some(own)) => (Some(Variant::Cooperative(own)), None),
        (Variant::Cooperative(_), None) => (None, Some("no cooperative matrices of 16-bit floats")),
        (Variant::Subgroups, _) if !subgroups => (None, Some("no subgroups of 4 to 128 invocations")),
        (asked, _) => (Some(asked), None),
    }
}

/// Extents of the product on which a device is tried: off any tile, several steps long.
const SIZE: [usize; 3] = [37, 45, 83];

/// Numbers between two halves, with the even one that they are to be rounded to.
const TIES: [[f32; 2]; 2] = [[1.0 + 1.0 / 2048.0, 1.0], [1.0 + 3.0 / 2048.0, 1.0 + 4.0 / 2048.0]];

/// Whether a device multiplies cooperative matrices as it should: small integers and numbers that are rounded, whose
/// sums are exact in f32; and a number that halves do not hold, of which no finite result comes.
pub(crate) async fn is_right(gpu: &Gpu) -> bool {
    let [m, n, k] = SIZE;
    let number = |i: usize| (i * 7 % 9) as f32 - 4.0;
    let mut a: Vec<f32> = (0..m * k).map(number).collect();
    let mut rounded = a.clone();
    let mut b: Vec<f32> = (0..k * n).map(|i| number(i * 5 + 3)).collect();
    for (tie, [given, even]) in TIES.into_iter().enumerate() {
        for i in 0..m {
            (a[i * k + 40 + tie], rounded[i * k + 40 + tie]) = (given, even);
        }
    }
    b[..n].fill(1.0);
    a[(m - 1) * k] = 1e5;
    let Ok(y) = product(gpu, [&a, &b]).await else { return false };
    let sum = |i: usize, j: usize| (0..k).map(|p| rounded[i * k + p] * b[p * n + j]).sum::<f32>();
    (0..m * n).all(|at| if at / n == m - 1 { !y[at].is_finite() } else { y[at] == sum(at / n, at % n) })
}

async fn product(gpu: &Gpu, [a, b]: [&[f32]; 2]) -> Result<Vec<f32>> {
    let ([m, n, k], mut g) = (SIZE, Graph::new());
    let (left, right) = (g.input("a", &[m, k])?, g.input("b", &[k, n])?);
    let y = g.matmul(left, right)?;
    let mut session = Session::device(gpu.clone());
    let mut program = session.compile(&g, &[y])?;
    program.run(&mut session, &[("a", Data::F32(a)), ("b", Data::F32(b))])?;
    program.read(&session, y).await
}

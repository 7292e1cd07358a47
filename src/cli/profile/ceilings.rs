//! What the executor reaches at best, measured.

use hillshade::{
    engine::{Data, Graph, Result as Built, Session, Span, Var, block_on},
    models::Result,
};

/// The best rates of large ops.
#[derive(Debug, Clone, Copy)]
pub struct Ceilings {
    /// Floating-point operations in a second, of matrix products.
    pub flops: f64,
    /// Bytes in a second, read and written, of a pointwise op on arrays larger than caches.
    pub bytes: f64,
}

/// Elements of the copied array: 128 MiB.
const COPIED: usize = 1 << 25;

/// Seconds of a matrix product above which no larger one is tried.
const ENOUGH: f64 = 0.05;

/// The shortest of three times that an op takes.
fn shortest(session: &mut Session, shape: &[usize], op: fn(&mut Graph, Var) -> Built<Var>) -> Result<Option<Span>> {
    let mut g = Graph::new();
    let x = g.input("x", shape)?;
    let y = op(&mut g, x)?;
    let mut program = session.compile(&g, &[y])?;
    let ones = vec![1.0; shape.iter().product()];
    let mut spans = Vec::new();
    for _ in 0..3 {
        let profile = block_on(program.profile(session, &[("x", Data::F32(&ones))]))?;
        spans.extend(profile.spans.into_iter().max_by(|a, b| a.seconds().total_cmp(&b.seconds())));
    }
    Ok(spans.into_iter().min_by(|a, b| a.seconds().total_cmp(&b.seconds())))
}

impl Ceilings {
    /// Times a copy, and matrix products up to one that takes long enough.
    pub fn measure(session: &mut Session) -> Result<Self> {
        let copy = shortest(session, &[COPIED], |g, x| g.neg(x))?;
        let mut ceilings = Ceilings { flops: 0.0, bytes: copy.map_or(0.0, |s| s.bytes as f64 / s.seconds()) };
        for n in [512, 1024, 2048, 4096] {
            let Some(product) = shortest(session, &[n, n], |g, x| g.matmul(x, x))? else { break };
            ceilings.flops = ceilings.flops.max(product.flops / product.seconds());
            if product.seconds() > ENOUGH {
                break;
            }
        }
        Ok(ceilings)
    }
}

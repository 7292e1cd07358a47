//! The measured peak of an executor: a copy, chains of multiply-adds, matrix products.

use crate::{
    error::Result,
    graph::{Graph, Tensor},
    run::{profile::Span, session::Session},
};

/// The best rates of large ops.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ceilings {
    /// Floating-point operations in a second, of multiply-adds in independent chains on numbers in registers.
    pub fma: f64,
    /// Floating-point operations in a second, of the best among square matrix products.
    pub matmul: f64,
    /// Bytes in a second, read and written, of a copy that is larger than caches.
    pub copy: f64,
}

/// Elements of the copied array: 256 MiB are moved.
const COPIED: usize = 1 << 25;

/// Elements of the array with chains.
const CHAINED: usize = 1 << 22;

/// Seconds above which no larger size is tried.
const ENOUGH: f64 = 0.05;

/// The state that operands are in.
const OPERAND: &str = "ceilings/x";

/// The shortest of three times that an op on one operand takes.
async fn shortest(
    session: &mut Session, shape: &[usize], op: impl for<'g> FnOnce(Tensor<'g>) -> Tensor<'g>,
) -> Result<Option<Span>> {
    let g = Graph::new();
    let y = op(g.state(OPERAND, shape));
    // Numbers that differ, since zeros are cheaper on some devices.
    let numbers: Vec<f32> = (0..shape.iter().product()).map(|i: usize| (i % 1021) as f32 / 1021.0 - 0.5).collect();
    session.set(OPERAND, shape, &numbers)?;
    let mut program = session.compile(&g, &[y])?;
    let mut spans = Vec::new();
    for _ in 0..3 {
        let profile = program.profile(session, ()).await?;
        spans.extend(profile.spans.into_iter().max_by(|a, b| a.seconds().total_cmp(&b.seconds())));
    }
    Ok(spans.into_iter().min_by(|a, b| a.seconds().total_cmp(&b.seconds())))
}

/// The best rate among sizes, up to one that takes long enough.
async fn best(sizes: &[u32], mut time: impl AsyncFnMut(u32) -> Result<Option<Span>>) -> Result<f64> {
    let mut rate: f64 = 0.0;
    for &size in sizes {
        let Some(span) = time(size).await? else { break };
        rate = rate.max(span.flops / span.seconds());
        if span.seconds() > ENOUGH {
            break;
        }
    }
    Ok(rate)
}

impl Ceilings {
    /// Times a copy, chains of multiply-adds and matrix products.
    ///
    /// # Errors
    ///
    /// [`Error::Device`](crate::Error::Device) for an adapter that does not stamp within passes, [`Error::Memory`] or
    /// [`Error::Limit`] where 256 MiB are too many.
    ///
    /// [`Error::Memory`]: crate::Error::Memory
    /// [`Error::Limit`]: crate::Error::Limit
    pub async fn measure(session: &mut Session) -> Result<Self> {
        let measured = Self::measured(session).await;
        session.remove(OPERAND);
        measured
    }

    async fn measured(session: &mut Session) -> Result<Self> {
        let copy = shortest(session, &[COPIED], |x| -x).await?;
        let chains = async |times| shortest(session, &[CHAINED], |x| x.iterate(0.5, 0.75, times)).await;
        let fma = best(&[1 << 10, 1 << 12, 1 << 14], chains).await?;
        let products = async |n| shortest(session, &[n as usize; 2], |x| x.matmul(x)).await;
        let matmul = best(&[512, 1024, 2048, 4096], products).await?;
        Ok(Ceilings { fma, matmul, copy: copy.map_or(0.0, |s| s.bytes as f64 / s.seconds()) })
    }

    /// These ceilings raised to rates that other work reached, in operations and in bytes a second: caches move more than
    /// the copy, and a convolution may compute faster than square matrix products. Of work at these rates no
    /// [share](Ceilings::seconds) is above 1. The raised ceilings are [`Ceilings::fma`] and [`Ceilings::copy`]; rates that
    /// are not finite are left out.
    pub fn raised(self, flops_rates: impl IntoIterator<Item = f64>, byte_rates: impl IntoIterator<Item = f64>) -> Self {
        let most = |rates: &mut dyn Iterator<Item = f64>| rates.filter(|r| r.is_finite()).fold(0.0, f64::max);
        let (flops, bytes) = (most(&mut flops_rates.into_iter()), most(&mut byte_rates.into_iter()));
        let fma = if flops > self.flops() { flops } else { self.fma };
        Ceilings { fma, copy: self.copy.max(bytes), ..self }
    }

    /// Floating-point operations in a second: the larger of the two rates.
    pub fn flops(&self) -> f64 {
        self.fma.max(self.matmul)
    }

    /// Seconds that so many operations and bytes take at the ceilings, the roofline's (Williams et al. 2009).
    pub fn seconds(&self, flops: f64, bytes: f64) -> f64 {
        (flops / self.flops()).max(bytes / self.copy)
    }
}

//! Timestamp queries around the dispatches of a run.

use crate::{
    device::gpu::Gpu,
    error::{Error, Result},
};

/// Queries of a set, the most that there may be.
const QUERIES: usize = wgpu::QUERY_SET_MAX_QUERIES as usize;

/// Two stamps for each dispatch of a run.
pub(crate) struct Stamps {
    sets: Vec<(wgpu::QuerySet, wgpu::Buffer)>,
    period: f64,
}

impl Stamps {
    pub(crate) fn new(gpu: &Gpu, dispatches: usize) -> Result<Self> {
        let inner = &gpu.inner;
        if !inner.device.features().contains(wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES) {
            return Err(Error::Device(format!(
                "expected an adapter with timestamps inside passes, found {}",
                inner.adapter
            )));
        }
        let sizes = (0..2 * dispatches).step_by(QUERIES).map(|first| (2 * dispatches - first).min(QUERIES));
        let sets = sizes.map(|count| {
            let set = inner.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("stamps"),
                ty: wgpu::QueryType::Timestamp,
                count: count as u32,
            });
            let buffer = inner.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("stamps"),
                size: 8 * count as u64,
                usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: false,
            });
            (set, buffer)
        });
        let stamps = Stamps { sets: sets.collect(), period: inner.queue.get_timestamp_period().into() };
        gpu.check()?;
        Ok(stamps)
    }

    fn write(&self, pass: &mut wgpu::ComputePass, stamp: usize) {
        pass.write_timestamp(&self.sets[stamp / QUERIES].0, (stamp % QUERIES) as u32);
    }

    pub(crate) fn begin(&self, pass: &mut wgpu::ComputePass, dispatch: usize) {
        self.write(pass, 2 * dispatch);
    }

    pub(crate) fn end(&self, pass: &mut wgpu::ComputePass, dispatch: usize) {
        self.write(pass, 2 * dispatch + 1);
    }

    pub(crate) fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        for (set, buffer) in &self.sets {
            encoder.resolve_query_set(set, 0..(buffer.size() / 8) as u32, buffer, 0);
        }
    }

    /// Where the stamps are: buffers, offsets, bytes.
    pub(crate) fn resolved(&self) -> Vec<(&wgpu::Buffer, u64, u64)> {
        self.sets.iter().map(|(_, buffer)| (buffer, 0, buffer.size())).collect()
    }

    /// Begin and end of each dispatch from the words read back.
    pub(crate) fn nanoseconds(&self, words: &[u32]) -> Vec<[u64; 2]> {
        let ticks = |w: &[u32]| u64::from(w[0]) | u64::from(w[1]) << 32;
        let first = words.get(..2).map_or(0, ticks);
        let time = |w: &[u32]| (ticks(w).saturating_sub(first) as f64 * self.period) as u64;
        // Queues of some devices stamp the end of a dispatch a tick before its begin.
        words.chunks_exact(4).map(|w| [time(&w[..2]), time(&w[2..]).max(time(&w[..2]))]).collect()
    }
}

//! Programs on a device: buffers, bind groups and dispatches made once, run many times.

use std::{collections::HashMap, sync::Arc};

use wgpu::util::DeviceExt;

use crate::{
    compile::{Place, Plan, Step},
    device::{Gpu, Stamps, lock, pipeline},
    error::{Error, Result},
    launch::{Bind, Launch},
    run::inputs::{Data, missing_state, other_session},
    tensor::Type,
};

/// Words of poison behind every buffer of a poisoned device.
const TAIL: u64 = 256;

/// Not a number, of the signalling kind: any arithmetic makes a quiet one of it, so that writing it back shows too.
const POISON: u32 = 0x7fa0_0000;

/// The states of a session on a device.
#[derive(Debug)]
pub(crate) struct DeviceSession {
    pub gpu: Gpu,
    states: HashMap<String, (Type, wgpu::Buffer)>,
}

enum Recorded {
    Dispatch { pipeline: wgpu::ComputePipeline, group: wgpu::BindGroup, groups: [u32; 3] },
    Copy { from: wgpu::Buffer, to: wgpu::Buffer, bytes: u64 },
}

/// A program recorded for a device.
pub(crate) struct DeviceProgram {
    gpu: Gpu,
    plan: Arc<Plan>,
    buffers: HashMap<Place, wgpu::Buffer>,
    recorded: Vec<Recorded>,
}

impl std::fmt::Debug for DeviceProgram {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}", self.plan)
    }
}

/// A storage buffer; kernels move four elements at a time, so it ends at a multiple of 16 bytes.
fn storage(gpu: &Gpu, what: &str, bytes: u64) -> Result<wgpu::Buffer> {
    gpu.admit(what, bytes)?;
    let tail = if gpu.inner.options.poison { 4 * TAIL } else { 0 };
    let size = bytes.next_multiple_of(16) + tail;
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    let buffer = gpu.inner.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some(what),
        size,
        usage,
        mapped_at_creation: false,
    });
    gpu.check()?;
    if tail > 0 {
        let poison = POISON.to_le_bytes().repeat(size as usize / 4);
        gpu.inner.queue.write_buffer(&buffer, 0, &poison);
    }
    Ok(buffer)
}

impl DeviceSession {
    pub(crate) fn new(gpu: Gpu) -> Self {
        DeviceSession { gpu, states: HashMap::new() }
    }

    pub(crate) fn set(&mut self, name: &str, ty: Type, data: &[f32]) -> Result<()> {
        let known = self.states.get(name).filter(|(known, _)| *known == ty);
        let buffer = match known {
            Some((_, buffer)) => buffer.clone(),
            None => storage(&self.gpu, name, ty.bytes() as u64)?,
        };
        self.gpu.inner.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(data));
        self.states.insert(name.into(), (ty, buffer));
        self.gpu.check()
    }

    pub(crate) fn reserve(&mut self, name: &str, ty: &Type) -> Result<()> {
        if self.ty(name) != Some(ty) {
            let buffer = storage(&self.gpu, name, ty.bytes() as u64)?;
            if self.gpu.inner.options.poison {
                self.gpu.inner.queue.write_buffer(&buffer, 0, &vec![0; ty.bytes()]);
            }
            self.states.insert(name.into(), (ty.clone(), buffer));
        }
        Ok(())
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.states.remove(name);
    }

    pub(crate) fn ty(&self, name: &str) -> Option<&Type> {
        self.states.get(name).map(|(ty, _)| ty)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.states.keys().cloned().collect()
    }

    pub(crate) async fn get(&self, name: &str) -> Result<Option<Vec<u32>>> {
        match self.states.get(name) {
            Some((ty, buffer)) => read(&self.gpu, &[(buffer, 0, ty.bytes() as u64)]).await.map(Some),
            None => Ok(None),
        }
    }
}

/// Reads words back: of each buffer, from an offset, so many bytes; one after the other.
async fn read(gpu: &Gpu, parts: &[(&wgpu::Buffer, u64, u64)]) -> Result<Vec<u32>> {
    gpu.check()?;
    let bytes = parts.iter().map(|(_, _, bytes)| bytes).sum::<u64>();
    let staging = gpu.inner.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("read"),
        size: bytes.next_multiple_of(16),
        usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
        mapped_at_creation: false,
    });
    let mut encoder = gpu.inner.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let mut to = 0;
    for &(from, offset, bytes) in parts {
        encoder.copy_buffer_to_buffer(from, offset, &staging, to, bytes);
        to += bytes;
    }
    gpu.inner.queue.submit([encoder.finish()]);
    let mapped = Mapping::default();
    let done = mapped.clone();
    staging.map_async(wgpu::MapMode::Read, .., move |result| done.finish(result));
    gpu.wait()?;
    mapped.await.map_err(|e| Error::Device(e.to_string()))?;
    gpu.check()?;
    let view = staging.get_mapped_range(..bytes).map_err(|e| Error::Device(e.to_string()))?;
    Ok(bytemuck::pod_collect_to_vec(&view))
}

type Mapped = Result<(), wgpu::BufferAsyncError>;

/// The future of a mapping.
#[derive(Clone, Default)]
struct Mapping(Arc<std::sync::Mutex<(Option<Mapped>, Option<std::task::Waker>)>>);

impl Mapping {
    fn finish(&self, result: Mapped) {
        let mut state = lock(&self.0);
        state.0 = Some(result);
        if let Some(waker) = state.1.take() {
            waker.wake();
        }
    }
}

impl Future for Mapping {
    type Output = Mapped;

    fn poll(self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context) -> std::task::Poll<Mapped> {
        let mut state = lock(&self.0);
        match state.0.take() {
            Some(result) => std::task::Poll::Ready(result),
            None => {
                state.1 = Some(cx.waker().clone());
                std::task::Poll::Pending
            }
        }
    }
}

impl DeviceProgram {
    pub(crate) fn new(session: &DeviceSession, plan: Arc<Plan>) -> Result<Self> {
        let gpu = session.gpu.clone();
        let mut buffers = HashMap::new();
        for (i, named) in plan.states.iter().enumerate() {
            match session.states.get(&named.name) {
                Some((ty, buffer)) if *ty == named.ty => buffers.insert(Place::State(i), buffer.clone()),
                other => return Err(missing_state(named, other.map(|(ty, _)| ty))),
            };
        }
        for (i, &(_, len)) in plan.slots.iter().enumerate() {
            buffers.insert(Place::Slot(i), storage(&gpu, &format!("slot {i}"), 4 * len as u64)?);
        }
        for (i, named) in plan.inputs.iter().enumerate() {
            buffers.insert(Place::Input(i), storage(&gpu, &named.name, named.ty.bytes() as u64)?);
        }
        for (i, literal) in plan.literals.iter().enumerate() {
            let buffer = storage(&gpu, "literal", 4 * literal.len() as u64)?;
            gpu.inner.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(literal));
            buffers.insert(Place::Literal(i), buffer);
        }
        let mut program = DeviceProgram { gpu, plan, buffers, recorded: Vec::new() };
        program.record()?;
        Ok(program)
    }

    fn record(&mut self) -> Result<()> {
        let plan = self.plan.clone();
        let launches = || {
            plan.steps
                .iter()
                .filter_map(|s| if let Step::Apply { launches, .. } = s { Some(&launches.list) } else { None })
                .flatten()
        };
        pipeline::prepare(&self.gpu, launches())?;
        let device = &self.gpu.inner.device;
        let align = u64::from(self.gpu.inner.limits.min_uniform_buffer_offset_alignment);
        let mut arena = Vec::new();
        let mut offsets = Vec::new();
        for launch in launches() {
            arena.resize(arena.len().next_multiple_of(align as usize), 0);
            offsets.push(arena.len() as u64);
            arena.extend_from_slice(bytemuck::cast_slice(&launch.params));
            arena.resize(arena.len().next_multiple_of(16), 0);
        }
        let arena = device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
            label: Some("uniforms"),
            contents: if arena.is_empty() { &[0; 16] } else { &arena },
            usage: wgpu::BufferUsages::UNIFORM,
        });
        let mut offsets = offsets.into_iter();
        let mut recorded = Vec::new();
        for step in &plan.steps {
            match step {
                Step::Copy { from, to, ty } => recorded.push(Recorded::Copy {
                    from: self.buffers[from].clone(),
                    to: self.buffers[to].clone(),
                    bytes: ty.bytes() as u64,
                }),
                Step::Apply { x, y, scratch, launches, .. } => {
                    for launch in &launches.list {
                        let place = |bind: Bind| bind.place(x, y, scratch);
                        let offset = offsets.next().unwrap_or_default();
                        recorded.push(self.dispatch(launch, &arena, offset, place)?);
                    }
                }
            }
        }
        self.recorded = recorded;
        self.gpu.check()
    }

    fn dispatch(
        &self, launch: &Launch, arena: &wgpu::Buffer, offset: u64, place: impl Fn(Bind) -> Place,
    ) -> Result<Recorded> {
        let pipelines = lock(&self.gpu.inner.pipelines);
        let Some(pipeline) = pipelines.get(&pipeline::key(launch)).cloned() else {
            return Err(Error::Device(format!("{} was not compiled", launch.kernel)));
        };
        drop(pipelines);
        let size = (4 * launch.params.len() as u64).next_multiple_of(16);
        let uniform = wgpu::BufferBinding { buffer: arena, offset, size: std::num::NonZero::new(size) };
        let mut entries = vec![wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(uniform) }];
        for (i, &bind) in launch.bind.iter().enumerate() {
            let buffer = &self.buffers[&place(bind)];
            entries.push(wgpu::BindGroupEntry { binding: i as u32 + 1, resource: buffer.as_entire_binding() });
        }
        let group = self.gpu.inner.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(launch.kernel),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        Ok(Recorded::Dispatch { pipeline, group, groups: launch.groups })
    }

    pub(crate) fn write(&mut self, input: usize, data: Data) {
        let bytes: &[u8] = match data {
            Data::F32(x) => bytemuck::cast_slice(x),
            Data::U32(x) => bytemuck::cast_slice(x),
        };
        self.gpu.inner.queue.write_buffer(&self.buffers[&Place::Input(input)], 0, bytes);
    }

    /// Refuses a session on another device, and one whose states are not those that were recorded.
    fn belongs_to(&self, session: &DeviceSession) -> Result<()> {
        if !Arc::ptr_eq(&self.gpu.inner, &session.gpu.inner) {
            return Err(other_session());
        }
        for (i, named) in self.plan.states.iter().enumerate() {
            match session.states.get(&named.name) {
                Some((_, buffer)) if *buffer == self.buffers[&Place::State(i)] => {}
                Some((ty, _)) if *ty == named.ty => return Err(other_session()),
                other => return Err(missing_state(named, other.map(|(ty, _)| ty))),
            }
        }
        Ok(())
    }

    /// One encoder, one submit; copies fall between passes. With stamps every dispatch is timed where it is.
    pub(crate) fn run(&self, session: &DeviceSession, stamps: Option<&Stamps>) -> Result<()> {
        self.gpu.check()?;
        self.belongs_to(session)?;
        let mut encoder = self.gpu.inner.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut steps = self.recorded.iter().peekable();
        let mut dispatch = 0;
        while let Some(step) = steps.next() {
            match step {
                Recorded::Copy { from, to, bytes } => encoder.copy_buffer_to_buffer(from, 0, to, 0, *bytes),
                Recorded::Dispatch { .. } => {
                    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                    let mut current = Some(step);
                    while let Some(Recorded::Dispatch { pipeline, group, groups: [x, y, z] }) = current {
                        pass.set_pipeline(pipeline);
                        pass.set_bind_group(0, group, &[]);
                        stamps.inspect(|s| s.begin(&mut pass, dispatch));
                        pass.dispatch_workgroups(*x, *y, *z);
                        stamps.inspect(|s| s.end(&mut pass, dispatch));
                        dispatch += 1;
                        current = steps.next_if(|s| matches!(s, Recorded::Dispatch { .. }));
                    }
                }
            }
        }
        stamps.inspect(|s| s.resolve(&mut encoder));
        self.gpu.inner.queue.submit([encoder.finish()]);
        self.gpu.check()
    }

    /// Runs once and says when each dispatch began and ended, in nanoseconds of the device's clock.
    pub(crate) async fn time(&self, session: &DeviceSession) -> Result<Vec<[u64; 2]>> {
        let dispatches = self.recorded.iter().filter(|r| matches!(r, Recorded::Dispatch { .. })).count();
        let stamps = Stamps::new(&self.gpu, dispatches)?;
        self.run(session, Some(&stamps))?;
        let words = read(&self.gpu, &stamps.resolved()).await?;
        Ok(stamps.nanoseconds(&words))
    }

    pub(crate) async fn output(&self, i: usize) -> Result<Vec<u32>> {
        let (place, ty) = &self.plan.outputs[i];
        if self.gpu.inner.options.poison {
            self.intact().await?;
        }
        read(&self.gpu, &[(&self.buffers[place], 0, ty.bytes() as u64)]).await
    }

    /// Fails if a kernel wrote behind the end of a poisoned buffer.
    async fn intact(&self) -> Result<()> {
        let tails = self.buffers.values().map(|b| (b, b.size() - 4 * TAIL, 4 * TAIL)).collect::<Vec<_>>();
        let words = read(&self.gpu, &tails).await?;
        match self.buffers.keys().zip(words.chunks(TAIL as usize)).find(|(_, tail)| tail.iter().any(|&w| w != POISON)) {
            Some((place, _)) => Err(Error::Device(format!("a kernel wrote behind the end of {place}"))),
            None => Ok(()),
        }
    }
}

//! Devices: adapters listed and chosen, one opened with its limits, wgpu's faults turned into our errors.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use crate::{
    error::{Error, Result},
    launch::{Class, Cooperative, GemmVariant, NEIGHBOURS, Tier},
};

/// An adapter, described.
#[derive(Debug, Clone)]
pub struct Adapter {
    /// The device's name.
    pub name: String,
    /// Vulkan, Metal, Dx12, …
    pub backend: String,
    /// Driver and its version.
    pub driver: String,
    /// Discrete, integrated, …, or software.
    pub kind: &'static str,
    /// What the adapter can do beyond the portable minimum.
    pub tier: Tier,
    /// The fewest invocations that a subgroup has; 0 without subgroups.
    pub subgroup: u32,
    /// Its cooperative matrices of 16-bit floats with sums in f32, if it has such as the kernels take.
    pub cooperative: Option<Cooperative>,
    /// Limits by name: those that programs meet.
    pub limits: Vec<(&'static str, u64)>,
    /// Optional features by name.
    pub features: Vec<String>,
}

impl Adapter {
    /// Whether the adapter computes on the CPU.
    pub fn is_software(&self) -> bool {
        self.kind == "software"
    }

    /// What it computes with.
    pub fn class(&self) -> Class {
        match self.is_software() {
            true => Class::Software { subgroups: self.subgroup >= NEIGHBOURS },
            false => Class::GPU,
        }
    }

    fn describe(adapter: &wgpu::Adapter) -> Self {
        let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
        let tier = if features.contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX) {
            Tier::Cooperative
        } else if features.contains(wgpu::Features::SUBGROUP) {
            Tier::Native
        } else {
            Tier::Portable
        };
        let kind = match info.device_type {
            wgpu::DeviceType::DiscreteGpu => "discrete",
            wgpu::DeviceType::IntegratedGpu => "integrated",
            wgpu::DeviceType::VirtualGpu => "virtual",
            wgpu::DeviceType::Cpu => "software",
            wgpu::DeviceType::Other => "other",
        };
        Adapter {
            name: info.name,
            backend: format!("{:?}", info.backend),
            driver: [info.driver, info.driver_info].join(" ").trim().into(),
            kind,
            tier,
            subgroup: if features.contains(wgpu::Features::SUBGROUP) { info.subgroup_min_size } else { 0 },
            cooperative: Cooperative::of(adapter),
            limits: vec![
                ("buffer bytes", limits.max_buffer_size),
                ("storage binding bytes", limits.max_storage_buffer_binding_size.min(BINDING)),
                ("storage buffers per stage", limits.max_storage_buffers_per_shader_stage.into()),
                ("workgroup memory bytes", limits.max_compute_workgroup_storage_size.into()),
                ("invocations per workgroup", limits.max_compute_invocations_per_workgroup.into()),
                ("workgroups per dimension", limits.max_compute_workgroups_per_dimension.into()),
            ],
            features: features.iter_names().map(|(name, _)| name.to_lowercase()).collect(),
        }
    }

    fn rank(&self) -> usize {
        ["discrete", "integrated", "virtual", "other", "software"].iter().position(|k| *k == self.kind).unwrap_or(9)
    }
}

impl fmt::Display for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} ({}, {}, {})", self.name, self.backend, self.kind, self.driver)
    }
}

/// The most bytes that one binding may have; larger ones are silently wrong on some backends.
pub(crate) const BINDING: u64 = (1 << 31) - 1;

/// How a device is opened.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Part of an adapter's name, driver or backend, or its number in [`adapters`]; the best one when absent.
    pub adapter: Option<String>,
    /// Compile kernels with all run-time checks, as untrusted text would be. The results agree with the unchecked.
    pub checked: bool,
    /// Fill buffers with not-a-number before they are used, and put more of it behind them, where nothing may be written:
    /// for tests.
    pub poison: bool,
    /// The class of kernels; the adapter's own when absent.
    pub class: Option<Class>,
    /// The variant of all matrix products, with the kernels for GPUs; that of the table when absent. One that the
    /// adapter cannot take, or takes wrongly, is left out, which the device's description says. With
    /// [`GemmVariant::Cooperative`], whose sizes are the adapter's, factors are rounded to 16-bit floats: sums of products
    /// are then right to 2^-10 of the sum of their absolute values, numbers below 2^-14 lose digits and below 2^-25 are
    /// zero, and results of numbers beyond 65,504 are infinite or not a number.
    pub products: Option<GemmVariant>,
}

fn instance() -> wgpu::Instance {
    wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle())
}

async fn enumerate() -> Vec<(Adapter, wgpu::Adapter)> {
    let found = instance().enumerate_adapters(wgpu::Backends::all()).await;
    let mut list: Vec<_> = found.into_iter().map(|a| (Adapter::describe(&a), a)).collect();
    list.sort_by_key(|(a, _)| a.rank());
    list
}

/// The adapters of this machine, best first.
pub async fn adapters() -> Vec<Adapter> {
    enumerate().await.into_iter().map(|(a, _)| a).collect()
}

/// What tells pipelines apart: the kernel, its text where it is not of the shaders crate, and its constants.
pub(crate) type Key = (&'static str, Option<&'static str>, Vec<(&'static str, u64)>);

/// An open device; cheap to clone.
#[derive(Clone)]
pub struct Gpu {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub adapter: Adapter,
    pub limits: wgpu::Limits,
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub options: Options,
    /// The variant of all products, and why it is not the one that was asked for.
    products: (Option<GemmVariant>, Option<&'static str>),
    /// Whether the cooperative matrices that were asked for gave right results, once they were tried.
    right: OnceLock<bool>,
    pub pipelines: Mutex<HashMap<Key, wgpu::ComputePipeline>>,
    fault: Arc<Mutex<Option<Error>>>,
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}", self.inner.adapter)?;
        match self.chosen() {
            (Some(variant), _) => write!(f, ", products: {variant}"),
            (None, Some(why)) => write!(f, ", products in f32: {why}"),
            (None, None) => Ok(()),
        }
    }
}

/// The data behind a mutex, also when a thread panicked while it held it: every use leaves it whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gpu {
    /// Opens the best adapter, or the one that `HILLSHADE_ADAPTER` names.
    ///
    /// # Errors
    ///
    /// [`Error::NoAdapter`] where there is none, [`Error::Device`] when it does not open.
    pub async fn open() -> Result<Self> {
        let adapter = std::env::var("HILLSHADE_ADAPTER").ok().filter(|name| !name.is_empty());
        Self::open_with(Options { adapter, ..Options::default() }).await
    }

    /// Opens a device as asked.
    ///
    /// # Errors
    ///
    /// [`Error::NoAdapter`] when no adapter matches, [`Error::Device`] when it does not open.
    pub async fn open_with(options: Options) -> Result<Self> {
        let list = enumerate().await;
        let available = match list.len() {
            0 => "none".into(),
            _ => list.iter().map(|(a, _)| a.name.as_str()).collect::<Vec<_>>().join(", "),
        };
        let wanted = options.adapter.clone();
        let matches = |i: usize, a: &Adapter| match &wanted {
            None => true,
            Some(w) => {
                let text = format!("{} {} {}", a.name, a.driver, a.backend).to_lowercase();
                w.parse() == Ok(i) || text.contains(&w.to_lowercase())
            }
        };
        let found = list.into_iter().enumerate().find(|(i, (a, _))| matches(*i, a));
        let Some((_, (description, adapter))) = found else {
            let wanted = wanted.map_or("at all".into(), |w| format!("matches \"{w}\""));
            return Err(Error::NoAdapter { wanted, available });
        };
        let limits = adapter.limits();
        let products = options.products.map_or((None, None), |v| admitted(v, &description, &adapter.get_info()));
        let mut wanted =
            wgpu::Features::SUBGROUP | wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES;
        let mut experimental_features = wgpu::ExperimentalFeatures::disabled();
        if let (Some(GemmVariant::Cooperative(_)), _) = products {
            wanted |= wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX | wgpu::Features::SHADER_F16;
            // SAFETY: nothing is asked of the experimental feature but products that are tried before they are used.
            experimental_features = unsafe { wgpu::ExperimentalFeatures::enabled() };
        }
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("hillshade"),
            required_features: adapter.features() & wanted,
            required_limits: limits.clone(),
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            experimental_features,
            ..Default::default()
        };
        let opened = adapter.request_device(&descriptor).await;
        let (device, queue) = opened.map_err(|e| Error::Device(format!("{}: {e}", description.name)))?;
        let fault = Arc::new(Mutex::new(None));
        let keep = |fault: &Arc<Mutex<Option<Error>>>, error: Error| {
            lock(fault).get_or_insert(error);
        };
        let captured = fault.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            keep(
                &captured,
                match error {
                    wgpu::Error::OutOfMemory { source } => Error::OutOfMemory(source.to_string()),
                    other => Error::Device(other.to_string().replace('\n', " ")),
                },
            );
        }));
        let lost = fault.clone();
        device.set_device_lost_callback(move |reason, message| {
            // A loss explains what failed before it.
            *lock(&lost) = Some(Error::DeviceLost(format!("{reason:?} {message}").trim().into()));
        });
        let pipelines = Mutex::default();
        let inner = Inner {
            adapter: description,
            limits,
            device,
            queue,
            options,
            products,
            right: OnceLock::new(),
            pipelines,
            fault,
        };
        Ok(Gpu { inner: Arc::new(inner) })
    }

    /// What was opened.
    pub fn adapter(&self) -> &Adapter {
        &self.inner.adapter
    }

    /// The class by which kernels are chosen.
    pub fn class(&self) -> Class {
        match self.products() {
            Some(variant) => Class::Gpu(Some(variant)),
            None => match self.inner.options.class {
                Some(Class::Software { subgroups }) => {
                    Class::Software { subgroups: subgroups && self.inner.adapter.subgroup >= NEIGHBOURS }
                }
                class => class.unwrap_or(self.inner.adapter.class()),
            },
        }
    }

    /// The variant of all matrix products, where one was asked for and the adapter takes it.
    pub fn products(&self) -> Option<GemmVariant> {
        self.chosen().0
    }

    /// The variant of all products, and why it is not the one that was asked for.
    fn chosen(&self) -> (Option<GemmVariant>, Option<&'static str>) {
        match self.inner.right.get() {
            Some(false) => (None, Some("cooperative matrices gave wrong results")),
            _ => self.inner.products,
        }
    }

    /// Has `test` try cooperative matrices, where they are asked for, once for each device.
    pub(crate) fn try_cooperative(&self, test: impl FnOnce() -> bool) {
        if let (Some(GemmVariant::Cooperative(_)), _) = self.inner.products {
            self.inner.right.get_or_init(test);
        }
    }

    /// The most storage buffers that a dispatch may bind.
    pub(crate) fn storage_buffers(&self) -> usize {
        self.inner.limits.max_storage_buffers_per_shader_stage as usize
    }

    /// The first fault since the device was opened; a lost device stays lost.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`], [`Error::DeviceLost`] or [`Error::Device`].
    pub(crate) fn check(&self) -> Result<()> {
        let mut fault = lock(&self.inner.fault);
        match fault.take() {
            None => Ok(()),
            Some(error) => {
                if matches!(error, Error::DeviceLost(_)) {
                    *fault = Some(error.clone());
                }
                Err(error)
            }
        }
    }

    /// Waits for all submitted work; where waiting is not possible (the browser), does nothing.
    pub(crate) fn wait(&self) -> Result<()> {
        let polled = self.inner.device.poll(wgpu::PollType::wait_indefinitely());
        self.check()?;
        polled.map_err(|e| Error::Device(e.to_string()))?;
        Ok(())
    }

    /// Destroys the device: what is run afterwards reports [`Error::DeviceLost`].
    pub fn destroy(&self) {
        self.inner.device.destroy();
        *lock(&self.inner.fault) = Some(Error::DeviceLost("destroyed".into()));
    }

    /// Refuses a buffer that the device cannot bind.
    pub(crate) fn admit(&self, what: &str, bytes: u64) -> Result<()> {
        let limits = &self.inner.limits;
        let limit = limits.max_buffer_size.min(limits.max_storage_buffer_binding_size).min(BINDING);
        match bytes > limit {
            true => Err(Error::Limit { what: format!("bytes of {what}"), needed: bytes, limit }),
            false => Ok(()),
        }
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
    asked: GemmVariant, adapter: &Adapter, info: &wgpu::AdapterInfo,
) -> (Option<GemmVariant>, Option<&'static str>) {
    let subgroups = adapter.tier >= Tier::Native && info.subgroup_min_size >= 4 && info.subgroup_max_size <= 128;
    match (asked, adapter.cooperative) {
        (GemmVariant::Cooperative(_), Some(own)) => (Some(GemmVariant::Cooperative(own)), None),
        (GemmVariant::Cooperative(_), None) => (None, Some("no cooperative matrices of 16-bit floats")),
        (GemmVariant::Subgroups, _) if !subgroups => (None, Some("no subgroups of 4 to 128 invocations")),
        (asked, _) => (Some(asked), None),
    }
}

//! Compute pipelines, compiled once for each device, kernel text and choice of constants.

use crate::{
    device::gpu::{Gpu, Key, lock},
    error::{Error, Result},
    launch::Launch,
};

pub(crate) fn key(launch: &Launch) -> Key {
    (launch.kernel, launch.text, launch.constants.iter().map(|&(name, value)| (name, value.to_bits())).collect())
}

/// Compiles the launches' pipelines that the device does not have yet, on all cores.
pub(crate) fn prepare<'a>(gpu: &Gpu, launches: impl Iterator<Item = &'a Launch>) -> Result<()> {
    let mut missing: Vec<Key> = launches.map(key).collect();
    missing.sort();
    missing.dedup();
    missing.retain(|k| !lock(&gpu.inner.pipelines).contains_key(k));
    let compile = |keys: &[Key]| {
        keys.iter().try_for_each(|k| {
            let pipeline = pipeline(gpu, k)?;
            lock(&gpu.inner.pipelines).insert(k.clone(), pipeline);
            Ok(())
        })
    };
    #[cfg(target_arch = "wasm32")]
    let done: Result<()> = compile(&missing);
    #[cfg(not(target_arch = "wasm32"))]
    let done: Result<()> = {
        use rayon::prelude::*;
        missing.par_chunks(1).try_for_each(compile)
    };
    gpu.check()?;
    done
}

fn pipeline(gpu: &Gpu, (kernel, own, constants): &Key) -> Result<wgpu::ComputePipeline> {
    let device = &gpu.inner.device;
    let text = match own {
        Some(own) => hillshade_shaders::expand(own).map_err(|e| Error::Device(format!("kernel \"{kernel}\": {e}")))?,
        None => hillshade_shaders::compose(kernel).ok_or_else(|| Error::Device(format!("no kernel \"{kernel}\"")))?,
    };
    let source = wgpu::ShaderSource::Wgsl(text.into());
    let descriptor = wgpu::ShaderModuleDescriptor { label: Some(kernel), source };
    let module = if gpu.inner.options.checked || own.is_some() {
        device.create_shader_module(descriptor)
    } else {
        // SAFETY: the texts are this project's own. Every kernel guards its indices by its extents, every loop ends, and
        // the same cases run with the checks on.
        unsafe { device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
    };
    let constants: Vec<(&str, f64)> = constants.iter().map(|&(name, bits)| (name, f64::from_bits(bits))).collect();
    Ok(device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(kernel),
        layout: None,
        module: &module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions {
            constants: &constants,
            zero_initialize_workgroup_memory: gpu.inner.options.checked,
        },
        cache: None,
    }))
}

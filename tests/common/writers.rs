//! A kernel in the languages of the graphics interfaces.

use naga::{Module, ShaderStage, back, proc::BoundsCheckPolicies, valid::ModuleInfo};

pub fn to_spirv(module: &Module, info: &ModuleInfo) {
    let options = back::spv::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: "main".into() };
    let words = back::spv::write_vec(module, info, &back::spv::Options::default(), Some(&options));
    assert!(!words.expect("SPIR-V").is_empty());
}

/// From this version of the language on, or the first.
pub fn to_metal(module: &Module, info: &ModuleInfo, version: Option<(u8, u8)>) {
    let options = back::msl::PipelineOptions {
        entry_point: Some((ShaderStage::Compute, "main".into())),
        ..back::msl::PipelineOptions::default()
    };
    let first = back::msl::Options::default();
    let language = back::msl::Options { lang_version: version.unwrap_or(first.lang_version), ..first };
    let (text, translated) = back::msl::write_string(module, info, &language, &options).expect("MSL");
    assert!(text.contains("kernel void") && translated.entry_point_names.iter().all(Result::is_ok));
}

pub fn to_direct3d(module: &Module, info: &ModuleInfo) {
    let entry_point = Some((ShaderStage::Compute, "main".into()));
    let (options, pipeline) = (back::hlsl::Options::default(), back::hlsl::PipelineOptions { entry_point });
    let mut text = String::new();
    let translated = back::hlsl::Writer::new(&mut text, &options, &pipeline).write(module, info, None).expect("HLSL");
    assert!(text.contains("[numthreads(") && translated.entry_point_names.iter().all(Result::is_ok));
}

pub fn to_gles(module: &Module, info: &ModuleInfo) {
    let bindings = module.global_variables.iter().filter_map(|(_, v)| v.binding);
    let options = back::glsl::Options {
        version: back::glsl::Version::new_gles(310),
        binding_map: bindings.map(|b| (b, b.binding as u8)).collect(),
        ..back::glsl::Options::default()
    };
    let pipeline =
        back::glsl::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: "main".into(), multiview: None };
    let (mut text, policies) = (String::new(), BoundsCheckPolicies::default());
    back::glsl::Writer::new(&mut text, module, info, &options, &pipeline, policies)
        .and_then(|mut w| w.write())
        .expect("GLSL ES");
    assert!(text.starts_with("#version 310 es") && text.contains("void main()"));
}

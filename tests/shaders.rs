//! The kernels' texts: valid, portable, and owned by ops.

use naga::{
    back,
    valid::{Capabilities, ValidationFlags, Validator},
};

#[test]
fn kernels_translate() {
    for (name, _) in hillshade_shaders::KERNELS {
        let text = hillshade_shaders::compose(name).unwrap();
        let module =
            naga::front::wgsl::parse_str(&text).unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(&text)));
        let info = Validator::new(ValidationFlags::all(), Capabilities::empty())
            .validate(&module)
            .unwrap_or_else(|e| panic!("{name}: {e:?}"));
        println!("{name}");
        let constants = back::PipelineConstants::default();
        let (m, i) = back::pipeline_constants::process_overrides(
            &module,
            &info,
            Some((naga::ShaderStage::Compute, "main")),
            &constants,
        )
        .unwrap();
        let _ = (m, i);
    }
}

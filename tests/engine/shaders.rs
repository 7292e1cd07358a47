//! The kernels' texts and the launches of every case: valid and translatable, portable, in agreement, and owned.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use hillshade::engine::{
    Bind, Class, Conv, Cooperative, DType, GemmVariant, Launch, Place, Plan, Step, Target, TestCase, Type, ops,
};
use hillshade_shaders::KERNELS;
use naga::{
    AddressSpace, Module, ScalarKind, ShaderStage, StorageAccess, TypeInner, back,
    proc::Layouter,
    valid::{Capabilities, ModuleInfo, ValidationFlags, Validator},
};

use crate::{
    common::{built, each_case, fails, root, unit},
    writers,
};

/// WebGPU's default limits, which every adapter has.
const STORAGE_BUFFERS: usize = 8;
/// Storage buffers of adapters that have more.
const MORE_BUFFERS: usize = 30;
const INVOCATIONS: u32 = 256;
const WORKGROUP_BYTES: u32 = 16 << 10;
const GROUPS: u32 = 65_535;

/// A text, parsed and validated with the capabilities of its kind.
struct Text {
    module: Module,
    info: ModuleInfo,
}

static TEXTS: LazyLock<BTreeMap<&'static str, Text>> =
    LazyLock::new(|| KERNELS.iter().map(|&(name, _)| (name, Text::parse(name))).collect());

/// What is applied in the plans of all cases, those for timing among them, for which case, and how many storage buffers a
/// dispatch may bind.
static STEPS: LazyLock<Vec<(String, usize, Step)>> = LazyLock::new(|| {
    let mut steps = Vec::new();
    let mut plan = |what: &str, case: &TestCase| {
        for (class, storage_buffers) in [
            (Class::GPU, STORAGE_BUFFERS),
            (Class::GPU, MORE_BUFFERS),
            (Class::SOFTWARE, STORAGE_BUFFERS),
            (Class::Software { subgroups: true }, STORAGE_BUFFERS),
        ] {
            let applied = applied(case, Target::Device { class, storage_buffers });
            steps.extend(applied.map(|s| (format!("{what} {class:?} {storage_buffers}"), storage_buffers, s)));
        }
        steps.extend(products(what, case));
    };
    each_case(|case| plan(&case.what, case));
    for (op, cases) in ops::timed() {
        cases.iter().for_each(|case| plan(&format!("{op} {}", case.what), case));
    }
    let matmul = TestCase::one("matmul", vec![unit(&[2048, 64]), unit(&[64, 2048])], |x| x[0].matmul(x[1]));
    let images = vec![unit(&[64, 28, 28, 128]), unit(&[3, 3, 128, 128])];
    let conv2d = TestCase::new("conv2d", images, |x| {
        let y = x[0].conv2d(x[1], Conv::padded(1));
        x[0].graph().vjp(&[y], &[y], x)
    });
    steps.extend([matmul, conv2d].iter().flat_map(|case| products(&case.what, case)));
    assert!(steps.len() > ops::all().len(), "cases apply ops");
    steps
});

/// A case's plan.
fn planned(case: &TestCase, target: Target) -> Plan {
    let (g, _, y) = built(case);
    Plan::new(target, &g, &g.tensors(&y)).expect("cases can be planned")
}

/// The steps of a case's plan that apply ops.
fn applied(case: &TestCase, target: Target) -> impl Iterator<Item = Step> + use<> {
    planned(case, target).steps.into_iter().filter(|s| matches!(s, Step::Apply { .. }))
}

/// The steps that are matrix products, of every variant.
fn products(what: &str, case: &TestCase) -> Vec<(String, usize, Step)> {
    const OPS: [&str; 4] = ["matmul", "conv2d", "conv2d_input_grad", "conv2d_weight_grad"];
    let mut steps = Vec::new();
    let small = GemmVariant::Cooperative(Cooperative { side: 8, subgroup: 8 });
    for variant in GemmVariant::all().into_iter().chain([small]) {
        let applied = applied(case, Target::device(Class::Gpu(Some(variant))));
        let products = applied.filter(|s| matches!(s, Step::Apply { op, .. } if OPS.contains(&op.name())));
        steps.extend(products.map(|s| (format!("{what} {variant:?}"), STORAGE_BUFFERS, s)));
    }
    steps
}

/// What a kernel takes beyond the portable minimum; only those do that are asked for or whose adapter has it.
fn capabilities(kernel: &str) -> Capabilities {
    match kernel {
        k if k.contains("_cooperative") => {
            Capabilities::SUBGROUP | Capabilities::SHADER_FLOAT16 | Capabilities::COOPERATIVE_MATRIX
        }
        k if k.ends_with("_subgroups") || k.ends_with("_subgroup") => Capabilities::SUBGROUP,
        _ => Capabilities::empty(),
    }
}

impl Text {
    fn parse(name: &str) -> Self {
        let text = hillshade_shaders::compose(name).expect("the list's own name");
        let module =
            naga::front::wgsl::parse_str(&text).unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(&text)));
        let checked = Validator::new(ValidationFlags::all(), capabilities(name)).validate(&module);
        let info = checked.unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(&text)));
        Text { module, info }
    }

    /// The text with a launch's constants put in.
    fn with(&self, constants: &[(&str, f64)]) -> Text {
        let constants = constants.iter().map(|&(name, value)| (name.into(), value)).collect();
        let entry = Some((ShaderStage::Compute, "main"));
        let (module, info) = back::pipeline_constants::process_overrides(&self.module, &self.info, entry, &constants)
            .unwrap_or_else(|e| panic!("{e:?}"));
        Text { module: module.into_owned(), info: info.into_owned() }
    }

    fn layouts(&self) -> Layouter {
        let mut layouts = Layouter::default();
        layouts.update(self.module.to_ctx()).expect("validated types have a layout");
        layouts
    }

    /// Size of the uniform in words.
    fn words(&self) -> usize {
        let uniform = self.module.global_variables.iter().find(|(_, v)| v.space == AddressSpace::Uniform);
        uniform.map_or(0, |(_, v)| self.layouts()[v.ty].size as usize / 4)
    }

    /// For binding 1, 2, …: whether it is written, and its numbers' kind.
    fn storage(&self) -> Vec<(bool, ScalarKind)> {
        let mut found = BTreeMap::new();
        for (_, v) in self.module.global_variables.iter() {
            let Some(at) = &v.binding else { continue };
            assert_eq!(at.group, 0, "all bindings are in group 0");
            match v.space {
                AddressSpace::Uniform => assert_eq!(at.binding, 0, "the uniform is binding 0"),
                AddressSpace::Storage { access } => {
                    found.insert(at.binding, (access.contains(StorageAccess::STORE), self.kind(v.ty)));
                }
                space => panic!("binding {} is {space:?}", at.binding),
            }
        }
        assert!(found.keys().copied().eq(1..=found.len() as u32), "storage bindings are numbered from 1: {found:?}");
        found.into_values().collect()
    }

    /// Kind of the numbers in an array.
    fn kind(&self, array: naga::Handle<naga::Type>) -> ScalarKind {
        match self.module.types[array].inner {
            TypeInner::Array { base, .. } => self.kind(base),
            TypeInner::Vector { scalar, .. } | TypeInner::Scalar(scalar) => scalar.kind,
            ref other => panic!("a storage buffer holds numbers, not {other:?}"),
        }
    }

    /// Bytes of workgroup memory.
    fn workgroup_bytes(&self) -> u32 {
        let layouts = self.layouts();
        let shared = self.module.global_variables.iter().filter(|(_, v)| v.space == AddressSpace::WorkGroup);
        shared.map(|(_, v)| layouts[v.ty].size.next_multiple_of(16)).sum()
    }
}

/// Calls `f` for every launch, with the launches' case and step; says which failed.
fn each_launch(mut f: impl FnMut(&Text, &Launch)) {
    let mut seen = 0;
    for (what, _, step) in STEPS.iter() {
        let Step::Apply { launches, .. } = step else { continue };
        for launch in &launches.list {
            let text = TEXTS.get(launch.kernel).unwrap_or_else(|| panic!("{what}: no kernel {}", launch.kernel));
            assert!(!fails(|| f(text, launch)), "{what}: {} {:?}", launch.kernel, launch.constants);
            seen += 1;
        }
    }
    assert!(seen > KERNELS.len(), "there are launches");
}

/// Benches time one op in a row, or a softmax, by which it is named, on operands and results of more than a MiB.
#[test]
fn timed_cases_are_of_one_op_and_large() {
    let mut rows = HashSet::new();
    for (op, cases) in ops::timed() {
        assert!(!cases.is_empty(), "{op}");
        for case in cases {
            let plan = planned(&case, Target::GPU);
            // Inputs that are updated in place are copied first; benches have them as states.
            let applied = plan.steps.iter().filter_map(|s| match s {
                Step::Apply { op, .. } => Some((op.name(), s.bytes())),
                Step::Copy { .. } => None,
            });
            let (names, bytes): (Vec<_>, Vec<_>) = applied.unzip();
            let bytes: u64 = bytes.iter().sum();
            let composed = case.what.starts_with("softmax");
            assert!(names[0] == op && (names.len() == 1 || composed), "{op} {}: {names:?}", case.what);
            assert!(bytes > 1 << 20, "{op} {}: {bytes} bytes", case.what);
            assert!(rows.insert(format!("{op} {}", case.what)), "{op} {} twice", case.what);
        }
    }
}

/// The launches that differ in kernel or constants.
fn variants() -> Vec<(&'static str, Vec<(&'static str, f64)>)> {
    let (mut seen, mut list) = (HashSet::new(), Vec::new());
    each_launch(|_, launch| {
        if seen.insert(format!("{} {:?}", launch.kernel, launch.constants)) {
            list.push((launch.kernel, launch.constants.clone()));
        }
    });
    list
}

#[test]
fn every_text_is_valid() {
    assert!(TEXTS.len() == KERNELS.len() && !TEXTS.is_empty());
    for (name, t) in TEXTS.iter() {
        let entries: Vec<_> = t.module.entry_points.iter().map(|e| (e.stage, e.name.as_str())).collect();
        assert_eq!(entries, [(ShaderStage::Compute, "main")], "{name}");
    }
}

/// With the constants of every launch, for Vulkan, Metal, Direct3D and OpenGL ES; the browser takes the text as it is. Cooperative
/// matrices are for Vulkan and Metal, which has none of 16 × 16.
#[test]
fn every_variant_translates() {
    let variants = variants();
    assert!(variants.len() > KERNELS.len());
    for (kernel, constants) in variants {
        let failed = fails(|| {
            let t = TEXTS[kernel].with(&constants);
            writers::to_spirv(&t.module, &t.info);
            if !kernel.ends_with("_cooperative16") {
                writers::to_metal(&t.module, &t.info, (!capabilities(kernel).is_empty()).then_some((2, 3)));
            }
            if !kernel.contains("_cooperative") {
                writers::to_direct3d(&t.module, &t.info);
                writers::to_gles(&t.module, &t.info);
            }
        });
        assert!(!failed, "{kernel} {constants:?}");
    }
}

#[test]
fn launches_match_texts() {
    each_launch(|t, launch| {
        assert_eq!(launch.bind.len(), t.storage().len(), "bindings");
        assert_eq!(launch.params.len(), t.words(), "words of Params");
        let overrides: HashSet<_> = t.module.overrides.iter().filter_map(|(_, o)| o.name.as_deref()).collect();
        let named: HashSet<_> = launch.constants.iter().map(|(name, _)| *name).collect();
        assert!(named.is_subset(&overrides) && named.len() == launch.constants.len(), "{named:?} of {overrides:?}");
    });
}

/// The dtype of what is bound, `None` for scratch.
fn dtype(bind: Bind, x: &[(Place, Type)], y: &[(Place, Type)]) -> Option<DType> {
    match bind {
        Bind::In(i) => Some(x[i].1.dtype),
        Bind::Out(i) => Some(y[i].1.dtype),
        Bind::Scratch(_) => None,
    }
}

/// Operands are read, results and scratch buffers are written before they are read, and all of them are.
#[test]
fn launches_bind_what_texts_access() {
    /// Texts that move words, whatever they mean.
    const MOVERS: [&str; 3] = ["strided", "concat", "fill"];
    for (what, _, step) in STEPS.iter() {
        let Step::Apply { op, x, y, scratch, launches } = step else { continue };
        let mut written: HashSet<String> =
            (0..op.in_place(x.len()).len()).map(|i| format!("{:?}", Bind::Out(i))).collect();
        for launch in &launches.list {
            let storage = TEXTS[launch.kernel].storage();
            for (&bind, &(writes, kind)) in launch.bind.iter().zip(&storage) {
                let is_in = matches!(bind, Bind::In(_));
                let at = format!("{what}: {} {bind:?}", launch.kernel);
                assert!(!(is_in && writes), "{at}: an operand is written");
                assert!(is_in || writes || written.contains(&format!("{bind:?}")), "{at} is read before it is written");
                let expected = dtype(bind, x, y).filter(|_| !MOVERS.contains(&launch.kernel));
                let fits = expected.is_none_or(|d| (d == DType::F32) == (kind == ScalarKind::Float));
                assert!(fits, "{at}: {kind:?} for {expected:?}");
            }
            let writes = launch.bind.iter().zip(&storage).filter(|(_, (writes, _))| *writes);
            written.extend(writes.map(|(bind, _)| format!("{bind:?}")));
        }
        let wanted = (0..y.len()).map(Bind::Out).chain((0..scratch.len()).map(Bind::Scratch));
        for bind in wanted {
            assert!(written.contains(&format!("{bind:?}")), "{what}: {bind:?} of {} is never written", op.name());
        }
    }
}

/// No launch binds a buffer for writing that it binds elsewhere too.
#[test]
fn launches_do_not_alias() {
    let mut writes_seen = 0;
    for (what, _, step) in STEPS.iter() {
        let Step::Apply { x, y, scratch, launches, .. } = step else { continue };
        let place = |bind: Bind| match bind {
            Bind::In(i) => x[i].0,
            Bind::Out(i) => y[i].0,
            Bind::Scratch(i) => scratch[i],
        };
        for launch in &launches.list {
            let places: Vec<Place> = launch.bind.iter().map(|&b| place(b)).collect();
            for (p, (writes, _)) in places.iter().zip(TEXTS[launch.kernel].storage()) {
                let times = places.iter().filter(|q| *q == p).count();
                assert!(!writes || times == 1, "{what}: {} binds {p} {times} times", launch.kernel);
                writes_seen += usize::from(writes);
            }
        }
    }
    assert!(writes_seen > KERNELS.len());
}

#[test]
fn launches_are_portable() {
    let mut largest = 0;
    let mut known: BTreeMap<String, ([u32; 3], u32)> = BTreeMap::new();
    each_launch(|text, launch| {
        assert!(launch.groups.iter().all(|g| (1..=GROUPS).contains(g)), "grid {:?}", launch.groups);
        let key = format!("{} {:?}", launch.kernel, launch.constants);
        let (size, bytes) = *known.entry(key).or_insert_with(|| {
            let t = text.with(&launch.constants);
            (t.module.entry_points[0].workgroup_size, t.workgroup_bytes())
        });
        assert!(size.iter().product::<u32>() <= INVOCATIONS && size[2] <= 64, "workgroup size {size:?}");
        assert!(bytes <= WORKGROUP_BYTES, "{bytes} bytes of workgroup memory");
        largest = largest.max(bytes);
    });
    assert!(largest > 0, "some kernel shares memory");
    for (what, buffers, step) in STEPS.iter() {
        let Step::Apply { launches, .. } = step else { continue };
        for launch in &launches.list {
            assert!(launch.bind.len() <= *buffers, "{what}: {} binds {}", launch.kernel, launch.bind.len());
        }
    }
}

/// The files with this ending in a folder and in those below it.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let paths = entries.map(|e| e.expect("a readable entry").path());
    paths
        .flat_map(|path| match path.is_dir() {
            true => files(&path, ending),
            false => Vec::from_iter(path.extension().is_some_and(|e| e == ending).then_some(path)),
        })
        .collect()
}

fn stem(path: &Path) -> String {
    path.file_stem().expect("a file has a name").to_string_lossy().into_owned()
}

/// Files, list and launches name the same kernels; every fragment is imported; every op is listed, in its family.
#[test]
fn every_text_has_an_owner() {
    let mut launched = BTreeSet::new();
    each_launch(|_, launch| {
        launched.insert(launch.kernel.to_string());
    });
    let listed: BTreeSet<String> = KERNELS.iter().map(|(name, _)| (*name).into()).collect();
    let texts = files(&root().join("shaders"), "wgsl");
    let (fragments, kernels): (Vec<&PathBuf>, Vec<_>) =
        texts.iter().partition(|path| path.components().any(|part| part.as_os_str() == "lib"));
    assert_eq!(listed, kernels.iter().map(|path| stem(path)).collect(), "the list and the files");
    assert_eq!(launched, listed, "what is launched and the list");

    let read = |path: &PathBuf| fs::read_to_string(path).expect("a listed file");
    let imports: BTreeSet<String> = texts
        .iter()
        .flat_map(|path| {
            read(path).lines().filter_map(|l| l.strip_prefix("#import ")).map(String::from).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(imports, fragments.iter().map(|path| stem(path)).collect(), "what is imported and the fragments");

    // In the list of ops a family's frame is in brackets.
    let list = read(&root().join("engine/src/ops.rs"));
    let in_brackets = |line: &str| {
        line.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(names, _)| names.to_string())
    };
    let frames: BTreeSet<String> = list
        .lines()
        .filter_map(in_brackets)
        .flat_map(|names| names.split(", ").map(String::from).collect::<Vec<_>>())
        .collect();
    let modules: BTreeSet<String> = files(&root().join("engine/src/ops"), "rs").iter().map(|path| stem(path)).collect();
    let names: BTreeSet<String> = ops::all().into_iter().map(|(name, _)| name.into()).collect();
    assert_eq!(names, modules.difference(&frames).cloned().collect(), "the ops' list and their files");
}

/// Sections of a manifest in which a dependency is named.
fn naming(manifest: &str, dependency: &str) -> Vec<String> {
    let mut section = String::new();
    let mut found = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = name.into();
            if name.rsplit('.').next() == Some(dependency) {
                found.push(section.clone());
            }
        } else if line.split(['.', ' ', '=']).next() == Some(dependency) {
            found.push(section.clone());
        }
    }
    found
}

/// What a session or a model needs of a device goes through the engine.
#[test]
fn only_the_engine_depends_on_wgpu() {
    let top = fs::read_to_string(root().join("Cargo.toml")).expect("the workspace's manifest");
    let members = top.split_once("members = [").and_then(|(_, rest)| rest.split_once(']')).expect("a list").0;
    let members: Vec<&str> = members.split(',').map(|m| m.trim().trim_matches('"')).filter(|m| !m.is_empty()).collect();
    assert!(members.contains(&"engine") && members.contains(&"shaders"));
    assert_eq!(naming(&top, "wgpu"), ["workspace.dependencies"], "the workspace states the version");
    for member in members {
        let manifest = fs::read_to_string(root().join(member).join("Cargo.toml")).expect("a member has a manifest");
        let expected: &[&str] = if member == "engine" { &["dependencies"] } else { &[] };
        assert_eq!(naming(&manifest, "wgpu"), expected, "{member}");
    }
}

//! `hillshade models`: the table and a network's layers; `hillshade export`: weights for elsewhere.

use safetensors::SafeTensors;
use serde_json::Value;

use crate::program::Home;

#[test]
fn networks_are_listed_with_their_options() {
    let home = Home::new();
    let (text, list) = (home.run("models").ok().out, home.run("models --json").ok().json());
    let families = list.as_array().expect("an array");
    assert!(families.len() > 8);
    for family in families {
        for key in ["about", "source"] {
            assert!(text.contains(family[key].as_str().expect("a line")), "{key} of {family}");
        }
        for name in family["names"].as_array().expect("names") {
            assert!(text.contains(name.as_str().expect("a name")), "{name}");
        }
        for option in family["options"].as_array().expect("options") {
            let [key, default] = ["key", "default"].map(|part| option[part].as_str().expect("text"));
            assert!(text.contains(&format!("{key}={default}")), "{option}");
        }
    }
}

#[test]
fn a_network_s_layers_are_shown() {
    let home = Home::new();
    let shown = home.run("models resnet20 --json").ok().json();
    assert_eq!((&shown["parameters"], &shown["input"]), (&272_474.into(), &serde_json::json!([32, 32, 3])));
    let layers = shown["layers"].as_array().expect("layers");
    assert_eq!((layers.len(), &layers[0]["name"]), (43, &"stem.conv".into()));
    assert_eq!(layers[0]["parameters"]["weight"], serde_json::json!([3, 3, 3, 16]));
    let flops: u64 = layers.iter().filter_map(|l| l["flops"].as_u64()).sum();
    let all = shown["flops"].as_u64().expect("a count");
    // He et al. 2015: 0.04 billion multiply-adds; ReLUs, sums and the pooling are no layers.
    assert!((80_000_000..84_000_000).contains(&all) && flops <= all + all / 100, "{flops} of {all}");
    let text = home.run("models resnet20").ok().out;
    assert!(text.lines().count() == 44 && text.contains("272474 parameters, 1.09 MB"), "{text}");

    let digits = home.run("models cnn --data digits --json").ok().json();
    assert_eq!((&digits["input"], &digits["classes"]), (&serde_json::json!([8, 8, 1]), &10.into()));
    let sized = home.run("models vgg11:width=8 --size 64x64x3 --classes 7 --json").ok().json();
    assert_eq!(
        sized["layers"].as_array().and_then(|l| l.last()).map(|l| l["output"].clone()),
        Some(serde_json::json!([1, 7]))
    );
    home.run("models vgg11 --size 16x16x3").refused(2, &["max_pool", "window fits"]);
    home.run("models vgg11 --size 16").refused(2, &["size: expected HxWxC", "found 16"]);
    home.run("models vgg12").refused(2, &["expected a network among mlp", "found \"vgg12\""]);
    assert_eq!(home.run("models vgg11 --size 0x1x1").code, Some(2));
}

#[test]
fn weights_are_exported_and_measured() {
    let home = Home::new();
    home.run("train --model resnet8:width=4 --epochs 1 --average 0.5 --out run").ok();
    let names = |file: &str| {
        let bytes = home.read(file);
        let file = SafeTensors::deserialize(&bytes).expect("a whole file");
        let mut names: Vec<String> = file.names().into_iter().map(String::from).collect();
        names.sort();
        (names, file.tensor("fc.weight").expect("the last layer").data().to_vec())
    };
    home.run("export run averaged.safetensors").ok();
    let text = home.run("export run last.safetensors --weights last").ok().out;
    assert!(text.starts_with("47 tensors of resnet8:width=4 in last.safetensors"), "{text}");
    let ((averaged, mean), (last, now)) = (names("averaged.safetensors"), names("last.safetensors"));
    assert_eq!(averaged, last);
    assert_ne!(mean, now);
    let some = ["bn1.running_var", "conv1.weight", "fc.bias", "layer2.0.downsample.1.weight", "layer3.0.bn2.bias"];
    assert!(some.iter().all(|name| last.iter().any(|n| n == name)), "{last:?}");
    let options = "--samples 40 --points 3 --statistics frozen --json --out slices";
    let measure = |what: &str| home.run(&format!("landscape {what} {options}")).ok().json();
    let of = |line: &Value| line["center"].as_f64().expect("a loss");
    let [of_average, of_last] =
        ["averaged", "last"].map(|f| of(&measure(&format!("{f}.safetensors --model resnet8:width=4 --data digits"))));
    assert_ne!(of_average, of_last);
    for (options, weights, loss) in [
        ("", "average", of_average),
        (" --weights average", "average", of_average),
        (" --weights last", "last", of_last),
    ] {
        let line = measure(&format!("run{options}"));
        assert_eq!((&line["weights"], of(&line)), (&weights.into(), loss), "{options}");
    }
    // What is measured is what is tested.
    let tested = home.run("eval run --json").ok().json()["test_loss"].as_f64().expect("a loss");
    let held_out = "landscape run --images test --samples 360 --points 3 --statistics frozen --json --out slices";
    let measured = of(&home.run(held_out).ok().json());
    assert!((measured - tested).abs() < 1e-5 * tested, "{measured} and {tested}");
    let line = home.run("spectrum run --samples 8 --top 1 --bottom 0 --probes 0 --weights last --json").ok().json();
    assert_eq!(line["weights"], "last");
    let line = home.run("verify run --samples 8 --json").ok().json();
    assert_eq!(line["weights"], "average");
    home.run("export run nowhere/file").refused(1, &["expected to write nowhere/file"]);
}

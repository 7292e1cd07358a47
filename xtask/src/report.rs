//! What criterion measured, joined with what the benches say of their rows: a table, and JSON lines.

use std::{collections::HashMap, fs, io::Write, path::Path, process::Command, time::SystemTime};

use serde_json::{Value, json};

/// A median time.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// What was done: the group and its shape.
    pub row: String,
    /// Criterion's function: `host`, `device`, or the device by its own clock; or a peer.
    pub by: String,
    /// The median in milliseconds.
    pub ms: f64,
    /// Median absolute deviation in milliseconds.
    pub spread: f64,
    /// What the bench says of the row.
    pub facts: Option<Facts>,
}

/// What a bench says of a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    op: String,
    shape: String,
    by: String,
    clock: String,
    adapter: String,
    driver: String,
    flops: f64,
    bytes: f64,
    /// Rates by name, in operations and bytes a second; null where none were measured.
    ceilings: Value,
}

/// The best rates of an executor in a report, in operations and bytes a second: the larger of a measured ceiling and of the
/// best rate of a row, which a convolution or an op in caches may have.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Roof {
    flops: f64,
    bytes: f64,
}

impl Roof {
    fn of(rates: impl IntoIterator<Item = Roof>) -> Self {
        rates
            .into_iter()
            .fold(Roof::default(), |a, b| Roof { flops: a.flops.max(b.flops), bytes: a.bytes.max(b.bytes) })
    }
}

/// Facts by row and function.
type Known = HashMap<(String, String), Facts>;

/// A line of a bench's facts.
fn known(line: &str) -> Option<((String, String), Facts)> {
    let v: Value = serde_json::from_str(line).ok()?;
    let text = |key: &str| v[key].as_str().map(str::to_string);
    let facts = Facts {
        op: text("op")?,
        shape: text("shape")?,
        by: text("by")?,
        clock: text("clock")?,
        adapter: text("adapter")?,
        driver: text("driver")?,
        flops: v["flops"].as_f64()?,
        bytes: v["bytes"].as_f64()?,
        ceilings: v["ceilings"].clone(),
    };
    Some(((format!("{} {}", facts.op, facts.shape), text("function")?), facts))
}

/// The facts of all benches.
fn all_known(folder: &Path) -> Known {
    let paths = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let texts = paths.filter_map(|path| fs::read_to_string(path).ok());
    texts.flat_map(|text| text.lines().filter_map(known).collect::<Vec<_>>()).collect()
}

fn parse(path: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// One result, from the folder `new` that criterion leaves for it.
fn measured(folder: &Path, known: &Known) -> Option<Measured> {
    let (id, times) = (parse(&folder.join("benchmark.json"))?, parse(&folder.join("estimates.json"))?);
    let text = |key: &str| id[key].as_str().map(str::to_string);
    let ms = |of: &str| times[of]["point_estimate"].as_f64().map(|ns| ns / 1e6);
    let (row, by) = (format!("{} {}", text("group_id")?, text("value_str")?), text("function_id")?);
    let facts = known.get(&(row.clone(), by.clone())).cloned();
    Some(Measured { row, by, ms: ms("median")?, spread: ms("median_abs_dev")?, facts })
}

/// All results in criterion's folder that are not older than `since`.
fn results(folder: &Path, since: SystemTime, known: &Known, found: &mut Vec<Measured>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.file_name().is_some_and(|name| name == "new") {
            let fresh = fs::metadata(path.join("estimates.json")).and_then(|m| m.modified()).is_ok_and(|t| t >= since);
            found.extend(measured(&path, known).filter(|_| fresh));
        } else if path.is_dir() {
            results(&path, since, known, found);
        }
    }
}

/// The commit that is checked out, or the one that `HILLSHADE_COMMIT` names where there is no checkout.
pub fn commit(root: &Path) -> String {
    let output = || Command::new("git").args(["describe", "--always", "--dirty"]).current_dir(root).output();
    let asked = || output().map(|o| String::from_utf8_lossy(&o.stdout).trim().to_string()).unwrap_or_default();
    std::env::var("HILLSHADE_COMMIT").unwrap_or_else(|_| asked())
}

impl Facts {
    /// The measured ceilings, if any.
    fn measured(&self) -> Option<Roof> {
        let rate = |key: &str| self.ceilings[key].as_f64();
        Some(Roof { flops: rate("fma")?.max(rate("matmul")?), bytes: rate("copy")? })
    }

    /// Whether two rows are of the same executor.
    fn beside(&self, other: &Facts) -> bool {
        (&self.by, &self.adapter, &self.driver) == (&other.by, &other.adapter, &other.driver)
    }
}

/// The roof of an executor in a report, if its ceilings were measured.
fn roof(all: &[Measured], executor: &Facts) -> Option<Roof> {
    let own = || all.iter().filter_map(|m| Some((m, m.facts.as_ref().filter(|facts| facts.beside(executor))?)));
    let ceilings = Roof::of(own().filter_map(|(_, facts)| facts.measured()));
    let reached = own().filter(|(m, _)| m.ms > 0.0).map(|(m, facts)| m.rates(facts));
    (ceilings != Roof::default()).then(|| Roof::of(reached.chain([ceilings])))
}

impl Measured {
    /// The rates of the row.
    fn rates(&self, facts: &Facts) -> Roof {
        Roof { flops: 1e3 * facts.flops / self.ms, bytes: 1e3 * facts.bytes / self.ms }
    }

    /// Its time at the roof as a share of its own, the roofline's (Williams et al. 2009).
    fn share(&self, all: &[Measured]) -> Option<f64> {
        let facts = self.facts.as_ref()?;
        let (own, roof) = (self.rates(facts), roof(all, facts)?);
        Some((own.flops / roof.flops).max(own.bytes / roof.bytes))
    }

    /// A line of the table.
    fn line(&self, all: &[Measured]) -> String {
        let start = format!("{:<64} {:<16} {:>10.3} {:>8.3}", self.row, self.by, self.ms, self.spread);
        match &self.facts {
            Some(facts) => {
                let share = self.share(all).map_or("-".into(), |share| format!("{:.0}%", 100.0 * share));
                let Roof { flops, bytes } = self.rates(facts);
                format!("{start} {:>9.1} {:>8.1} {share:>8}", flops / 1e9, bytes / 1e9)
            }
            None => start,
        }
    }

    /// A line of JSON.
    fn json(&self, commit: &str, all: &[Measured]) -> Value {
        let mut line = json!({ "commit": commit, "row": self.row, "ms": self.ms, "spread": self.spread });
        match &self.facts {
            Some(facts) => {
                line["by"] = json!(facts.by);
                line["clock"] = json!(facts.clock);
                line["adapter"] = json!(facts.adapter);
                line["driver"] = json!(facts.driver);
                line["op"] = json!(facts.op);
                line["shape"] = json!(facts.shape);
                line["work"] = json!(facts.flops);
                line["bytes"] = json!(facts.bytes);
                line["ceilings"] = facts.ceilings.clone();
                line["share"] = json!(self.share(all));
            }
            None => line["by"] = json!(self.by),
        }
        line
    }
}

/// The executors of some results with their ceilings.
fn executors(all: &[Measured]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for facts in all.iter().filter_map(|m| m.facts.as_ref()) {
        let rate = |key: &str| facts.ceilings[key].as_f64().map_or("-".into(), |rate| format!("{:.1}", rate / 1e9));
        let mut line = format!(
            "{}: {}, {}\n  ceilings, measured in this run: {} GFLOP/s (multiply-adds), {} GFLOP/s (matmul), {} GB/s (copy)",
            facts.by,
            facts.adapter,
            facts.driver,
            rate("fma"),
            rate("matmul"),
            rate("copy")
        );
        if let (Some(measured), Some(roof)) = (facts.measured(), roof(all, facts)) {
            let rates = [(measured.flops, roof.flops, "GFLOP/s"), (measured.bytes, roof.bytes, "GB/s")];
            let above = rates.iter().filter(|(measured, roof, _)| roof > measured);
            let raised: Vec<String> = above.map(|(_, roof, unit)| format!("{:.1} {unit}", roof / 1e9)).collect();
            if !raised.is_empty() {
                line += &format!("\n  the roof was raised to the best rate seen: {}", raised.join(", "));
            }
        }
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}

/// The benches' results since then, and their lines of JSON.
pub fn results_since(root: &Path, since: SystemTime) -> (Vec<Measured>, Vec<String>) {
    let (target, mut all) = (root.join("target"), Vec::new());
    results(&target.join("criterion"), since, &all_known(&target.join("bench")), &mut all);
    all.sort_by(|a, b| (&a.row, &a.by).cmp(&(&b.row, &b.by)));
    let commit = commit(root);
    let lines = all.iter().map(|m| m.json(&commit, &all).to_string()).collect();
    (all, lines)
}

/// The results as a table, below the executors and their ceilings.
pub fn table(all: &[Measured]) -> String {
    let head =
        format!("{:<64} {:<16} {:>10} {:>8} {:>9} {:>8} {:>8}", "row", "by", "ms", "±", "GFLOP/s", "GB/s", "of roof");
    let lines = executors(all).into_iter().chain([String::new(), head]).chain(all.iter().map(|m| m.line(all)));
    lines.map(|line| line + "\n").collect()
}

/// Adds lines to `target/bench.jsonl`.
///
/// # Errors
///
/// When that file cannot be written.
pub fn keep(root: &Path, lines: &[String]) -> Result<(), String> {
    let path = root.join("target/bench.jsonl");
    let failed = |e: std::io::Error| format!("{}: {e}", path.display());
    let mut file = fs::OpenOptions::new().create(true).append(true).open(&path).map_err(failed)?;
    lines.iter().try_for_each(|line| writeln!(file, "{line}").map_err(failed))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: &str = r#"{"op":"matmul","shape":"[2, 3]","function":"device, GPU time","by":"device","clock":"GPU",
        "adapter":"A","driver":"D","flops":4e6,"bytes":3e6,"ceilings":{"fma":8e9,"matmul":4e9,"copy":1e9}}"#;

    /// A folder as criterion leaves it.
    fn left(folder: &Path, function: &str, ns: f64) {
        fs::create_dir_all(folder).expect("a new folder");
        let id = json!({ "group_id": "matmul", "function_id": function, "value_str": "[2, 3]" });
        let times = json!({ "median": { "point_estimate": ns }, "median_abs_dev": { "point_estimate": 1e5 } });
        for (name, value) in [("benchmark.json", id), ("estimates.json", times)] {
            fs::write(folder.join(name), value.to_string()).expect("a writable folder");
        }
    }

    #[test]
    fn times_are_joined_with_the_facts_of_their_row() {
        let root = std::env::temp_dir().join(format!("hillshade-report-{}", std::process::id()));
        left(&root.join("criterion/matmul/a/new"), "device, GPU time", 6e6);
        left(&root.join("criterion/matmul/b/new"), "device", 9e6);
        left(&root.join("criterion/matmul/a/base"), "device, GPU time", 1e6);
        fs::create_dir_all(root.join("bench")).expect("a new folder");
        let stale = FACTS.replace("3e6", "9e9");
        let lines = [stale.as_str(), "no JSON", FACTS].map(|line| line.replace('\n', ""));
        fs::write(root.join("bench/ops.jsonl"), lines.join("\n")).expect("a writable folder");
        let mut all = Vec::new();
        results(&root.join("criterion"), SystemTime::UNIX_EPOCH, &all_known(&root.join("bench")), &mut all);
        all.sort_by(|a, b| a.by.cmp(&b.by));
        fs::remove_dir_all(&root).expect("our own folder");
        let [wall, stamped] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!((wall.by.as_str(), &wall.facts, wall.ms), ("device", &None, 9.0));
        let line = stamped.json("c", &all);
        let expected = json!({
            "commit": "c", "row": "matmul [2, 3]", "ms": 6.0, "spread": 0.1, "by": "device", "clock": "GPU",
            "adapter": "A", "driver": "D", "op": "matmul", "shape": "[2, 3]", "work": 4e6, "bytes": 3e6, "share": 0.5,
            "ceilings": { "fma": 8e9, "matmul": 4e9, "copy": 1e9 },
        });
        assert_eq!(line, expected);
        let words: Vec<String> = stamped.line(&all).split_whitespace().rev().take(3).map(String::from).collect();
        assert_eq!(words, ["50%", "0.5", "0.7"], "share, GB/s, GFLOP/s");
        assert_eq!(table(&all).lines().count(), 6, "two of an executor, a space, a head, two rows");
    }

    /// An op in caches moves more than the copy that was measured: it is the roof then, and no share is above 1.
    #[test]
    fn the_roof_is_the_best_that_was_seen() {
        let row = |row: &str, ms, by: &str| {
            let (_, facts) = known(&FACTS.replace('\n', "")).expect("facts");
            Measured { row: row.into(), by: by.into(), ms, spread: 0.0, facts: Some(Facts { by: by.into(), ..facts }) }
        };
        let all = [row("in caches", 1.0, "device"), row("beside it", 2.0, "device"), row("elsewhere", 6.0, "host")];
        assert_eq!(all.each_ref().map(|m| m.share(&all)), [Some(1.0), Some(0.5), Some(0.5)]);
        let text = table(&all);
        assert_eq!(text.matches("the roof was raised to the best rate seen: 3.0 GB/s").count(), 1, "{text}");
        let facts = all[0].facts.clone().map(|facts| Facts { ceilings: Value::Null, ..facts });
        let unknown = [Measured { facts, ..all[0].clone() }];
        assert_eq!(unknown[0].share(&unknown), None);
    }

    #[test]
    fn what_is_older_than_the_run_is_left_out() {
        let root = std::env::temp_dir().join(format!("hillshade-report-old-{}", std::process::id()));
        left(&root.join("a/new"), "host", 6e6);
        let mut found = Vec::new();
        let later = SystemTime::now() + std::time::Duration::from_secs(60);
        results(&root, later, &Known::new(), &mut found);
        fs::remove_dir_all(&root).expect("our own folder");
        assert_eq!(found, []);
    }
}

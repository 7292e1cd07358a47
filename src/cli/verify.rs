//! `hillshade verify`.

use hillshade::{
    lab::{BatchNorm, Check, Status, Verified, Verify, verify},
    models::Weights,
};
use serde::Serialize;

use super::{Error, Result, print, results::print_json, subject};

/// The result as JSON.
#[derive(Serialize)]
struct Measured<'a> {
    #[serde(flatten)]
    done: &'a Verified,
    subject: &'a str,
    weights: Option<Weights>,
    passed: bool,
}

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    subject: subject::Options,
}

/// Samples of a check: with batch statistics all of them pass through the network at once.
const SAMPLES: usize = 128;

pub fn run(options: &Options) -> Result<()> {
    let mut s = options.subject.open_with(SAMPLES, BatchNorm::Full)?;
    let how = Verify { batch_norm: s.batch_norm, micro_batch: s.micro_batch, seed: options.subject.seed };
    let mut done = verify(&mut s.session, &s.problem, &how)?;
    // The farthest from its bound first, what was not tried last.
    let far = |c: &Check| c.residual.map_or(-1.0, |r| if r.is_nan() { f64::INFINITY } else { r / c.bound });
    let rank = |c: &Check| (matches!(c.status, Status::Skipped(_)), c.status != Status::Fail);
    done.checks.sort_by(|a, b| rank(a).cmp(&rank(b)).then(far(b).total_cmp(&far(a))));
    let failed = done.checks.iter().filter(|c| c.status == Status::Fail).count();
    if options.subject.json {
        print_json(&Measured { done: &done, subject: &s.title, weights: s.weights, passed: done.passed() })?;
    } else {
        let setting = &done.setting;
        print(format_args!(
            "{}, {} samples, batch norm {}, {} parameters, seed {}, on {}",
            s.title, setting.samples, setting.batch_norm, setting.parameters, done.seed, setting.adapter
        ))?;
        table(&done.checks)?;
    }
    match failed {
        0 => Ok(()),
        failed => Err(Error::Unverified { failed, all: done.checks.len() }),
    }
}

fn table(checks: &[Check]) -> Result<()> {
    let wide = |of: fn(&Check) -> &str| checks.iter().map(|c| of(c).chars().count()).max().unwrap_or(0);
    // A check of the whole network has no layer.
    let layer: fn(&Check) -> &str = |c| c.layer.as_deref().unwrap_or("");
    let (names, layers, formulas) = (wide(|c| &c.name), wide(layer), wide(|c| &c.what));
    for c in checks {
        let residual = c.residual.map_or("-".into(), |r| format!("{r:.1e}"));
        let status = match &c.status {
            Status::Pass => "pass".into(),
            Status::Fail => "FAIL".into(),
            Status::Skipped(why) => format!("skipped: {why}"),
        };
        let (name, what, layer) = (&c.name, &c.what, layer(c));
        let line =
            format!("{name:names$}  {layer:layers$}  {what:formulas$}  {residual:>8} of {:.1e}  {status}", c.bound);
        print(line)?;
    }
    Ok(())
}

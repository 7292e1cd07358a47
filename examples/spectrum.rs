//! The spectrum's ends: a perceptron learns handwritten digits, then Lanczos finds the largest eigenvalues of its Hessian.

use hillshade::{
    engine::Session,
    lab::{Curvature, Matrix, Options, Problem, Result, Search, eigenvalues},
    models::{Config, Loss, Part, Task, Trainer},
};

pub(crate) fn main() -> Result<()> {
    let config = Config { model: "mlp:widths=16".into(), data: "digits".into(), epochs: 3, ..Config::default() };
    let task = Task::open("digits", None, None)?;
    let session = Session::host(); // or Session::device(block_on(Gpu::open())?)
    let mut trainer = Trainer::new(config, task.clone(), session)?;
    while !trainer.is_done() {
        while !trainer.epoch_is_over() {
            trainer.step()?;
        }
        trainer.next_epoch()?;
    }

    let problem = Problem::of(&task, Part::Train, 256, trainer.network().clone(), Loss::CrossEntropy)?;
    let session = trainer.session_mut();
    let mut hessian = Curvature::new(session, &problem, Matrix::Hessian, &Options::default())?;
    let search = Search { count: 3, ..Search::default() };
    let found = eigenvalues(session, &mut hessian, search, &mut |_, _| ())?;
    for value in &found.top {
        println!("{:.5} ± {:.5}", value.value, value.residual);
    }
    assert!(found.top.iter().all(|value| value.converged));
    Ok(())
}
